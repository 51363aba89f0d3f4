//! Errors of starting a throwaway Postgres.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

/// Why there is no throwaway Postgres, or why it went away badly.
#[derive(Debug, thiserror::Error)]
pub enum TempPostgresError {
    /// No folder holds both `initdb` and `postgres`.
    #[error(
        "no Postgres on this machine; looked for initdb and postgres in {}",
        list(looked)
    )]
    NotFound {
        /// The folders, in the order they were looked at.
        looked: Vec<PathBuf>,
    },
    /// Postgres refuses to run as root, and there is no other account to run it.
    #[error(
        "Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    /// No place for temporary files suits the server.
    #[error(
        "no folder for temporary files is open to the server's user and has a short enough path; tried {}",
        list(tried)
    )]
    NoFolder {
        /// The folders, in the order they were tried.
        tried: Vec<PathBuf>,
    },
    /// The operating system said no.
    #[error("cannot {action}")]
    Io {
        /// The action, as it reads after "cannot".
        action: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A program that should have succeeded did not.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// The program and its first argument.
        program: String,
        /// The exit status.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// The server was started and never answered.
    #[error("the throwaway Postgres did not start: {reason}; the end of its log:\n{log}")]
    Start {
        /// The observation: an exit or a silence.
        reason: String,
        /// The last lines of the server's log.
        log: String,
    },
    /// The server answered a statement with an error.
    #[error("the throwaway Postgres refused to {action}")]
    Query {
        /// The request, as it reads after "refused to".
        action: String,
        /// The server's error.
        #[source]
        source: sqlx::Error,
    },
    /// No Docker engine answers.
    #[error("no Docker engine answers: {reason}")]
    NoDocker {
        /// The command line's error.
        reason: String,
    },
    /// Neither the machine nor Docker has a Postgres. The text says what to do about it.
    #[error(
        "no Postgres can be started: {local}; {docker}\n\
         Install one (Debian, Ubuntu: `apt install postgresql`; macOS: `brew install postgresql@17`), \
         or start Docker, or name a database with --database-url"
    )]
    Nowhere {
        /// Why the machine's own binaries would not do.
        local: Box<TempPostgresError>,
        /// Why Docker would not do.
        docker: Box<TempPostgresError>,
    },
}

impl TempPostgresError {
    /// For `map_err`: names what was being done.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action: action.into(),
            source,
        }
    }

    /// For `map_err`: names what was asked of the server.
    pub(super) fn query(action: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query {
            action: action.into(),
            source,
        }
    }
}

fn list(paths: &[PathBuf]) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for (index, path) in paths.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", path.display())?;
        }
        Ok(())
    })
}
