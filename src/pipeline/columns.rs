//! Judges the columns as a whole, by some rows of each page.

use tracing::warn;

use super::PipelineError;
use crate::{
    config::{Field, Problem},
    domain::{DryRun, Rule},
    reader::{Page, SourceError},
    validation::ColumnProfile,
};

/// Rows of each page.
const ROWS: usize = 50;

/// Fewer expiries say nothing of their column.
const FEWEST: usize = 20;

/// What was seen so far.
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

    /// Takes rows of a page in. Before anything of the first one is sent, it is an error if its expiries are durations: of a single
    /// row nobody could tell.
    pub(super) fn look(&mut self, page: &Page) -> Result<(), PipelineError> {
        let step = page.tokens.len().div_ceil(ROWS).max(1);
        for token in page.tokens.iter().step_by(step) {
            self.profile.add(token);
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let (durations, expiries) = self.profile.durations();
        // A dry run has more to say.
        if is_first && self.dry_run == DryRun::Off && expiries >= FEWEST && self.profile.holds_durations() {
            let must = format!(
                "seems to be a duration and no time: {durations} of {expiries} that were looked at are before 2005; {}",
                Rule::ExpiryImplausible.advice()
            );
            let key = Field::AccessTokenExpiry.key();
            return Err(SourceError::Misfit(vec![Problem { key, must }]).into());
        }
        Ok(())
    }

    /// Says in the log of a dry run what is odd.
    pub(super) fn report(&self) {
        if self.dry_run == DryRun::Off {
            return;
        }
        for suspicion in self.profile.suspicions() {
            warn!(
                "{suspicion}. Hold one of them against what the provider's documentation shows: it may be encrypted, or the wrong \
                 column"
            );
        }
        if self.profile.holds_durations() {
            let (durations, expiries) = self.profile.durations();
            warn!(
                durations,
                expiries,
                "most expiries are before 2005, as durations are, and `migrate` ends with an error: {}",
                Rule::ExpiryImplausible.advice()
            );
        }
    }
}
