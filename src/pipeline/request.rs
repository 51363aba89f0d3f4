//! Describes a request in words, for those who look at the run later.

use super::{Canary, Request};
use crate::{
    config::{Relation, Settings},
    domain::{DryRun, OlderVersions, Selection},
};

impl Request {
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
