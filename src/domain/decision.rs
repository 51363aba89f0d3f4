//! Decisions: the outcomes of tokens.

use std::borrow::Cow;

use super::{Destination, Rule, SourceKey, Superseded};
use crate::secret::Fingerprint;

/// The state of a source row in the ledger. A row without one is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// The API confirmed that the token is stored.
    Committed,
    /// The token was not uploaded; a reason is recorded.
    Failed,
    /// A newer row has the same destination.
    Superseded,
}

impl TokenState {
    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    /// Parses the word that the ledger stores.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Committed, Self::Failed, Self::Superseded]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// The origin of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// A local rule, before anything was sent.
    Validation,
    /// The API.
    Api,
    /// No usable response arrived in any attempt.
    Transport,
}

impl RefusedBy {
    /// Returns the word that the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Api => "api",
            Self::Transport => "transport",
        }
    }
}

/// The reason why a token or a batch failed: a stable code for scripts and a sentence for people. Never
/// contains a token in any form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The origin of the rejection.
    pub refused_by: RefusedBy,
    /// The rule's code, the API's `errorCode`, or a code of the transport error.
    pub code: Cow<'static, str>,
    /// A sentence that says what to do.
    pub text: String,
}

impl Reason {
    /// Builds the reason for a broken local rule: the problem, then the advice.
    #[must_use]
    pub fn of(rule: Rule, what: &str) -> Self {
        Self::validation(rule.code(), format!("{what}: {}", rule.advice()))
    }

    /// Builds the reason of a local check.
    #[must_use]
    pub fn validation(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Validation,
            code: code.into(),
            text: text.into(),
        }
    }

    /// Builds a reason that the API gave.
    #[must_use]
    pub fn api(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Api,
            code: Cow::Owned(code.into()),
            text: text.into(),
        }
    }

    /// Builds the reason of a transport error.
    #[must_use]
    pub fn transport(code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Transport,
            code: code.into(),
            text: text.into(),
        }
    }
}

/// The outcome of a token that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// The token is not uploaded, for this reason.
    Failed(Reason),
    /// Another token is at its destination, or is going there.
    Superseded(Superseded),
}

/// The outcome of a token that is not sent, or not sent again.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The source row.
    pub key: SourceKey,
    /// The destination, if the row has one.
    pub destination: Option<Destination>,
    /// The legacy app name if it could not be mapped, for the report.
    pub app: Option<String>,
    /// The version of the row.
    pub version: super::Version,
    /// A digest of the row, which tells whether it has changed when it fails again; absent if its content
    /// could not be read.
    pub row_digest: Option<Fingerprint>,
    /// The outcome.
    pub end: Unsent,
}

impl Decision {
    /// Returns the state that the ledger records.
    #[must_use]
    pub fn state(&self) -> TokenState {
        match self.end {
            Unsent::Failed(_) => TokenState::Failed,
            Unsent::Superseded(_) => TokenState::Superseded,
        }
    }

    /// Returns the reason if the token failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Reason> {
        match &self.end {
            Unsent::Failed(reason) => Some(reason),
            Unsent::Superseded(_) => None,
        }
    }
}
