//! The outcome sink: records outcomes that need no request, and looks earlier ones up.

use super::{PipelineError, run_filter::RunFilter};
use crate::{
    domain::{Adopted, Decision, DryRun, Finding, Forgotten, Item, LedgerState, RunId, SourceKey},
    ledger::{Ledger, Run},
    validation::ExaminedPage,
};

/// A run's access to the ledger. A migration records outcomes of tokens; a dry run records findings of its
/// own and changes nothing else.
#[derive(Debug, Clone)]
pub(super) struct OutcomeSink {
    ledger: Ledger,
    run: Run,
    dry_run: DryRun,
}

impl OutcomeSink {
    pub(super) fn new(ledger: Ledger, run: Run, dry_run: DryRun) -> Self {
        Self { ledger, run, dry_run }
    }

    pub(super) fn run(&self) -> RunId {
        self.run.id
    }

    pub(super) fn migration(&self) -> &str {
        self.ledger.migration()
    }

    /// Looks up the outcomes of a page's rows, and the tokens at their destinations. Another migration may
    /// have started since the page before, with the same destinations.
    pub(super) async fn lookup(
        &self,
        page: &ExaminedPage,
        filter: &RunFilter,
    ) -> Result<LedgerState, PipelineError> {
        self.ledger.refresh_filters(&self.run).await?;
        let mut known = self.ledger.lookup(page.keys(), page.destinations()).await?;
        if self.dry_run == DryRun::On {
            let keys = page.keys().filter(|key| filter.may_be_outdated(key));
            let destinations = page.destinations().filter(|id| filter.may_be_sent_to(id));
            self.ledger
                .add_dry_run(&mut known, &self.run, keys, destinations)
                .await?;
        }
        Ok(known)
    }

    /// Records rows that the source found outdated. Returns the keys of those that are stored.
    pub(super) async fn outdated(&self, decisions: Vec<Decision>) -> Result<Vec<SourceKey>, PipelineError> {
        match self.dry_run {
            DryRun::Off => return Ok(self.ledger.record_outcomes(&self.run, &decisions).await?),
            DryRun::On => {
                self.ledger.remember_outdated(&self.run, &decisions).await?;
                let findings: Vec<Finding> = decisions.into_iter().map(Finding::of).collect();
                self.ledger.record_findings(&self.run, &findings).await?;
            }
        }
        Ok(Vec::new())
    }

    /// Returns the destinations that the ledger may know too little about.
    pub(super) async fn forgotten(&self) -> Result<Forgotten, PipelineError> {
        Ok(self.ledger.forgotten().await?)
    }

    /// Records the current IDs of destinations that the ledger has under other IDs.
    pub(super) async fn adopt(&self, rows: &[Adopted]) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => Ok(self.ledger.adopt(&self.run, rows).await?),
            DryRun::On => Ok(()),
        }
    }

    /// Records the outcomes of a page.
    pub(super) async fn page(
        &self,
        decisions: Vec<Decision>,
        mut warnings: Vec<Finding>,
    ) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => drop(self.ledger.record_outcomes(&self.run, &decisions).await?),
            DryRun::On => warnings.extend(decisions.into_iter().map(Finding::of)),
        }
        Ok(self.ledger.record_findings(&self.run, &warnings).await?)
    }

    /// Records tokens before they are sent, if the source could not say which rows share a destination. In a
    /// migration, the uploader does this.
    pub(super) async fn departing(&self, items: &[Item]) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => Ok(()),
            DryRun::On => Ok(self.ledger.remember_sent(&self.run, items).await?),
        }
    }
}
