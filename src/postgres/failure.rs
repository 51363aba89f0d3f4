//! Turns a driver's error into what an operator does next, without the values that a message may quote.
//!
//! A function of the user's own may raise an error of any class with whatever it holds in its message. The server says where an error
//! was raised (its context) when that was in a function: such a message is never repeated, nor is one that came while rows were read.

use std::{borrow::Cow, fmt};

use sqlx::{Error, error::DatabaseError, postgres::PgDatabaseError};

use super::no_answer::NoAnswer;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The server does not answer, is shutting down or starting up, or takes no more connections. It may come back.
    Unreachable,
    /// The server answers and does not let us: wrong password, no such database, a missing privilege.
    Permission,
    /// The server answers, and row-level security would leave rows out of the answer, which the session does not want.
    RowSecurity,
    /// A statement took longer than its timeout.
    Timeout,
    /// Not one session: a pooler hands each transaction to another one.
    Pooled,
    /// The statement itself is wrong for this database.
    Rejected,
    /// What came back is not what was asked for: a bug.
    Unexpected,
}

/// An error of a database that is safe to print.
///
/// Postgres quotes values in some messages (`invalid input syntax for type integer: "ya29…"`), so only those of
/// classes that speak of names, rights and resources are kept; of the others, the SQLSTATE stays.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind of trouble it is.
    pub kind: FailureKind,
    /// Postgres' five-letter code, where it was the server that complained.
    pub sqlstate: Option<String>,
    text: String,
}

impl Failure {
    /// Returns true if a row was there already that there may be only one of.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.sqlstate.as_deref() == Some("23505")
    }

    /// Returns true if a value is to blame, and not the statement: another row may do. Beside data exceptions these are a subquery that
    /// gives several rows, a domain's check, what an extension says, and what a function of the user's own raises.
    #[must_use]
    pub fn is_about_a_value(&self) -> bool {
        self.sqlstate.as_deref().is_some_and(|state| {
            matches!(state.get(..2), Some("21" | "22" | "23" | "39")) || state == "P0001"
        })
    }

    /// Returns true if trying again on a new connection may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == FailureKind::Unreachable
    }

    /// We did not do it: the server is set up in a way that forbids it.
    #[must_use]
    pub fn withheld(text: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Permission,
            sqlstate: None,
            text: text.into(),
        }
    }

    /// A pooler in between hands each transaction to another session.
    #[must_use]
    pub fn pooled() -> Self {
        Self::of_our_own(FailureKind::Pooled, POOLED.to_owned())
    }

    /// What is told in words of our own.
    pub(super) fn of_our_own(kind: FailureKind, text: String) -> Self {
        Self {
            kind,
            sqlstate: None,
            text,
        }
    }

    /// The same where a server that takes no writes is taken for one that is being replaced: it may come back.
    #[must_use]
    pub fn unless_replaced(self) -> Self {
        if self.sqlstate.as_deref() == Some(READ_ONLY) {
            Self {
                kind: FailureKind::Unreachable,
                text: "the server takes no writes: it is a standby, is being replaced, or the role's transactions are read-only"
                    .to_owned(),
                ..self
            }
        } else {
            self
        }
    }

    /// Returns true if there are as many sessions as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.sqlstate.as_deref() == Some("53300")
    }

    /// The same with where it was and what to do.
    pub(super) fn told(self, place: &str, remedy: &str) -> Self {
        Self {
            text: format!("{place}: {}: {remedy}", self.text),
            ..self
        }
    }

    /// The same without the database's words: where rows are at hand, a message of any class may quote one (a token cast
    /// to `regclass`, a function of the user's own that raises an error).
    #[must_use]
    pub fn without_message(self) -> Self {
        match &self.sqlstate {
            // Our own words quote nothing.
            None => self,
            Some(code) => Self {
                text: of_state(code).to_owned(),
                ..self
            },
        }
    }
}

/// What a state means, in words of our own.
fn of_state(code: &str) -> &'static str {
    match code {
        "42501" => {
            "a privilege is missing for something that the query, or a function in it, does: grant it to the role"
        }
        READ_ONLY => {
            "something in the query writes, and the session is read-only: take it out of the expression"
        }
        "57014" => {
            "the statement took longer than its timeout, or was cancelled: raise the timeout, or try when the database has less to do"
        }
        "55P03" => "a lock was not to be had in time: try when nobody alters the table",
        _ => match code.get(..2) {
            Some("28") => "the database let the session, or a function in the query, not do it: see its log",
            Some("57" | "08") => "the server ended the session: see its log",
            Some("53" | "58") => {
                "the server ran out of something, or could not read its own files: see its log"
            }
            Some("40") => "the transaction did not go through beside others: try again",
            _ => ABOUT_A_VALUE,
        },
    }
}

/// Without characters that move a terminal's cursor.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

const POOLED: &str = "a pooler in transaction or statement mode stands in between: connect to the database itself, or through a \
                      pooler in session mode";

