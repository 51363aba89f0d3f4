//! Configuration: settings from a TOML file and the environment.
//!
//! [`load()`] merges the layers and [`Loaded::settings`] validates them. All problems are reported at once,
//! each with its key and what the key must be. No message repeats a value, since any value may be a secret.

mod base_url;
mod columns;
mod decrypt;
mod example;
mod load;
mod mapping;
mod mistakes;
mod nearest;
mod notify;
mod preset;
mod problem;
mod provider;
mod reader;
mod report;
mod rules;
mod schema;
mod selection;
mod settings;
mod source;
mod watch;

pub use base_url::is_loopback;
pub use columns::{Columns, Decryption, Expression, Field, Mapping, Pick};
pub use example::{EXAMPLE, ExampleGroup, ExampleKey, ExampleTable, example_tables};
pub use load::{Loaded, load, load_text};
pub use nearest::nearest;
pub use notify::{NotifySettings, Occasion};
pub use preset::{Preset, RecognisedValue, presets};
pub use problem::{ConfigError, Problem};
pub use provider::{Prefer, ProviderSettings};
pub use report::{ConfigReport, Origin, Value};
pub use schema::schema;
pub use settings::{
    ApiSettings, AppMap, BatchSettings, LedgerAccess, LedgerSettings, LookupSettings, OnFailure, OnUnknown,
    RateLimit, RetrySettings, Settings, SharingSettings, StopSettings, key_defaults, known_keys,
};
pub use source::{Relation, RowSecurity, SessionValue, SourceSettings, SourceShape};
pub use watch::{LiveSettings, MetricsSettings, push_url_problem};
