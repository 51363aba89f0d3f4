//! The holder check: whether rows whose tokens block others still exist.
//!
//! A newer row that was sent wins over an older one that is read later, but only while the newer row exists
//! and has this destination. Those rows are looked up page by page, in a separate session, since the main one
//! is reading the next page. There are few, usually none.

use std::{collections::HashMap, sync::Arc};

use tracing::Span;

use super::PipelineError;
use crate::{
    domain::{LedgerState, LegacyToken, OlderVersions, RunId, SourceKey},
    lookup::{LookupError, UserResolver},
    rate::StopSignal,
    reader::Source,
    validation::{Challenge, ExaminedPage, Validator},
};

/// Looks up the holders.
pub(super) struct HolderCheck {
    source: Source,
    /// Resolves login IDs, if the source has any.
    resolver: Option<Arc<UserResolver>>,
    validator: Arc<Validator>,
    pub(super) older: OlderVersions,
    stop: StopSignal,
}

impl HolderCheck {
    /// Opens a session beside the source that is being read.
    pub(super) fn beside(
        source: &Source,
        resolver: Option<&Arc<UserResolver>>,
        validator: &Arc<Validator>,
        older: OlderVersions,
        stop: &StopSignal,
    ) -> Self {
        Self {
            source: source.another().with_span(Span::current()),
            resolver: resolver.map(Arc::clone),
            validator: Arc::clone(validator),
            older,
            stop: stop.clone(),
        }
    }

    /// Marks the holders that are gone. Returns `false` if the run is stopped.
    pub(super) async fn run(
        &mut self,
        examined: &ExaminedPage,
        known: &mut LedgerState,
        run: RunId,
    ) -> Result<bool, PipelineError> {
        let challenges = examined.challenges(known, run);
        if challenges.is_empty() {
            return Ok(true);
        }
        // Boxed: rarely used, and large.
        Box::pin(self.look_up(&challenges, known)).await
    }

    async fn look_up(
        &mut self,
        challenges: &[Challenge],
        known: &mut LedgerState,
    ) -> Result<bool, PipelineError> {
        let keys: Vec<SourceKey> = challenges
            .iter()
            .map(|challenge| challenge.holder.clone())
            .collect();
        let mut rows = match self.stop.run_until_stopped(self.source.rows(&keys)).await {
            None => return Ok(false),
            Some(page) => page?.map(|page| page.tokens).unwrap_or_default(),
        };
        if let Some(resolver) = &self.resolver {
            match resolver.resolve(&mut rows).await {
                Ok(()) => {}
                Err(LookupError::Stopped) => return Ok(false),
                Err(LookupError::Ledger(error)) => return Err(error.into()),
            }
        }
        let rows: HashMap<&SourceKey, &LegacyToken> = rows.iter().map(|row| (&row.key, row)).collect();
        for challenge in challenges {
            let row = rows.get(&challenge.holder);
            if let Some(holder) = known.incumbents.get_mut(&challenge.destination) {
                holder.departed = !row.is_some_and(|row| self.stands(challenge, row));
                holder.went_back = row.is_some_and(|row| row.version.is_before(holder.version));
            }
        }
        Ok(true)
    }

    /// Returns true if the holder keeps its destination. A row that became older than its token keeps it
    /// unless the source takes precedence; a row with an unreadable value may still be valid.
    fn stands(&self, challenge: &Challenge, row: &LegacyToken) -> bool {
        if row.unreadable.is_some() {
            return true;
        }
        self.validator.destination_of(row) == Some(challenge.destination)
            && (self.older == OlderVersions::Refused || challenge.is_lost_to(row.version))
    }
}
