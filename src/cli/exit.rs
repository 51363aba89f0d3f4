//! Exit codes, which scripts rely on.

use std::process::ExitCode;

use super::paper::{self, Paper};
use crate::{
    config::ConfigError,
    domain::{RunStatus, StopReason, visible_lines},
    ledger::LedgerError,
    observe::WatchError,
    pipeline::{Ended, PipelineError},
    postgres::{Failure, FailureKind},
    reader::SourceError,
    temp_postgres::TempPostgresError,
};

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything selected is committed.
    Done,
    /// 1: a bug, or an unforeseen error.
    Unforeseen,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: finished, but some tokens failed.
    SomeFailed,
    /// 4: stopped early by the API, a failed canary, or too many failures in a row.
    StoppedEarly,
    /// 5: another run of this migration is active.
    Locked,
    /// 6: a database is unreachable or lacks a permission.
    Database,
    /// 128 + n: stopped by signal n after finishing what was in flight; a stop on the live page counts as
    /// SIGINT.
    Signal(i32),
}

impl Exit {
    /// Returns the code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unforeseen => 1,
            Self::Usage => 2,
            Self::SomeFailed => 3,
            Self::StoppedEarly => 4,
            Self::Locked => 5,
            Self::Database => 6,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Prints an error with its causes and returns the exit code.
pub(super) fn report(error: &anyhow::Error) -> Exit {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str("\n  because: ");
        text.push_str(&cause.to_string());
    }
    eprintln!("{}", paper::fitted(&visible_lines(&text), Paper::Stderr));
    of_error(error)
}

/// Returns the exit code for an error, which depends on its kind.
pub(super) fn of_error(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<PipelineError>() {
            return of_pipeline(error);
        } else if let Some(error) = cause.downcast_ref::<LedgerError>() {
            return of_ledger(error);
        } else if cause.is::<ConfigError>() || cause.is::<UsageError>() || is_listening(cause) {
            return Exit::Usage;
        } else if cause.is::<TempPostgresError>() {
            return Exit::Database;
        }
    }
    Exit::Unforeseen
}

/// Returns true if the error is an address that cannot be listened on.
fn is_listening(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        cause.downcast_ref::<WatchError>(),
        Some(WatchError::Listen { .. })
    )
}

/// A request that cannot be fulfilled; the text says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

pub(super) fn of_pipeline(error: &PipelineError) -> Exit {
    match error {
        PipelineError::Source(SourceError::Database(failure)) => of_database(failure),
        PipelineError::Source(SourceError::RowSecurity { .. }) => Exit::Database,
        PipelineError::Source(_) => Exit::Usage,
        PipelineError::Ledger(error) => of_ledger(error),
        PipelineError::Api(error) if error.is_of_the_configuration() => Exit::Usage,
        PipelineError::Api(_) | PipelineError::Panicked | PipelineError::BooksOpen { .. } => Exit::Unforeseen,
    }
}

fn of_ledger(error: &LedgerError) -> Exit {
    match error {
        LedgerError::Database(failure) => of_database(failure),
        LedgerError::WentBack => Exit::Database,
        LedgerError::Locked { .. } | LedgerError::LockedByForeignRole { .. } | LedgerError::TakenOver => {
            Exit::Locked
        }
        LedgerError::Absent { .. }
        | LedgerError::Newer { .. }
        | LedgerError::Encoding(_)
        | LedgerError::Pepper
        | LedgerError::NoSuchRun(_)
        | LedgerError::AnotherApi { .. }
        | LedgerError::OtherTarget { .. }
        | LedgerError::ApiUnknown(_)
        | LedgerError::PendingDeletions(_)
        | LedgerError::QuotaConflict { .. }
        | LedgerError::UploadsNothing { .. } => Exit::Usage,
        LedgerError::Schema(_) | LedgerError::Contradiction(_) => Exit::Unforeseen,
    }
}

fn of_database(failure: &Failure) -> Exit {
    match failure.kind {
        FailureKind::Unreachable
        | FailureKind::Permission
        | FailureKind::RowSecurity
        | FailureKind::Timeout => Exit::Database,
        FailureKind::Pooled => Exit::Usage,
        FailureKind::Rejected | FailureKind::Unexpected => Exit::Unforeseen,
    }
}

const SIGINT: i32 = nix::sys::signal::Signal::SIGINT as i32;

/// Returns the exit code for the end of a run.
pub(super) fn of_run(ended: &Ended) -> Exit {
    if let Some(error) = &ended.error {
        return of_pipeline(error);
    }
    match (&ended.stopped, ended.status) {
        (Some(StopReason::Signal(signal)), _) => Exit::Signal(*signal),
        // The button is equivalent to Ctrl-C.
        (Some(StopReason::Person), _) => Exit::Signal(SIGINT),
        (Some(StopReason::Limit(_)), _) if ended.summary.tokens.failed > 0 => Exit::SomeFailed,
        (None, RunStatus::CompletedWithFailures) => Exit::SomeFailed,
        (Some(StopReason::Limit(_)), _) | (None, RunStatus::Completed) => Exit::Done,
        (Some(_), _) => Exit::StoppedEarly,
        (None, _) => Exit::Unforeseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_scripts_rely_on() {
        let codes = [
            Exit::Done,
            Exit::Unforeseen,
            Exit::Usage,
            Exit::SomeFailed,
            Exit::StoppedEarly,
            Exit::Locked,
            Exit::Database,
            Exit::Signal(2),
            Exit::Signal(15),
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 130, 143]);
    }

    #[test]
    fn a_cause_deep_in_the_chain_decides() {
        let error = anyhow::Error::from(PipelineError::Ledger(LedgerError::Pepper)).context("while starting");
        assert_eq!(of_error(&error), Exit::Usage);
        assert_eq!(of_error(&anyhow::anyhow!("something else")), Exit::Unforeseen);
    }
}
