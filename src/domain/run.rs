//! A run and its books.

use std::fmt;

use serde::Serialize;

/// A run in the ledger.
pub type RunId = i64;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Uploads.
    #[default]
    Migrate,
    /// Goes the same way up to the first request, sends nothing, and says what would happen.
    DryRun,
    /// Reads back what was uploaded.
    Verify,
    /// Deletes what a run uploaded.
    Rollback,
}

impl Mode {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::DryRun => "dry_run",
            Self::Verify => "verify",
            Self::Rollback => "rollback",
        }
    }

    /// From the word the ledger stores.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Migrate, Self::DryRun, Self::Verify, Self::Rollback]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }
}

/// Which rows a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// All that the source has.
    #[default]
    All,
    /// Those whose last outcome is `failed`.
    Failed {
        /// Only with this code.
        code: Option<String>,
    },
}

impl Selection {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// A process is at it, or died at it.
    Running,
    /// Everything selected is committed, superseded or unchanged; a dry run found that it would be.
    Completed,
    /// Everything selected was worked on; some tokens failed, or would.
    CompletedWithFailures,
    /// Ended by a signal, by hand or by a database that went away; the next `migrate` goes on.
    Interrupted,
    /// Ended by itself, since going on made no sense; the next `migrate` goes on.
    Stopped,
}

impl RunStatus {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::CompletedWithFailures => "completed_with_failures",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a run ended before the end of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    Signal(i32),
    /// Somebody pressed the button on the live page.
    Person,
    /// 401 or 403: the sentence says what the API answered.
    Credentials(String),
    /// The path is not there, or is something else than this API.
    Endpoint(String),
    /// So many batches failed in a row; the sentence holds the last reason.
    TooManyFailures(String),
    /// Too many of the first tokens failed; the sentence holds how many, and why.
    Canary(String),
    /// It is unknown what became of this batch, and the API does not tell.
    Unsettled(i64),
    /// Tokens of this run whose deletion may have got through, and that are not read back to see, as Descope would refresh them.
    DeletionsUnsettled {
        /// So many.
        count: u64,
        /// The run whose tokens they are.
        of_run: RunId,
    },
    /// As many tokens were sent as were asked for.
    Limit(u64),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Person => f.write_str("stopped by hand, on the live page"),
            Self::Credentials(text) => write!(
                f,
                "the API refused the credentials: {text} (correct them; `tokenferry doctor` tries them)"
            ),
            Self::Endpoint(text) => write!(
                f,
                "the API is not there, or not as expected: {text} (`tokenferry doctor` looks closer)"
            ),
            Self::TooManyFailures(text) | Self::Canary(text) => f.write_str(text),
            Self::Unsettled(batch) => write!(
                f,
                "it is unknown whether batch {batch} of an earlier process was stored, and the API does not tell: nothing is \
                 sent until it does. Run `tokenferry migrate` again when the API answers; `tokenferry doctor` says whether it does"
            ),
            Self::DeletionsUnsettled { count, of_run } => write!(
                f,
                "it is unknown whether {count} tokens were deleted: an earlier answer was lost, and their access tokens have expired \
                 since, so that reading them back makes Descope refresh those that are still there. Freeze the old system, then \
                 `tokenferry rollback --run {of_run} --include-expired` finds out"
            ),
            Self::Limit(count) => write!(f, "ended after {count} tokens, as asked for"),
        }
    }
}

/// The books of a run: how many source rows ended how. Those of a dry run say how they would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Rows read.
    pub selected: i64,
    /// Stored by the API in this run.
    pub committed: i64,
    /// Turned down, with a reason.
    pub failed: i64,
    /// A newer row goes to the same destination.
    pub superseded: i64,
    /// Committed in an earlier run, and the same today.
    pub unchanged: i64,
}

impl Tally {
    /// Whether every row read has an end.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.selected == self.settled()
    }

    /// Rows that have an end.
    #[must_use]
    pub fn settled(&self) -> i64 {
        self.committed + self.failed + self.superseded + self.unchanged
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.selected += other.selected;
        self.committed += other.committed;
        self.failed += other.failed;
        self.superseded += other.superseded;
        self.unchanged += other.unchanged;
    }
}
