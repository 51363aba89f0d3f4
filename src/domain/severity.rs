//! Severities of rules.

/// The severity of a broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The token is not uploaded.
    Error,
    /// The token is uploaded, but somebody should look at it.
    Warning,
}
