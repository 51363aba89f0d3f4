//! Rows whose tokens Descope itself keeps, between the screen and the chunker: a real run fetches the tokens, a dry run says
//! how many it would.

use std::{mem, sync::Arc};

use fail::fail_point;

use super::{count_stage::Counter, delivery::Delivery};
use crate::{
    config::Settings,
    model::{Decision, Finding, Item},
    screen::{Screen, Unfetched},
    who::{Asker, Fetcher, WhoError},
};

/// Tokens that are fetched before any of them is handed on. Few, so that a run that is killed has few to fetch again.
const AT_ONCE: usize = 50;

/// What is done about them.
pub(super) enum Fetching {
    /// They are fetched.
    Fetch(Fetcher),
    /// They are counted: asking might make the API renew tokens, and costs the quota of the real run.
    Count(Counter),
}

/// What fetching came to.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) items: Vec<Item>,
    pub(super) warnings: Vec<Finding>,
    pub(super) decisions: Vec<Decision>,
}

impl Fetching {
    /// As the run needs it; `None` if the source names no provider.
    pub(super) fn new(settings: &Settings, delivery: &Delivery, asker: &Arc<Asker>) -> Option<Self> {
        let provider = settings.source.provider.as_ref()?;
        Some(match delivery {
            Delivery::Upload(_) => Self::Fetch(Fetcher::new(
                Arc::clone(asker),
                &settings.api.lookup,
                provider.force_refresh,
            )),
            Delivery::Count(counter) => Self::Count(counter.clone()),
        })
    }

    /// The rows without their tokens, where tokens are only counted: they are none of `rows` any more.
    pub(super) fn count(&self, rows: &mut Vec<Unfetched>, screen: &Screen) -> Vec<Item> {
        let Self::Count(counter) = self else {
            return Vec::new();
        };
        counter.fetches(rows.len());
        rows.drain(..).map(|row| screen.outline(row)).collect()
    }

    /// Takes the next rows from the front of `rows` and fetches their tokens; `None` if there is nothing to fetch.
    ///
    /// # Errors
    /// If the run is stopped.
    pub(super) async fn next(
        &self,
        rows: &mut Vec<Unfetched>,
        screen: &Screen,
    ) -> Result<Option<Fetched>, WhoError> {
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
        let mut found = Fetched::default();
        for (row, token) in rows.into_iter().zip(tokens) {
            match screen.complete(row, token, now) {
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
