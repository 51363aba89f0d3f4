//! Errors of the ledger.

use thiserror::Error;

use crate::{domain::PendingDeletions, postgres::Failure};

/// The ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The database is unreachable or denies access.
    #[error("the ledger database returned an error; run `tokenferry doctor` for details")]
    Database(#[from] Failure),
    /// There is no ledger in the configured schema.
    #[error("there is no ledger in schema \"{schema}\" yet; `tokenferry migrate` creates it")]
    Absent {
        /// The schema.
        schema: String,
    },
    /// A newer version of this program created or updated the ledger.
    #[error(
        "the ledger in schema \"{schema}\" was updated by a newer version of tokenferry; use that version"
    )]
    Newer {
        /// The schema.
        schema: String,
    },
    /// The database's encoding cannot store every name.
    #[error(
        "the ledger's database has the encoding {0}, which cannot store every key, user and app; point `ledger.url` to a \
         database in UTF8 (create database … encoding 'UTF8' template template0)"
    )]
    Encoding(String),
    /// The schema could not be updated.
    #[error("the ledger's schema could not be updated: {0}")]
    Schema(String),
    /// Fingerprints made now would not match those in the ledger.
    #[error(
        "`ledger.pepper` differs from the one this ledger was created with; every token would look changed and be \
         uploaded again. Restore the previous value"
    )]
    Pepper,
    /// Another process works on the same migration.
    #[error(
        "another {what} of migration \"{migration}\" is active: {holder}. The lock {session}. `tokenferry status` shows its progress"
    )]
    Locked {
        /// The work that only one process may do: a run or a verification.
        what: &'static str,
        /// The migration.
        migration: String,
        /// Host, process, and the time it started.
        holder: String,
        /// The database session that holds the lock.
        session: String,
    },
    /// A role that cannot write to the ledger holds its lock.
    #[error(
        "no {what} of migration \"{migration}\" can start: its lock is held by {session}. That role cannot write to the \
         ledger, so the session is not a {what} of tokenferry: {remedy}"
    )]
    LockedByForeignRole {
        /// The work that only one process may do: a run or a verification.
        what: &'static str,
        /// The migration.
        migration: String,
        /// The database session that holds the lock.
        session: String,
        /// The statements that end the session and keep it from coming back.
        remedy: String,
    },
    /// The lock was lost, and another process has taken the run over.
    #[error(
        "the migration's lock was lost, and another process took over the run (`tokenferry status` shows it)"
    )]
    TakenOver,
    /// Records of this process are missing from the ledger.
    #[error(
        "the ledger went back in time: records of this run are missing. Was the database restored, or did a lagging \
         replica take over? Nothing more is sent. Check that `ledger.url` points to the right database and that no other \
         run is active, then run `tokenferry migrate`: it settles the batches in flight and uploads again what the ledger \
         has lost"
    )]
    WentBack,
    /// The run does not exist.
    #[error("there is no run {0} of this migration; `tokenferry status` shows the latest")]
    NoSuchRun(i64),
    /// A run that uploads nothing was asked for its tokens.
    #[error("run {run} has the mode {mode}, which uploads nothing; name a run of `migrate`")]
    UploadsNothing {
        /// The run.
        run: i64,
        /// Its mode.
        mode: String,
    },
    /// A migration's tokens were sent to another target than the configured one.
    #[error(
        "the tokens of migration \"{migration}\" went to {went_to}, but the configuration names {configured}, where they \
         are not stored. Use the configuration of that project and address again, or, to upload everything anew, another \
         `ledger.schema`"
    )]
    OtherTarget {
        /// The migration.
        migration: String,
        /// Project and base URL that the tokens were sent to.
        went_to: String,
        /// Project and base URL of the configuration.
        configured: String,
    },
    /// A rollback would look for a run's tokens at another target than they were sent to.
    #[error(
        "run {run} went to {went_to}, but the configuration names {configured}, where its tokens would count as deleted. \
         Use the configuration of that run"
    )]
    AnotherApi {
        /// The run.
        run: i64,
        /// Project and base URL that the tokens were sent to.
        went_to: String,
        /// Project and base URL of the configuration.
        configured: String,
    },
    /// The target of a run's tokens is unknown.
    #[error(
        "it is not recorded where the tokens of run {0} went: an earlier version of tokenferry started it, or it was \
         resumed with another project or address. None of its tokens can be deleted safely"
    )]
    ApiUnknown(i64),
    /// An unfinished rollback left tokens that may or may not be deleted.
    #[error("{0}")]
    PendingDeletions(PendingDeletions),
    /// A process with other settings uses a quota that all share.
    #[error(
        "the quota of `{key}` is shared with {used_by}, which uses {theirs}, but this configuration has {ours}. Give all \
         that share it the same settings: others take effect once no request has left for {window}. For a quota of its \
         own, set `api.rate_limit.share = false`"
    )]
    QuotaConflict {
        /// The table of the configuration with the settings.
        key: &'static str,
        /// The other process and its migration.
        used_by: String,
        /// Its settings.
        theirs: String,
        /// The settings of this process.
        ours: String,
        /// The time without requests after which other settings take effect.
        window: String,
    },
    /// A row differs from what this program wrote.
    #[error("the ledger contradicts itself: {0}. This is a bug; please report it")]
    Contradiction(String),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
