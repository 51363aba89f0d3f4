//! The words every stage shares.
//!
//! A legacy token is read as a [`LegacyToken`], becomes an [`Item`] once it is valid and encoded, travels in
//! a [`Batch`], and ends in a [`Decision`], exactly one, whatever happens on the way.

mod batch;
mod decision;
mod destination;
mod diary;
mod dry_run;
mod estimate;
mod evidence;
mod filter;
mod finding;
mod fingerprint;
mod item;
mod known;
mod login;
mod moment;
mod phase;
mod probe;
mod quotable;
mod refresh_margin;
mod rollback;
mod rule;
mod run;
mod scope_set;
mod secret;
mod spare;
mod superseded;
mod token;
mod verification;
mod visible;
mod wiped;
mod witness;

pub use batch::{Batch, BatchState, Call};
pub use decision::{Decision, Reason, RefusedBy, TokenState, Unsent};
pub use destination::{Destination, DestinationId, Identity, Subject};
pub use diary::{Diary, Entry, EventKind};
pub use dry_run::DryRun;
pub use estimate::Estimate;
pub use evidence::{Evidence, Parts, PartsKey, Prior, SentAttributes};
pub use filter::Filter;
pub use finding::{Finding, FindingKind, Severity};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use item::{EncodedToken, Item, Sheet};
pub use known::{Adopted, Forgotten, Incumbent, Known, OlderVersions, Settled, SiblingToken};
pub use login::{Login, LoginId, Unresolved};
pub use moment::Moment;
pub use phase::Phase;
pub use probe::Probe;
pub use quotable::{begins_like_a_token, looks_like_a_secret, quotable};
pub use refresh_margin::{Lifetime, RefreshMargin};
pub use rollback::{Fate, PendingDeletions, Rollback, Undo};
pub use rule::{Rule, RuleSet};
pub use run::{Mode, RunId, RunStatus, Selection, StopReason, Tally};
pub use scope_set::ScopeSet;
pub use secret::{Secret, SecretTexts};
pub use superseded::Superseded;
pub use token::{Expiry, LegacyToken, Scopes, Sealed, SourceKey, Unreadable, Version, WhyNot};
pub use verification::{ACCESS_TOKEN_EXPIRED, Chosen, Difference, Verdict, Verification};
pub use visible::{visible, visible_cell, visible_json, visible_lines};
pub use wiped::Wiped;
pub use witness::{Attributes, Witness};
