//! Outcome sink: records outcomes that need no request, and looks earlier ones up.

use super::PipelineError;
use crate::{
    domain::{
        Adopted, Decision, DestinationId, DryRun, Finding, Forgotten, Item, LedgerState, RunId, SourceKey,
    },
    ledger::{Ledger, Run},
};

/// A run's side of the ledger. A real run writes what becomes of tokens; a dry run writes what would, as findings of its
/// own, and nobody else's run or tokens change.
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

    /// Returns true if the ledger holds runs of other migrations. What they have sent is found after this.
    pub(super) async fn meet_siblings(&self) -> Result<bool, PipelineError> {
        Ok(self.ledger.meet_siblings(&self.run).await?)
    }

    /// What is known of these rows, and of what is at these destinations.
    pub(super) async fn lookup<'a>(
        &self,
        keys: impl Iterator<Item = &'a SourceKey> + Clone,
        destinations: impl Iterator<Item = DestinationId> + Clone,
    ) -> Result<LedgerState, PipelineError> {
        Ok(match self.dry_run {
            DryRun::Off => self.ledger.lookup(keys, destinations).await?,
            DryRun::On => self.ledger.lookup_dry_run(&self.run, keys, destinations).await?,
        })
    }

    /// Rows that the source found outdated.
    pub(super) async fn outdated(&self, decisions: Vec<Decision>) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => self.ledger.record_outcomes(&self.run, &decisions).await?,
            DryRun::On => {
                self.ledger.remember_outdated(&self.run, &decisions).await?;
                let findings: Vec<Finding> = decisions.into_iter().map(Finding::of).collect();
                self.ledger.record_findings(&self.run, &findings).await?;
            }
        }
        Ok(())
    }

    /// Of which destinations the ledger may know too little.
    pub(super) async fn forgotten(&self) -> Result<Forgotten, PipelineError> {
        Ok(self.ledger.forgotten().await?)
    }

    /// Rows whose destinations the ledger knows under other IDs.
    pub(super) async fn adopt(&self, rows: &[Adopted]) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => Ok(self.ledger.adopt(&self.run, rows).await?),
            DryRun::On => Ok(()),
        }
    }

    /// What a page's rows came to.
    pub(super) async fn page(
        &self,
        decisions: Vec<Decision>,
        mut warnings: Vec<Finding>,
    ) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => self.ledger.record_outcomes(&self.run, &decisions).await?,
            DryRun::On => warnings.extend(decisions.into_iter().map(Finding::of)),
        }
        Ok(self.ledger.record_findings(&self.run, &warnings).await?)
    }

    /// Tokens that are about to be sent, where the source could not say which rows share a destination. The uploader
    /// records those of a real run.
    pub(super) async fn departing(&self, items: &[Item]) -> Result<(), PipelineError> {
        match self.dry_run {
            DryRun::Off => Ok(()),
            DryRun::On => Ok(self.ledger.remember_sent(&self.run, items).await?),
        }
    }
}