pub(super) const READ_ONLY: &str = "25006";

const ABOUT_A_VALUE: &str = "the database could not work on a value";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.sqlstate {
            Some(code) => write!(f, " (SQLSTATE {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let plain = Self::of_our_own;
        match error {
            Error::Database(error) => {
                let code = error.code().map(Cow::into_owned).unwrap_or_default();
                let quotes_values = matches!(code.get(..2), Some("22" | "23" | "P0" | "XX") | None);
                let is_of_a_function = error
                    .try_downcast_ref::<PgDatabaseError>()
                    .is_none_or(|error| error.r#where().is_some());
                let kind = if is_row_security(&*error) {
                    FailureKind::RowSecurity
                } else {
                    kind_of(&code)
                };
                let text = if kind == FailureKind::Pooled {
                    POOLED.to_owned()
                } else if quotes_values || is_of_a_function {
                    of_state(&code).to_owned()
                } else {
                    visible(error.message())
                };
                Self {
                    kind,
                    sqlstate: Some(code).filter(|code| !code.is_empty()),
                    text,
                }
            }
            Error::Io(error) => {
                if let Some(known) = error.get_ref().and_then(|cause| cause.downcast_ref::<Self>()) {
                    return known.clone();
                }
                let text = match error.get_ref().and_then(|cause| cause.downcast_ref::<NoAnswer>()) {
                    Some(silence) => silence.to_string(),
                    None => format!("the connection failed: {error}"),
                };
                plain(FailureKind::Unreachable, text)
            }
            Error::Tls(error) => plain(
                FailureKind::Unreachable,
                format!("no secure connection could be made: {error}"),
            ),
            Error::PoolTimedOut => plain(
                FailureKind::Unreachable,
                "no connection was to be had in time".to_owned(),
            ),
            Error::PoolClosed | Error::WorkerCrashed => {
                plain(FailureKind::Unreachable, "the connections were closed".to_owned())
            }
            // A connection that breaks off in the middle of a message surfaces as a protocol error.
            Error::Protocol(_) => plain(FailureKind::Unreachable, "the connection broke off".to_owned()),
            Error::Configuration(_) => plain(
                FailureKind::Permission,
                "the connection's settings do not fit together".to_owned(),
            ),
            Error::ColumnDecode { index, .. } => {
                plain(FailureKind::Unexpected, format!("column {index} cannot be read"))
            }
            other => plain(
                FailureKind::Unexpected,
                format!("unexpected: {}", variant_name(&other)),
            ),
        }
    }
}

/// It has the SQLSTATE of any lack of a privilege, and words in the server's language; the place in the server is its own.
fn is_row_security(error: &dyn DatabaseError) -> bool {
    let error = error.try_downcast_ref::<PgDatabaseError>();
    error.and_then(PgDatabaseError::routine) == Some("check_enable_rls")
}

impl From<Failure> for Error {
    /// The way of a failure through what only takes the driver's errors.
    fn from(failure: Failure) -> Self {
        Self::Io(std::io::Error::other(failure))
    }
}

fn kind_of(sqlstate: &str) -> FailureKind {
    match sqlstate {
        // Shutting down, crashed, starting up; a session or a transaction of ours that was silent for too long.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => FailureKind::Unreachable,
        "57014" | "55P03" => FailureKind::Timeout,
        // A statement that was prepared a moment ago is not there, or somebody else's of the same name is.
        "26000" | "42P05" => FailureKind::Pooled,
        "42501" | READ_ONLY => FailureKind::Permission,
        code => match code.get(..2) {
            // Connection trouble; resources that run out for a while; and serialization failures and deadlocks, which
            // go through on another try.
            Some("08" | "53" | "58" | "40") => FailureKind::Unreachable,
            // Authentication; no such database; no such schema for the connection.
            Some("28" | "3D") => FailureKind::Permission,
            _ => FailureKind::Rejected,
        },
    }
}

fn variant_name(error: &Error) -> &'static str {
    match error {
        Error::RowNotFound => "a row that must be there is not",
        Error::TypeNotFound { .. } => "a type that must be there is not",
        Error::ColumnNotFound(_) | Error::ColumnIndexOutOfBounds { .. } => {
            "a column that must be there is not"
        }
        Error::Decode(_) | Error::Encode(_) => "a value of another type",
        Error::Migrate(_) => "a migration",
        _ => "an error of the driver",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_say_what_to_do() {
        for (code, kind) in [
            ("57P01", FailureKind::Unreachable),
            ("08006", FailureKind::Unreachable),
            ("53300", FailureKind::Unreachable),
            ("25P03", FailureKind::Unreachable),
            ("28P01", FailureKind::Permission),
            ("3D000", FailureKind::Permission),
            ("42501", FailureKind::Permission),
            ("57014", FailureKind::Timeout),
            ("26000", FailureKind::Pooled),
            ("42703", FailureKind::Rejected),
            ("22P02", FailureKind::Rejected),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
