//! Provider tokens: the step between validation and chunker that fetches tokens stored by Descope, or counts
//! them in a dry run.

use std::{mem, sync::Arc};

use fail::fail_point;

use super::{estimate_stage::Estimator, sink::Sink};
use crate::{
    config::Settings,
    domain::{Decision, Finding, Item},
    lookup::{LookupClient, LookupError, ProviderTokenFetcher},
    validation::{PendingFetch, Validator},
};

/// The tokens fetched before any is forwarded. Small, so that a killed run has few to fetch again.
const AT_ONCE: usize = 50;

/// The treatment of rows whose token is fetched.
pub(super) enum ProviderTokens {
    /// Fetches the tokens.
    Fetch(ProviderTokenFetcher),
    /// Counts the tokens: fetching could refresh them, and would use the quota of the real run.
    Count(Estimator),
}

/// The result of fetching.
#[derive(Default)]
pub(super) struct TokenPage {
    pub(super) items: Vec<Item>,
    pub(super) warnings: Vec<Finding>,
    pub(super) decisions: Vec<Decision>,
}

impl ProviderTokens {
    /// Builds the variant that the run needs; `None` if the source names no provider.
    pub(super) fn new(
        settings: &Settings,
        delivery: &Sink,
        lookup_client: &Arc<LookupClient>,
    ) -> Option<Self> {
        let provider = settings.source.provider.as_ref()?;
        Some(match delivery {
            Sink::Upload(_) => Self::Fetch(ProviderTokenFetcher::new(
                Arc::clone(lookup_client),
                &settings.api.lookup,
                provider.force_refresh,
            )),
            Sink::Count(counter) => Self::Count(counter.clone()),
        })
    }

    /// Takes the rows out of `rows` and returns them without tokens, if tokens are only counted.
    pub(super) fn count(&self, rows: &mut Vec<PendingFetch>, validator: &Validator) -> Vec<Item> {
        let Self::Count(counter) = self else {
            return Vec::new();
        };
        counter.fetches(rows.len());
        rows.drain(..)
            .map(|row| validator.placeholder_item(row))
            .collect()
    }

    /// Takes the next rows from the front of `rows` and fetches their tokens; `None` if there is nothing to
    /// fetch.
    ///
    /// # Errors
    /// Fails if the run is stopped.
    pub(super) async fn next(
        &self,
        rows: &mut Vec<PendingFetch>,
        validator: &Validator,
    ) -> Result<Option<TokenPage>, LookupError> {
        let Self::Fetch(fetcher) = self else {
            return Ok(None);
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let rest = rows.split_off(rows.len().min(AT_ONCE));
        let rows = mem::replace(rows, rest);
        let wanted = rows
            .iter()
            .map(|row| (row.login_id().clone(), row.provider().to_owned()));
        let tokens = fetcher.fetch(wanted.collect()).await?;
        fail_point!("fetched");
        let now = chrono::Utc::now().timestamp();
        let mut found = TokenPage::default();
        for (row, token) in rows.into_iter().zip(tokens) {
            match validator.complete(row, token, now) {
                Ok((item, rules)) => {
                    let warnings = rules.iter().map(|rule| Finding::warning(&item, rule));
                    found.warnings.extend(warnings);
                    found.items.push(item);
                }
                Err(decision) => found.decisions.push(*decision),
            }
        }
        Ok(Some(found))
    }
}
