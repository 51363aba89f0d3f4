//! Warnings about rows that are left out in favour of other tokens, or take their places, where somebody should look.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use tracing::warn;

use crate::{
    domain::{Decision, Finding, FindingKind, Reason, SourceKey, Superseded, Unsent},
    validation::Conflict,
};

/// Each is said in the log once.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// That rows are older than what was sent for them.
    went_back: bool,
    /// That these migrations have tokens for the same destinations.
    migrations: BTreeSet<Arc<str>>,
}

const GONE_BACK: &str = "the updated_at of the row, or of the one whose token is at its destination, is earlier than when that token was sent, so the newer \
                         token stays at Descope. The source \
                         may be a replica that lags behind, or restored from a backup: point `source.url` at the current database. If the \
                         source is right, `tokenferry migrate --allow-older` sends such rows";

impl Notices {
    /// What is said of rows that are older than what was sent for them.
    pub(super) fn older_versions(&mut self, decisions: &[Decision]) -> Vec<Finding> {
        let found: Vec<Finding> = decisions
            .iter()
            .filter(|decision| decision.end == Unsent::Superseded(Superseded::OlderVersion))
            .map(|decision| Finding {
                key: decision.key.clone(),
                destination: decision.destination.clone(),
                app: None,
                kind: FindingKind::Warning,
                reason: Reason::validation(Superseded::OLDER_VERSION, GONE_BACK),
                superseded_by: None,
            })
            .collect();
        if let Some(first) = found.first().filter(|_| !self.went_back) {
            self.went_back = true;
            warn!(
                key = %first.key,
                "the source holds older versions of rows than were sent before: {GONE_BACK}"
            );
        }
        found
    }

    /// What is said of destinations for which two migrations have tokens. Of rows that go up, only those that really do:
    /// `going_up`.
    pub(super) fn conflicts(
        &mut self,
        conflicts: Vec<Conflict>,
        going_up: &HashSet<&SourceKey>,
        migration: &str,
    ) -> Vec<Finding> {
        let mut found = Vec::with_capacity(conflicts.len());
        for conflict in conflicts {
            if conflict.goes_up && !going_up.contains(&conflict.key) {
                continue;
            }
            let other = &conflict.migration;
            if self.migrations.insert(Arc::clone(other)) {
                warn!(
                    key = %conflict.key, migration, other = &**other,
                    "two migrations have tokens for the same destinations, and cannot be compared: give both an `updated_at`, or let \
                     `source.where` leave such rows to one of them"
                );
            }
            let what = if conflict.goes_up {
                format!("migration \"{migration}\" puts a token in the place of one of migration \"{other}\"")
            } else {
                format!(
                    "migration \"{other}\" has put a token in the place of one of migration \"{migration}\", and it stays there"
                )
            };
            let text = format!(
                "{what}; which of them is newer cannot be told: their updated_at are equal, or one has none. Map `updated_at` in both, or let \
                 `source.where` leave such rows to one of them"
            );
            found.push(Finding {
                key: conflict.key,
                destination: Some(conflict.destination),
                app: None,
                kind: FindingKind::Warning,
                reason: Reason::validation(Superseded::OTHER_MIGRATION, text),
                superseded_by: None,
            });
        }
        found
    }
}
