//! Acknowledgement of failures: the tokens that are meant, and the result.

/// The failed tokens that a command means.
#[derive(Debug, Clone, Default)]
pub struct FailureFilter {
    /// Only those that failed with this code.
    pub code: Option<String>,
    /// Only the row with this key.
    pub key: Option<String>,
}

/// The result of acknowledging failed tokens.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// Tokens whose failure is acknowledged now.
    pub tokens: i64,
    /// Tokens among those asked for that may be stored: their outcome is unknown.
    pub uncertain: i64,
    /// Tokens that were left out, since nobody could tell that their rows change.
    pub unrecognisable: i64,
    /// The uncertain ones are acknowledged too, since they were named.
    pub includes_uncertain: bool,
}
