//! Severities of rules.

/// How bad it is that a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The token does not go up.
    Error,
    /// It goes up, and somebody should look at it.
    Warning,
}
