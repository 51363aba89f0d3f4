//! One process of the program, and the ends that it may have.

use std::{fs, path::PathBuf, process::ExitStatus, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::os::unix::process::ExitStatusExt;
use tokio::{
    process::Child,
    time::{Instant, timeout},
};

/// Longer than any run of this size takes, so that one that hangs is noticed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that was started, and what was done to it since.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is something that may have been done to it, or not"
)]
pub(crate) struct Process {
    child: Child,
    begin: Instant,
    stdout: PathBuf,
    log: PathBuf,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
    /// SIGTERM was sent.
    pub(crate) terminated: bool,
    /// A database was restarted.
    pub(crate) disturbed: bool,
    /// The lock may be another's: the ledger was restarted, or a process before it may not be gone yet.
    pub(crate) contended: bool,
    /// A rollback before it was killed.
    pub(crate) is_refused: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

impl Process {
    pub(crate) fn new(child: Child, stdout: PathBuf, log: PathBuf) -> Self {
        Self {
            child,
            begin: Instant::now(),
            stdout,
            log,
            killed: false,
            terminated: false,
            disturbed: false,
            contended: false,
            is_refused: false,
        }
    }

    pub(crate) fn send(&mut self, signal: Signal) {
        // Without an ID it has ended and was waited for.
        if let Some(id) = self.child.id() {
            kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
            self.killed |= signal == Signal::SIGKILL;
            self.terminated |= signal == Signal::SIGTERM;
        }
    }

    /// Waits for its end for so long.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<Ended> {
        let waited = timeout(limit, self.child.wait()).await.ok()?;
        Some(self.judge(waited.unwrap()))
    }

    /// Waits for its end, and sees that it was one that it may have.
    pub(crate) async fn ended(&mut self) -> Ended {
        let left = PATIENCE.saturating_sub(self.begin.elapsed());
        match self.ended_within(left).await {
            Some(ended) => ended,
            None => panic!("a process does not end:\n{}", self.last_words()),
        }
    }

    fn judge(&self, status: ExitStatus) -> Ended {
        let signal = |expected: Signal| status.signal() == Some(expected as i32);
        let allowed = match status.code() {
            None => self.killed && signal(Signal::SIGKILL) || self.terminated && signal(Signal::SIGTERM),
            Some(0 | 3) => true,
            Some(2) => self.is_refused,
            // What an earlier process left is not sent again before its fate is known, and reading back
            // fails, too.
            Some(4) => self.log().contains("outcome=Unknown"),
            Some(5) => self.contended,
            Some(6) => self.disturbed,
            Some(143) => self.terminated,
            Some(_) => false,
        };
        assert!(
            allowed,
            "a process must not end like this: {status} (killed: {}, terminated: {}, database restarted: {}, lock \
             contended: {})\n{}",
            self.killed,
            self.terminated,
            self.disturbed,
            self.contended,
            self.last_words()
        );
        status
            .code()
            .map_or_else(|| Ended::Signal(status.signal().unwrap_or(0)), Ended::Code)
    }

    /// What `--json` printed.
    pub(crate) fn report(&self) -> serde_json::Value {
        let text = fs::read_to_string(&self.stdout).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", self.last_words()))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}
