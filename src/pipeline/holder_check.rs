//! Checks whether the rows still exist whose tokens keep others from their destinations.
//!
//! A newer row that was sent wins over an older one that is read later. That must not outlive the newer row: once it is gone
//! from the source, or goes elsewhere, the older one is the one that counts. So the rows in question are looked up, page by
//! page, over a session of their own: the other one is reading the next page. There are few such rows, mostly none.

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

/// Looks the rows up.
pub(super) struct HolderCheck {
    source: Source,
    /// Finds the users of login IDs, where the source has any.
    resolver: Option<Arc<UserResolver>>,
    validator: Arc<Validator>,
    pub(super) older: OlderVersions,
    stop: StopSignal,
}

impl HolderCheck {
    /// For use beside a source that is being read.
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

    /// Marks the holders that are gone. `false` if the run is stopped.
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
        // Seldom needed, and large.
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

    /// A row that says that it is older than what was sent for it counts as new as that was, unless the source is to be believed.
    /// Nobody knows that one has gone of which a value cannot be read.
    fn stands(&self, challenge: &Challenge, row: &LegacyToken) -> bool {
        if row.unreadable.is_some() {
            return true;
        }
        self.validator.destination_of(row) == Some(challenge.destination)
            && (self.older == OlderVersions::Refused || challenge.is_lost_to(row.version))
    }
}
