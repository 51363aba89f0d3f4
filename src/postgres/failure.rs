//! Database failures: the driver's errors as an operator needs them, without values that a message may quote.
//!
//! A user-defined function may raise an error of any class with any value in its message. The server reports
//! a context for errors raised in functions: such messages are never repeated, nor are those that occur while
//! rows are read.

use std::{borrow::Cow, fmt};

use sqlx::{Error, error::DatabaseError, postgres::PgDatabaseError};

use super::no_answer::NoAnswer;

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The server does not respond, is starting up or shutting down, or accepts no more connections. It may
    /// recover.
    Unreachable,
    /// The server denies access: wrong password, missing database or missing privilege.
    Permission,
    /// Row-level security would filter rows, which the session has disabled.
    RowSecurity,
    /// A statement exceeded its timeout.
    Timeout,
    /// A pooler assigns each transaction to a different session.
    Pooled,
    /// The statement is invalid for this database.
    Rejected,
    /// The result is not as expected: a bug.
    Unexpected,
}

/// An error of a database that is safe to print.
///
/// Postgres quotes values in some messages (`invalid input syntax for type integer: "ya29…"`). Only messages
/// of classes about names, privileges and resources are kept; for the others, the SQLSTATE remains.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The five-letter SQLSTATE, if the server reported the error.
    pub sqlstate: Option<String>,
    text: String,
    remedy: Option<&'static str>,
}

impl Failure {
    /// Returns true if a unique row already exists.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.sqlstate.as_deref() == Some("23505")
    }

    /// Returns true if a value is the cause and not the statement, so that another row may succeed. Besides
    /// data exceptions, these are a subquery with several rows, a domain's check, errors of extensions, and
    /// errors raised by user-defined functions.
    #[must_use]
    pub fn is_about_a_value(&self) -> bool {
        self.sqlstate.as_deref().is_some_and(|state| {
            matches!(state.get(..2), Some("21" | "22" | "23" | "39")) || state == "P0001"
        })
    }

    /// Returns true if a retry on a new connection may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == FailureKind::Unreachable
    }

    /// Builds a failure for an operation that tokenferry refuses because of the server's setup.
    #[must_use]
    pub fn withheld(text: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Permission,
            sqlstate: None,
            text: text.into(),
            remedy: None,
        }
    }

    /// Builds the failure of a pooler that assigns each transaction to a different session.
    #[must_use]
    pub fn pooled() -> Self {
        Self::of_our_own(FailureKind::Pooled, POOLED.to_owned())
    }

    /// Builds a failure with a text of our own.
    pub(super) fn of_our_own(kind: FailureKind, text: String) -> Self {
        Self {
            kind,
            sqlstate: None,
            text,
            remedy: None,
        }
    }

    /// Treats a read-only server as unreachable: it may be a primary that is being replaced, and recover.
    #[must_use]
    pub fn unless_replaced(self) -> Self {
        if self.sqlstate.as_deref() == Some(READ_ONLY) {
            Self {
                kind: FailureKind::Unreachable,
                text: "the server accepts no writes: it is a standby, is being replaced, or the role's transactions are read-only"
                    .to_owned(),
                ..self
            }
        } else {
            self
        }
    }

    /// Returns true if the session limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.sqlstate.as_deref() == Some("53300")
    }

    /// Adds the place to the text.
    pub(super) fn at(self, place: &str) -> Self {
        Self {
            text: format!("{place}: {}", self.text),
            ..self
        }
    }

    /// Adds a remedy, which follows the text.
    pub(super) fn with_remedy(self, remedy: &'static str) -> Self {
        Self {
            remedy: Some(remedy),
            ..self
        }
    }

    /// Returns the remedy, if it is known apart from the text.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        self.remedy
    }

    /// Returns the failure without its remedy.
    #[must_use]
    pub fn without_remedy(self) -> Self {
        Self { remedy: None, ..self }
    }

    /// Removes the database's message: while rows are read, a message of any class may quote one (a token
    /// cast to `regclass`, an error raised by a user-defined function).
    #[must_use]
    pub fn without_message(self) -> Self {
        match &self.sqlstate {
            // Our own texts quote nothing.
            None => self,
            Some(code) => Self {
                text: of_state(code).to_owned(),
                ..self
            },
        }
    }
}

