//! Errors of the ledger.

use thiserror::Error;

use crate::{domain::PendingDeletions, postgres::Failure};

/// The ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The database is out of reach or does not let us.
    #[error("the ledger database does not answer as it should (`tokenferry doctor` looks closer)")]
    Database(#[from] Failure),
    /// There is no ledger in the configured schema.
    #[error(
        "there is no ledger in schema \"{schema}\" yet: nothing was migrated so far (`tokenferry migrate` makes it)"
    )]
    Absent {
        /// The schema.
        schema: String,
    },
    /// A newer version of this program made or updated the ledger.
    #[error(
        "the ledger in schema \"{schema}\" was updated by a newer tokenferry: use that version (`tokenferry --version`)"
    )]
    Newer {
        /// The schema.
        schema: String,
    },
    /// The database cannot hold every name.
    #[error(
        "the ledger's database has the encoding {0}, which cannot hold every key, user and app that there may be: let `ledger.url` lead to a          database in UTF8 (create database … encoding 'UTF8' template template0)"
    )]
    Encoding(String),
    /// The schema could not be brought up to date.
    #[error("the ledger's schema could not be brought up to date: {0}")]
    Schema(String),
    /// Fingerprints made now would not match those in the ledger.
    #[error(
        "`ledger.pepper` is not the one this ledger was begun with: with it every token would look changed and be sent again. \
         Put the former pepper back"
    )]
    Pepper,
    /// Another process works on the same migration.
    #[error(
        "another {what} of migration \"{migration}\" is active: {holder}. The lock {session}. `tokenferry status` shows its progress"
    )]
    Locked {
        /// What it is that only one may do: a run, or a verification.
        what: &'static str,
        /// The migration.
        migration: String,
        /// Host and process, and when it began.
        holder: String,
        /// The database session that holds the lock.
        session: String,
    },
    /// Somebody who cannot keep the ledger holds its lock.
    #[error(
        "no {what} of migration \"{migration}\" can begin: its lock is held by {session}. That role cannot write the ledger, so it is \
         no {what} of tokenferry: {remedy}"
    )]
    LockedByForeignRole {
        /// What it is that only one may do: a run, or a verification.
        what: &'static str,
        /// The migration.
        migration: String,
        /// The database session that holds the lock.
        session: String,
        /// How to end it, and to keep it from coming back.
        remedy: String,
    },
    /// The lock was lost, and another process has taken the run over meanwhile.
    #[error(
        "the migration's lock was lost, and another process has taken the run over (`tokenferry status` shows it)"
    )]
    TakenOver,
    /// What this process wrote is not there any more.
    #[error(
        "the ledger went back in time: what this run recorded is not there any more. Was the database restored, or did a replica \
         that lagged behind take over? Nothing more is sent. See that `ledger.url` leads to the right database and that no other run \
         is at work, then run `tokenferry migrate`: it settles what was in flight, and sends what the ledger has forgotten once more"
    )]
    WentBack,
    /// There is no such run.
    #[error("there is no run {0} of this migration: `tokenferry status` shows the latest")]
    NoSuchRun(i64),
    /// A run that has no tokens of its own is asked for them.
    #[error("run {run} has the mode {mode}, and so has uploaded nothing: name a run of `migrate`")]
    UploadsNothing {
        /// The run.
        run: i64,
        /// What it does.
        mode: String,
    },
    /// A migration's tokens are somewhere else than the configuration says.
    #[error(
        "the tokens of migration \"{migration}\" went to {went_to}, and the configuration names {configured}: what the ledger calls stored \
         is not there. Use the configuration of that project and address again, or, to send everything anew, another `ledger.schema`"
    )]
    OtherTarget {
        /// The migration.
        migration: String,
        /// Project and address.
        went_to: String,
        /// The same of the configuration.
        configured: String,
    },
    /// A run's tokens are to be deleted elsewhere than they were sent to.
    #[error(
        "run {run} went to {went_to}, and the configuration names {configured}: a token that is not there would be taken for \
         deleted. Use the configuration of that run"
    )]
    AnotherApi {
        /// The run.
        run: i64,
        /// Project and address.
        went_to: String,
        /// The same of the configuration.
        configured: String,
    },
    /// Where a run's tokens are is not known.
    #[error(
        "it is not recorded where the tokens of run {0} went: it was begun by an earlier version of tokenferry, or went on with \
         another project or address than it began with. Nothing of it can be deleted safely"
    )]
    ApiUnknown(i64),
    /// A rollback left tokens of which nobody knows whether they are deleted.
    #[error("{0}")]
    PendingDeletions(PendingDeletions),
    /// A row that this run wrote is not as it wrote it.
    #[error("the ledger contradicts itself: {0}. This is a bug: please report it")]
    Contradiction(String),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
