//! Dry run: whether anything is changed at the API.

/// Two ways through the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// It is done.
    #[default]
    Off,
    /// It is said what would be done.
    On,
}
