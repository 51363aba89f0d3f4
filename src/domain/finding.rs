//! Findings: what is noticed about a row without deciding what becomes of it.

use super::{Decision, Destination, Item, Reason, Rule, Severity, SourceKey, Superseded, Unsent};

/// What a finding means for its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The token does not go up.
    Error,
    /// It goes up, and somebody should look at it.
    Warning,
    /// It is left out in favour of another token.
    Superseded,
}

impl FindingKind {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Superseded => "superseded",
        }
    }
}

impl From<Severity> for FindingKind {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
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
    /// What it means for the row.
    pub kind: FindingKind,
    /// What it is.
    pub reason: Reason,
    /// Of a superseded row the key of the other one, or the name of the other migration.
    pub superseded_by: Option<String>,
}

impl Finding {
    /// A token that goes up breaks a rule.
    #[must_use]
    pub fn warning(item: &Item, rule: Rule) -> Self {
        Self {
            key: item.key.clone(),
            destination: Some(item.destination.clone()),
            app: None,
            kind: FindingKind::Warning,
            reason: Reason::of(rule, rule.what()),
            superseded_by: None,
        }
    }

    /// What a dry run says where a real one would decide.
    #[must_use]
    pub fn of(decision: Decision) -> Self {
        let (kind, reason, superseded_by) = match decision.end {
            Unsent::Failed(reason) => (FindingKind::Error, reason, None),
            Unsent::Superseded(superseded) => {
                let by = superseded.by().map(ToOwned::to_owned);
                let text = Superseded::sentence(superseded.code(), by.as_deref());
                (
                    FindingKind::Superseded,
                    Reason::validation(superseded.code(), text),
                    by,
                )
            }
        };
        Self {
            key: decision.key,
            destination: decision.destination,
            app: decision.app,
            kind,
            reason,
            superseded_by,
        }
    }
}
