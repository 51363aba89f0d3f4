//! What a run of `migrate` is asked to do.

use super::Canary;
use crate::{
    config::{Relation, Settings},
    domain::{DryRun, Mode, OlderVersions, Selection},
};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Whether anything is sent.
    pub dry_run: DryRun,
    /// Which rows.
    pub selection: Selection,
    /// After how many tokens to end; the next run goes on.
    pub limit: Option<u64>,
    /// What is asked of the first tokens before the bulk opens.
    pub canary: Option<Canary>,
    /// Whether older versions of rows go over newer ones that were sent.
    pub older: OlderVersions,
    /// Whether a dry run asks the API about what the tokens name.
    pub online: Option<Preflight>,
}

/// What a dry run asks the API about: every app and tenant, and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preflight {
    /// So many users, evenly over the rows, in place of all.
    pub sample: Option<u64>,
}

impl Request {
    /// Returns true if the run looks at every row and sends what is to be sent.
    pub(super) fn sees_all(&self) -> bool {
        self.dry_run == DryRun::Off && self.selection == Selection::All
    }

    pub(super) fn mode(&self) -> Mode {
        match self.dry_run {
            DryRun::Off => Mode::Migrate,
            DryRun::On => Mode::DryRun,
        }
    }

    /// A few words for the ledger. The source is named as it is configured, a query only as one: it may quote anything.
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
                Some(users) => format!("asking the API, about {users} users"),
                None => "asking the API".to_owned(),
            });
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
