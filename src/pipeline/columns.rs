//! Column checks during a run, by a sample of the first page, and in a dry run of each page.

use tracing::warn;

use super::PipelineError;
use crate::{
    config::{Field, Problem},
    domain::{DryRun, Rule},
    reader::{Page, SourceError},
    validation::ColumnProfile,
};

/// The rows sampled per page.
const ROWS: usize = 50;

/// Fewer expiries are not enough to judge the column.
const FEWEST: usize = 20;

/// The profile so far.
#[derive(Debug)]
pub(super) struct Columns {
    profile: ColumnProfile,
    dry_run: DryRun,
    has_begun: bool,
}

impl Columns {
    pub(super) fn new(dry_run: DryRun) -> Self {
        Self {
            profile: ColumnProfile::default(),
            dry_run,
            has_begun: false,
        }
    }

    /// Samples the rows of a page. If the expiries of the first page are durations, that is an error before
    /// anything is sent; a single row would not show it.
    pub(super) fn look(&mut self, page: &Page) -> Result<(), PipelineError> {
        if self.has_begun && self.dry_run == DryRun::Off {
            return Ok(());
        }
        let step = page.tokens.len().div_ceil(ROWS).max(1);
        for token in page.tokens.iter().step_by(step) {
            self.profile.add(token);
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let (durations, expiries) = self.profile.durations();
        // A dry run reports it at the end, together with other findings.
        if is_first && self.dry_run == DryRun::Off && expiries >= FEWEST && self.profile.holds_durations() {
            let must = format!(
                "seems to be a duration, not a time: {durations} of {expiries} sampled values are before 2005; {}",
                Rule::ExpiryImplausible.advice()
            );
            let key = Field::AccessTokenExpiry.key();
            return Err(SourceError::Misfit(vec![Problem { key, must }]).into());
        }
        Ok(())
    }

    /// Logs the findings of a dry run.
    pub(super) fn report(&self) {
        if self.dry_run == DryRun::Off {
            return;
        }
        for suspicion in self.profile.suspicions() {
            warn!(
                "{suspicion}. Compare one of them with the provider's documentation: it may be encrypted, or come from the wrong \
                 column"
            );
        }
        if self.profile.holds_durations() {
            let (durations, expiries) = self.profile.durations();
            warn!(
                durations,
                expiries,
                "most expiries are before 2005, like durations, so `migrate` would end with an error: {}",
                Rule::ExpiryImplausible.advice()
            );
        }
    }
}
