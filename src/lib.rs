//! Moves legacy OAuth tokens out of a Postgres database into Descope outbound apps, in batches, once.
//!
//! ```text
//!  ledger: where to go on, what is settled already (read once per page)
//!    |
//!    v
//!  source --rows--> screen --tokens--> chunk --batches--> upload --outcomes--> ledger --> report
//!  keyset pages     valid? newest?     count, bytes,      intent first;        one          status, failures,
//!  from Postgres    unchanged?         one identity       pace, send, retry,   transaction  summary, page
//!                   encoded once       per batch          isolate, settle      per outcome
//! ```
//!
//! A dry run is the same way with another last stage, which counts, and another record, which holds what it found. `verify`
//! goes from the ledger's committed tokens to their rows in the source and to what the API holds of them; `rollback` goes the same
//! way, and deletes what it recognises.
//!
//! Where the source knows users by login ID alone, [`who`] stands between source and screen and finds them; tokens that the
//! API itself keeps are fetched by it after the screen, which knows by then which are needed. Every stage is
//! a task with a bounded channel before it, so memory does not depend on the size of the table. Only
//! [`pipeline`] knows all stages; a stage knows the shared words in [`model`], its settings from [`config`] and, where it
//! talks to the API, [`descope`] and [`pace`]. Uploading also writes the [`ledger`], since an intent is recorded before its
//! request leaves, and so does finding users, since they are remembered. [`notify`] tells a program of the user's own how a run
//! comes along.
//!
//! Whoever has a run done holds a [`pace::Helm`]: the switch that ends it, the throttle that holds it back, and the [`meter`] at which
//! everyone counts what they do. [`watch`] is a seat from which that is looked at and steered over HTTP.
//!
//! The program is a thin shell around [`pipeline::migrate`]:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use tokenferry::{config, meter::Meter, pipeline::{self, Request}, pace::Helm, report::View};
//! use tokio::sync::watch;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let settings = config::load(Path::new("tokenferry.toml"), true)?.settings()?;
//! let helm = Helm::new(settings.api.rate_limit, Meter::default());
//! let (view, _watching) = watch::channel(View::default());
//! let ended = pipeline::migrate(&settings, &Request::default(), helm, &view).await?;
//! println!("{} tokens arrived", ended.tally.committed);
//! # Ok(())
//! # }
//! ```

pub mod chunk;
pub mod cli;
pub mod config;
pub mod decrypt;
pub mod descope;
pub mod doctor;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod ledger;
pub mod meter;
pub mod model;
pub mod notify;
pub mod pace;
pub mod pipeline;
pub mod postgres;
pub mod report;
pub mod scratch;
pub mod screen;
pub mod simulator;
pub mod source;
pub mod upload;
pub mod watch;
pub mod who;
