//! Domain types that all stages share.
//!
//! A row is read as a [`LegacyToken`], becomes an [`Item`] once it is valid and encoded, travels in a
//! [`Batch`], and ends in exactly one [`Decision`].

mod acknowledgement;
mod batch;
mod batch_size;
mod decision;
mod destination;
mod dry_run;
mod estimate;
mod event_log;
mod evidence;
mod finding;
mod item;
mod key_range;
mod ledger_state;
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
mod severity;
mod summary;
mod superseded;
mod token;
mod verification;
mod visible;
mod witness;

pub use acknowledgement::{Acknowledged, FailureFilter};
pub use batch::{Batch, BatchState, Call};
pub use batch_size::{BatchSize, LearnedSizes};
pub use decision::{Decision, Reason, RefusedBy, TokenState, Unsent};
pub use destination::{Destination, DestinationId, Identity, Subject};
pub use dry_run::DryRun;
pub use estimate::Estimate;
pub use event_log::{Event, EventKind, EventLog};
pub use evidence::{Evidence, Prior};
pub use finding::{Finding, FindingKind};
pub use item::{EncodedPage, EncodedToken, Item};
pub use key_range::{CleanRanges, KeyRange, RowsDigest};
pub use ledger_state::{
    Adopted, CurrentHolder, Forgotten, LastOutcome, LedgerState, OlderVersions, SiblingToken,
};
pub use login::{Login, LoginId, Unresolved};
pub use moment::Moment;
pub use phase::Phase;
pub use probe::Probe;
pub use quotable::{begins_like_a_token, looks_like_a_secret, quotable};
pub use refresh_margin::{Lifetime, RefreshMargin};
pub use rollback::{PendingDeletions, Rollback, RollbackOutcome, RollbackRequest};
pub use rule::{Rule, RuleSet};
pub use run::{Mode, RunId, RunStatus, Selection, StopReason, Tally};
pub use scope_set::ScopeSet;
pub use severity::Severity;
pub use summary::{Batches, CodeCount, Counters, Summary};
pub use superseded::Superseded;
pub use token::{
    DecryptError, DecryptFailure, Expiry, LegacyToken, Scopes, SourceKey, Unreadable, UnreadableCause,
    Version,
};
pub use verification::{ACCESS_TOKEN_EXPIRED, Difference, Verdict, Verification, VerifyRequest};
pub use visible::{visible, visible_cell, visible_json, visible_lines};
pub use witness::{Attributes, Witness};
