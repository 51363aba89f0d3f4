//! The quotas that all processes with one ledger share, by what the API counts them for.

use super::quota_limiter::interval;
use crate::{
    config::{ApiSettings, RateLimit},
    ledger::{Ledger, LedgerError, QuotaTerms, SharedQuota},
};

/// The shared quotas of a project.
#[derive(Debug, Clone)]
pub struct SharedQuotas {
    /// Requests without a quota of their own, which the API counts by address.
    pub plain: SharedQuota,
    /// Queries about users, counted by project.
    pub users: SharedQuota,
    /// Searches for users, counted by project.
    pub search: SharedQuota,
}

impl SharedQuotas {
    /// Returns the quotas of the settings, unless they are not to be shared. `used_by` describes this process
    /// to others.
    #[must_use]
    pub fn new(settings: &ApiSettings, ledger: &Ledger, used_by: &str) -> Option<Self> {
        let sharing = &settings.sharing;
        if !sharing.enabled {
            return None;
        }
        let (base_url, project) = (&settings.base_url, &settings.project_id);
        let quota =
            |name, key, limit, ceiling| ledger.quota(name, key, terms(limit, ceiling), used_by.to_owned());
        let egress = match sharing.egress.as_str() {
            "" => String::new(),
            egress => format!(" from {egress}"),
        };
        let of_project = format!("of {project} at {base_url}");
        let lookup = settings.lookup;
        Some(Self {
            plain: quota(
                format!("calls to {base_url}{egress}"),
                "api.rate_limit",
                settings.rate_limit,
                sharing.ceiling,
            ),
            users: quota(
                format!("users {of_project}"),
                "api.lookup.users",
                lookup.users,
                None,
            ),
            search: quota(
                format!("searches {of_project}"),
                "api.lookup.search",
                lookup.search,
                None,
            ),
        })
    }

    /// Announces this process and its settings.
    ///
    /// # Errors
    /// [`LedgerError::QuotaConflict`] if a process with other settings uses one of the quotas, or if the
    /// database stays unreachable.
    pub async fn claim(&self) -> Result<(), LedgerError> {
        for quota in [&self.plain, &self.users, &self.search] {
            quota.claim().await?;
        }
        Ok(())
    }
}

fn terms(limit: RateLimit, ceiling: Option<u32>) -> QuotaTerms {
    let at_best = RateLimit {
        requests: ceiling.unwrap_or(limit.requests),
        ..limit
    };
    QuotaTerms {
        limit,
        ceiling,
        step: interval(limit),
        best_step: interval(at_best),
    }
}
