//! The rate limits: each kind of request has one of its own, and so has each tier of licence, for all kinds
//! together.

use std::{collections::BTreeMap, time::Duration};

use crate::simulator::{
    limits::{Limiter, RateLimit},
    refusal::Refusal,
};

/// Requests that share a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// All that have no limit of their own. Begins without one.
    Plain,
    /// `/v1/mgmt/user/*` and `/v1/mgmt/users/*`. Begins with the documented 500 per 60 seconds.
    Users,
    /// `/v2/mgmt/user/search`. Begins with the documented 200 per 60 seconds.
    Search,
}

impl Bucket {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/v2/mgmt/user/search" => Self::Search,
            "/v1/mgmt/user" => Self::Users,
            _ if path.starts_with("/v1/mgmt/user/") || path.starts_with("/v1/mgmt/users/") => Self::Users,
            _ => Self::Plain,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Buckets {
    plain: Limiter,
    users: Limiter,
    search: Limiter,
    /// A tier that is not here has no limit.
    tiers: BTreeMap<String, Limiter>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Buckets {
    fn default() -> Self {
        Self {
            plain: Limiter::new(None),
            users: Limiter::new(Some(RateLimit::new(500, MINUTE))),
            search: Limiter::new(Some(RateLimit::new(200, MINUTE))),
            tiers: BTreeMap::new(),
        }
    }
}

impl Buckets {
    fn of(&mut self, bucket: Bucket) -> &mut Limiter {
        match bucket {
            Bucket::Plain => &mut self.plain,
            Bucket::Users => &mut self.users,
            Bucket::Search => &mut self.search,
        }
    }

    pub(super) fn set_limit(&mut self, bucket: Bucket, limit: Option<RateLimit>) {
        self.of(bucket).set_limit(limit);
    }

    pub(super) fn set_tier_limit(&mut self, tier: &str, limit: Option<RateLimit>) {
        self.tiers.entry(tier.to_owned()).or_default().set_limit(limit);
    }

    /// Takes a slot of its kind and one of the tier's.
    pub(super) fn admit(&mut self, bucket: Bucket, tier: &str) -> Result<(), Refusal> {
        if let Some(of_tier) = self.tiers.get_mut(tier) {
            of_tier.admit()?;
        }
        self.of(bucket).admit()
    }

    /// Lets nothing pass for `duration`, whatever it asks for.
    pub(super) fn close_for(&mut self, duration: Duration) {
        for limiter in [&mut self.plain, &mut self.users, &mut self.search] {
            limiter.close_for(duration);
        }
    }

    /// A 429 that no limit asked for.
    pub(super) fn refuse(&mut self, wait: Duration) -> Refusal {
        self.plain.refuse(wait)
    }

    /// Counts requests that were answered with 429.
    pub(super) fn refused(&self) -> u64 {
        let kinds = [&self.plain, &self.users, &self.search];
        kinds
            .into_iter()
            .chain(self.tiers.values())
            .map(Limiter::refused)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_bucket() {
        for (path, expected) in [
            ("/v1/mgmt/user", Bucket::Users),
            ("/v1/mgmt/user/provider/token", Bucket::Users),
            ("/v1/mgmt/users/load", Bucket::Users),
            ("/v2/mgmt/user/search", Bucket::Search),
            ("/v1/mgmt/tenant", Bucket::Plain),
            ("/v1/mgmt/outbound/app/user/token/latest", Bucket::Plain),
        ] {
            assert_eq!(Bucket::of(path), expected, "{path}");
        }
    }
}
