//! Dry run: a flag that says whether the API is changed.

/// Selects a real run or a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// Changes are made.
    #[default]
    Off,
    /// Changes are only reported.
    On,
}
