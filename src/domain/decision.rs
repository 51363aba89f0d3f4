//! Decisions: what became of a token.

use std::borrow::Cow;

use super::{Destination, Rule, SourceKey, Superseded};

/// The state of a source row in the ledger. A row without one is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// The API said so.
    Committed,
    /// It did not go up; there is a reason.
    Failed,
    /// A newer row goes to the same destination.
    Superseded,
}

impl TokenState {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    /// From the word the ledger stores.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Committed, Self::Failed, Self::Superseded]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Who turned a token down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// A rule of ours, before anything was sent.
    Validation,
    /// The API.
    Api,
    /// Nobody: no usable answer came, however often it was tried.
    Transport,
}

impl RefusedBy {
    /// The word the ledger stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Api => "api",
            Self::Transport => "transport",
        }
    }
}

/// Why a token or a batch failed: a stable code for scripts and a sentence for people. Holds no token, in no form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Who turned it down.
    pub refused_by: RefusedBy,
    /// Our rule's code, the API's `errorCode`, or what happened on the wire.
    pub code: Cow<'static, str>,
    /// A sentence a person can act on.
    pub text: String,
}

impl Reason {
    /// A local rule is broken: what exactly, and after that what to do about it.
    #[must_use]
    pub fn of(rule: Rule, what: &str) -> Self {
        Self::validation(rule.code(), format!("{what}: {}", rule.advice()))
    }

    /// A reason of one of our own checks.
    #[must_use]
    pub fn validation(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Validation,
            code: code.into(),
            text: text.into(),
        }
    }

    /// A reason the API gave.
    #[must_use]
    pub fn api(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Api,
            code: Cow::Owned(code.into()),
            text: text.into(),
        }
    }

    /// What happened between us and the API.
    #[must_use]
    pub fn transport(code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self {
            refused_by: RefusedBy::Transport,
            code: code.into(),
            text: text.into(),
        }
    }
}

/// How a token ends that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// It does not go up; this is why.
    Failed(Reason),
    /// Another token stands at its destination, or goes there.
    Superseded(Superseded),
}

/// The end of a token that is not sent (or not any more).
#[derive(Debug, Clone)]
pub struct Decision {
    /// The source row.
    pub key: SourceKey,
    /// The destination, as far as the row has one.
    pub destination: Option<Destination>,
    /// The legacy app name where it could not be mapped, so that the report can name it.
    pub app: Option<String>,
    /// How new the row is.
    pub version: super::Version,
    /// How it ends.
    pub end: Unsent,
}

impl Decision {
    /// The state it ends in.
    #[must_use]
    pub fn state(&self) -> TokenState {
        match self.end {
            Unsent::Failed(_) => TokenState::Failed,
            Unsent::Superseded(_) => TokenState::Superseded,
        }
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Reason> {
        match &self.end {
            Unsent::Failed(reason) => Some(reason),
            Unsent::Superseded(_) => None,
        }
    }
}