/// Describes an SQLSTATE in our own words.
fn of_state(code: &str) -> &'static str {
    match code {
        "42501" => {
            "the query, or a function in it, needs a privilege that the role lacks: grant it to the role"
        }
        READ_ONLY => "the query writes, but the session is read-only: remove the write from the expression",
        "57014" => {
            "the statement exceeded its timeout or was cancelled: raise the timeout, or try again when the database is less busy"
        }
        "55P03" => "a lock could not be acquired in time: try again when nobody alters the table",
        _ => match code.get(..2) {
            Some("28") => {
                "the database denied access to the session, or to a function in the query: check its log"
            }
            Some("57" | "08") => "the server ended the session: check its log",
            Some("53" | "58") => {
                "the server ran out of resources, or could not read its own files: check its log"
            }
            Some("40") => "the transaction conflicted with another one: try again",
            _ => ABOUT_A_VALUE,
        },
    }
}

/// Removes characters that move a terminal's cursor.
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

const POOLED: &str = "the connection goes through a pooler in transaction or statement mode: connect to the database itself, or through a \
                      pooler in session mode";

pub(super) const READ_ONLY: &str = "25006";

const ABOUT_A_VALUE: &str = "the database could not process a value";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(remedy) = self.remedy {
            write!(f, ": {remedy}")?;
        }
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
                    remedy: None,
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
                format!("no secure connection could be established: {error}"),
            ),
            Error::PoolTimedOut => plain(
                FailureKind::Unreachable,
                "no connection was available in time".to_owned(),
            ),
            Error::PoolClosed | Error::WorkerCrashed => {
                plain(FailureKind::Unreachable, "the connections were closed".to_owned())
            }
            // A connection that breaks in the middle of a message surfaces as a protocol error.
            Error::Protocol(_) => plain(FailureKind::Unreachable, "the connection was lost".to_owned()),
            Error::Configuration(_) => plain(
                FailureKind::Permission,
                "the connection settings are inconsistent".to_owned(),
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

/// Recognizes row-level security. Its SQLSTATE is that of any missing privilege and its message is localized,
/// but its location in the server is unique.
fn is_row_security(error: &dyn DatabaseError) -> bool {
    let error = error.try_downcast_ref::<PgDatabaseError>();
    error.and_then(PgDatabaseError::routine) == Some("check_enable_rls")
}

impl From<Failure> for Error {
    /// Passes a failure through interfaces that accept only the driver's errors.
    fn from(failure: Failure) -> Self {
        Self::Io(std::io::Error::other(failure))
    }
}

fn kind_of(sqlstate: &str) -> FailureKind {
    match sqlstate {
        // Shutting down, crashed, starting up; or our session or transaction was idle for too long.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => FailureKind::Unreachable,
        "57014" | "55P03" => FailureKind::Timeout,
        // A statement just prepared is missing, or another client's statement has its name.
        "26000" | "42P05" => FailureKind::Pooled,
        "42501" | READ_ONLY => FailureKind::Permission,
        code => match code.get(..2) {
            // Connection problems, exhausted resources, and serialization failures or deadlocks, which
            // succeed on retry.
            Some("08" | "53" | "58" | "40") => FailureKind::Unreachable,
            // Authentication; a missing database or schema.
            Some("28" | "3D") => FailureKind::Permission,
            _ => FailureKind::Rejected,
        },
    }
}

fn variant_name(error: &Error) -> &'static str {
    match error {
        Error::RowNotFound => "a required row is missing",
        Error::TypeNotFound { .. } => "a required type is missing",
        Error::ColumnNotFound(_) | Error::ColumnIndexOutOfBounds { .. } => "a required column is missing",
        Error::Decode(_) | Error::Encode(_) => "a value has an unexpected type",
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
