//! Runs: mode, status, stop reason and counts.

use std::fmt;

use serde::Serialize;

/// The ID of a run in the ledger.
pub type RunId = i64;

/// The work that a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Uploads tokens.
    #[default]
    Migrate,
    /// Takes the same path up to the first request, sends nothing and reports the expected outcome.
    DryRun,
    /// Reads uploaded tokens back.
    Verify,
    /// Deletes the tokens that a run uploaded.
    Rollback,
}

impl Mode {
    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::DryRun => "dry_run",
            Self::Verify => "verify",
            Self::Rollback => "rollback",
        }
    }

    /// Parses the word that the ledger stores.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Migrate, Self::DryRun, Self::Verify, Self::Rollback]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }
}

/// The rows that a run works on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// All rows of the source.
    #[default]
    All,
    /// Rows whose last outcome is `failed`.
    Failed {
        /// Only with this code.
        code: Option<String>,
    },
}

impl Selection {
    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// A process works on it, or died while doing so.
    Running,
    /// Every selected row is committed, superseded or unchanged; for a dry run, it would be.
    Completed,
    /// Every selected row was processed, and some failed, or would fail.
    CompletedWithFailures,
    /// Stopped by a signal, by a person or by a lost database; the next `migrate` resumes it.
    Interrupted,
    /// Stopped by itself because continuing would not help; the next `migrate` resumes it.
    Stopped,
}

impl RunStatus {
    /// Returns the word that the ledger stores.
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

/// The reason why a run ended before the end of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    Signal(i32),
    /// Somebody pressed the button on the live page.
    Person,
    /// 401 or 403; the text is the API's answer.
    Credentials(String),
    /// The path does not exist, or is not this API.
    Endpoint(String),
    /// Too many batches failed in a row; the text has the last reason.
    TooManyFailures(String),
    /// Too many of the first tokens failed; the text says how many and why.
    Canary(String),
    /// The outcome of this batch is unknown, and the API does not reveal it.
    Unsettled(i64),
    /// The deletion of these tokens may have arrived. They are not read back, since Descope would refresh
    /// them.
    DeletionsUnsettled {
        /// The number of tokens.
        count: u64,
        /// The run that sent them.
        of_run: RunId,
    },
    /// The requested number of tokens was sent.
    Limit(u64),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Person => f.write_str("stopped by hand, on the live page"),
            Self::Credentials(text) => write!(
                f,
                "the API refused the credentials: {text} (correct them, then check with `tokenferry doctor`)"
            ),
            Self::Endpoint(text) => write!(
                f,
                "the API is missing or not as expected: {text} (run `tokenferry doctor` for details)"
            ),
            Self::TooManyFailures(text) | Self::Canary(text) => f.write_str(text),
            Self::Unsettled(batch) => write!(
                f,
                "it is unknown whether batch {batch} of an earlier process was stored, and the API does not reveal it: \
                 nothing is sent until it does. Check the API with `tokenferry doctor`, then run `tokenferry migrate` again"
            ),
            Self::DeletionsUnsettled { count, of_run } => write!(
                f,
                "it is unknown whether {count} tokens were deleted: a response was lost, and their access tokens have \
                 expired since, so reading them back makes Descope refresh the ones that still exist. Freeze the old system, then \
                 `tokenferry rollback --run {of_run} --include-expired` finds out"
            ),
            Self::Limit(count) => write!(f, "ended after {count} tokens, as asked for"),
        }
    }
}

/// The counts of a run: how source rows ended, or in a dry run, would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Rows read.
    pub selected: i64,
    /// Stored by the API in this run.
    pub committed: i64,
    /// Rejected, with a reason.
    pub failed: i64,
    /// Left out, since a newer row has the same destination.
    pub superseded: i64,
    /// Committed in an earlier run and the same now.
    pub unchanged: i64,
}

impl Tally {
    /// Returns true if every row read has an outcome.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.selected == self.settled()
    }

    /// Returns the number of rows that have an outcome.
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
