//! Findings: observations about a row that do not decide its outcome.

use super::{Decision, Destination, Item, Reason, Rule, Severity, SourceKey, Superseded, Unsent};

/// The effect of a finding on its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The token is not uploaded.
    Error,
    /// The token is uploaded, but somebody should look at it.
    Warning,
    /// Another token is uploaded instead.
    Superseded,
}

impl FindingKind {
    /// Returns the word that the ledger stores.
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

/// A problem of a row: a warning about an uploaded token, or a dry run's reason not to upload it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The source row.
    pub key: SourceKey,
    /// The destination, if the row has one.
    pub destination: Option<Destination>,
    /// The legacy app name if it could not be mapped.
    pub app: Option<String>,
    /// The effect on the row.
    pub kind: FindingKind,
    /// The problem.
    pub reason: Reason,
    /// For a superseded row, the key of the other row or the name of the other migration.
    pub superseded_by: Option<String>,
}

impl Finding {
    /// Builds the finding for a token that breaks a rule but is uploaded.
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

    /// Builds the finding of a dry run where a real run would decide.
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
