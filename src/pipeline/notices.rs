//! Warnings about rows that are left out, or that replace other tokens, and should be checked.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use tracing::warn;

use crate::{
    domain::{Decision, Finding, FindingKind, Reason, SourceKey, Superseded, Unsent},
    validation::Conflict,
};

/// Logs each kind once.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Rows are older than what was sent for them.
    went_back: bool,
    /// These migrations have tokens for the same destinations.
    migrations: BTreeSet<Arc<str>>,
}

const GONE_BACK: &str = "the updated_at of the row, or of the row whose token is at its destination, is earlier than the one that was sent, so the newer \
                         token stays at Descope. The source \
                         may be a replica that lags behind, or restored from a backup: point `source.url` at the current database. If the \
                         source is right, `tokenferry migrate --allow-older` sends such rows";

impl Notices {
    /// Returns warnings about rows that are older than what was sent for them.
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
                "the source has older versions of rows that were sent: {GONE_BACK}"
            );
        }
        found
    }

    /// Returns warnings about destinations that two migrations have tokens for. Of the rows to send, only
    /// those in `going_up` count.
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
                    "two migrations have tokens for the same destinations, and their rows cannot be compared: map `updated_at` in both, or exclude such rows from one of them with \
                     `source.where`"
                );
            }
            let what = if conflict.goes_up {
                format!("migration \"{migration}\" replaces a token of migration \"{other}\"")
            } else {
                format!(
                    "migration \"{other}\" has replaced a token of migration \"{migration}\", and its token stays"
                )
            };
            let text = format!(
                "{what}; it is unknown which is newer: their updated_at are equal, or one has none. Map `updated_at` in both, or \
                 exclude such rows from one of them with `source.where`"
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
