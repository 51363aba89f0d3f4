//! The source rows behind tokens that were sent, encoded as they would be sent now.

use std::{collections::HashMap, sync::Arc};

use super::{PipelineError, session::Session};
use crate::{
    config::{Field, Settings},
    domain::{LegacyToken, SourceKey},
    ledger::{Committed, Ledger},
    lookup::{LookupError, UserResolver},
    rate::StopSignal,
    reader::Source,
    validation::{EncodedRow, Validator},
};

/// The current state of a row, compared with what was sent for it.
pub(super) enum RowState {
    /// The same would be sent: this row.
    Same(EncodedRow),
    /// Something else, or nothing, would be sent.
    Changed,
    /// It does not exist, or does not match the configured condition.
    Gone,
}

/// Looks rows up.
pub(super) struct SourceRows {
    pub(super) source: Source,
    /// Resolves login IDs, if the source has any.
    resolver: Option<UserResolver>,
    validator: Validator,
    stop: StopSignal,
}

/// Builds the same validator as `migrate`, so that results are comparable.
pub(super) fn validator(settings: &Settings, ledger: &Ledger) -> Validator {
    Validator::new(settings.apps.clone(), ledger.key().clone())
        .tolerating(settings.tolerated)
        .fetching(settings.source.provider.clone())
}

/// Builds the resolver of login IDs, if the source has any.
pub(super) async fn resolver(session: &Session<'_>) -> Result<Option<UserResolver>, PipelineError> {
    if !session.settings.source.columns.contains_key(&Field::LoginId) {
        return Ok(None);
    }
    let lookup_client = Arc::clone(&session.lookup_client);
    let resolver = UserResolver::new(lookup_client, session.ledger.clone(), &session.settings.api).await?;
    Ok(Some(resolver))
}

impl SourceRows {
    pub(super) async fn new(session: &Session<'_>, source: Source) -> Result<Self, PipelineError> {
        let (settings, ledger) = (session.settings, &session.ledger);
        Ok(Self {
            source,
            resolver: resolver(session).await?,
            validator: validator(settings, ledger),
            stop: session.control.stop.clone(),
        })
    }

    /// Returns the states of these tokens' rows, in order. `None` if the run is stopped.
    pub(super) async fn of<'a>(
        &mut self,
        tokens: impl Iterator<Item = &'a Committed> + Clone,
    ) -> Result<Option<Vec<RowState>>, PipelineError> {
        let keys: Vec<SourceKey> = tokens.clone().map(|token| token.key.clone()).collect();
        let mut rows = match self.stop.run_until_stopped(self.source.rows(&keys)).await {
            None => return Ok(None),
            Some(page) => page?.map(|page| page.tokens).unwrap_or_default(),
        };
        if let Some(resolver) = &self.resolver {
            match resolver.resolve(&mut rows).await {
                Ok(()) => {}
                Err(LookupError::Stopped) => return Ok(None),
                Err(LookupError::Ledger(error)) => return Err(error.into()),
            }
        }
        let rows: HashMap<SourceKey, LegacyToken> =
            rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let now = chrono::Utc::now().timestamp();
        let source_rows = tokens.map(|token| {
            let Some(row) = rows.get(&token.key) else {
                return RowState::Gone;
            };
            match self.validator.as_sent(row, now) {
                Ok(row_status) if row_status.fingerprint == token.fingerprint => RowState::Same(row_status),
                Ok(_) | Err(_) => RowState::Changed,
            }
        });
        Ok(Some(source_rows.collect()))
    }
}
