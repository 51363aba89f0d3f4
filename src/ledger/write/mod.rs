//! Writes of runs: batches, outcomes, checkpoints and the lock, with the lookups that they rest on.

mod batch;
mod batches;
mod checkpoints;
mod clean_ranges;
mod columns;
mod commit;
mod committed;
mod continuity;
mod decisions;
mod dry_runs;
mod events;
mod failed_rows;
mod filing;
mod findings;
mod forgotten_tokens;
mod known_users;
mod learned_sizes;
mod lock;
mod lock_keeper;
mod lookup;
mod packed;
mod past_runs;
mod prior_tokens;
mod rollback;
mod rollback_candidates;
mod rollback_outcomes;
mod rollbacks;
mod run;
mod runs;
mod siblings;
mod verification_tokens;
mod verifications;
mod write_numbers;

pub use batch::{BatchOutcome, BatchRef, RemainingTokens, Unsettled};
pub use commit::Rows;
pub use committed::Committed;
pub(super) use continuity::Outcomes;
pub use failed_rows::FailedRow;
pub use lock::Lock;
pub(super) use packed::Packed;
pub use rollback::{IntendedDeletion, RollbackCandidate, RollbackRun};
pub use run::{Checkpoint, Run};
pub use verifications::VerifyRun;

use super::{Ledger, LedgerError, session::MANY_ROWS};
