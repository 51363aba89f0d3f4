//! The request for a run of `migrate`.

use super::Canary;
use crate::{
    config::{Relation, Settings},
    domain::{DryRun, Mode, OlderVersions, Selection},
};

/// The options of a run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Selects a dry run.
    pub dry_run: DryRun,
    /// The rows.
    pub selection: Selection,
    /// The number of tokens after which to end; the next run resumes.
    pub limit: Option<u64>,
    /// Reads every row, also those in unchanged key ranges.
    pub full: bool,
    /// The canary before the rest.
    pub canary: Option<Canary>,
    /// Allows older versions of rows to overwrite newer ones that were sent.
    pub older: OlderVersions,
    /// The lookups of a dry run, if requested.
    pub online: Option<Preflight>,
}

/// The lookups of a dry run: every app and tenant, and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preflight {
    /// The number of users, spread evenly over the rows; all if absent.
    pub sample: Option<u64>,
}

impl Request {
    /// Returns true if the run reads every row and uploads everything due.
    pub(super) fn sees_all(&self) -> bool {
        self.dry_run == DryRun::Off && self.selection == Selection::All
    }

    pub(super) fn mode(&self) -> Mode {
        match self.dry_run {
            DryRun::Off => Mode::Migrate,
            DryRun::On => Mode::DryRun,
        }
    }

    /// Describes the request for the ledger. A query is not quoted, as it may contain anything.
    pub(super) fn described(&self, settings: &Settings) -> String {
        let source = match &settings.source.relation {
            Relation::Table(name) => name.join("."),
            Relation::Query(_) => "a query of the source".to_owned(),
        };
        let mut parts = vec![match &self.selection {
            Selection::All => format!("all rows of {source}"),
            Selection::Failed { code: None } => format!("failed tokens of {source}"),
            Selection::Failed { code: Some(code) } => format!("tokens of {source} that failed with {code}"),
        }];
        if self.dry_run == DryRun::On {
            parts.push("dry run".to_owned());
        }
        if let Some(Canary { tokens, failures }) = self.canary {
            parts.push(format!("a canary of {tokens} of which {failures} may fail"));
        }
        if settings.batch.verify_refresh {
            parts.push("each token verified by itself".to_owned());
        }
        if let Some(online) = self.online {
            parts.push(match online.sample {
                Some(users) => format!("lookups for {users} users"),
                None => "lookups".to_owned(),
            });
        }
        if self.full {
            parts.push("unchanged ranges as well".to_owned());
        }
        if self.older == OlderVersions::Allowed {
            parts.push("older versions allowed".to_owned());
        }
        if let Some(limit) = self.limit {
            parts.push(format!("at most {limit} tokens"));
        }
        parts.join(", ")
    }
}
