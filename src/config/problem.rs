//! Problems of a configuration.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// One wrong key, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, dotted (`batch.max_tokens`).
    pub key: String,
    /// The requirement or the remedy; never the value.
    pub must: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key, self.must)
    }
}

/// The errors that make the configuration unusable.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file does not exist.
    #[error(
        "there is no configuration file at {}: `tokenferry config example` prints one to start with, and --config names \
         another one (`tokenferry demo` needs none)",
        path.display()
    )]
    Missing {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not TOML. The line is not shown: it may contain a secret.
    #[error("{}, line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// A variable `TOKENFERRY__…` does not fit into the configuration.
    #[error("a TOKENFERRY__ variable of the environment cannot be placed: {message}")]
    Environment {
        /// The reason, without any value.
        message: String,
    },
    /// Keys are missing, unknown or wrong.
    #[error(
        "the configuration has {} problem{}:{}\n`tokenferry doctor` lists every value with its origin",
        .0.len(),
        if .0.len() == 1 { "" } else { "s" },
        list(.0)
    )]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| {
        text + "\n  - " + &problem.to_string()
    })
}
