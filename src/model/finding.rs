//! What is noticed about a row without deciding what becomes of it.

use super::{Decision, Destination, Item, Reason, Rule, SourceKey, Unsent};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The token does not go up.
    Error,
    /// It goes up, and somebody should look at it.
    Warning,
}

impl Severity {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A problem of a row: a warning about a token that goes up, or what a dry run says would keep it from going up.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The source row.
    pub key: SourceKey,
    /// The destination, as far as the row has one.
    pub destination: Option<Destination>,
    /// The legacy app name where it could not be mapped.
    pub app: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub reason: Reason,
}

impl Finding {
    /// A token that goes up breaks a rule.
    #[must_use]
    pub fn warning(item: &Item, rule: Rule) -> Self {
        Self {
            key: item.key.clone(),
            destination: Some(item.destination.clone()),
            app: None,
            severity: Severity::Warning,
            reason: Reason::of(rule, rule.what()),
        }
    }

    /// What a dry run says where a real one would decide. A superseded row is no problem.
    #[must_use]
    pub fn of(decision: Decision) -> Option<Self> {
        let Unsent::Failed(reason) = decision.end else {
            return None;
        };
        Some(Self {
            key: decision.key,
            destination: decision.destination,
            app: decision.app,
            severity: Severity::Error,
            reason,
        })
    }
}
