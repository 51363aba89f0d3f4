//! The project's licence, and the treatment of requests that do not name it.

use axum::http::HeaderMap;

use crate::simulator::refusal::Refusal;

pub(super) const PATH: &str = "/v1/mgmt/license";
const HEADER: &str = "x-descope-license";

/// The tier of a request that names none, or a wrong one.
pub(super) const LOWEST_TIER: &str = "tier1";

/// The project's tier, and the treatment of requests that name another.
#[derive(Debug, Clone)]
pub(super) struct License {
    pub(super) tier: String,
    /// The answer to a wrong tier is not published: the lowest bucket, or, if this is set, 403.
    pub(super) refuse_wrong: bool,
}

impl Default for License {
    fn default() -> Self {
        Self {
            tier: LOWEST_TIER.to_owned(),
            refuse_wrong: false,
        }
    }
}

/// The tier that a request names.
pub(super) fn named(headers: &HeaderMap) -> Option<&str> {
    headers.get(HEADER)?.to_str().ok()
}

impl License {
    /// The tier whose rate limit a request is counted against.
    pub(super) fn bucket_of(&self, path: &str, headers: &HeaderMap) -> Result<&str, Refusal> {
        match named(headers) {
            Some(tier) if tier == self.tier => Ok(&self.tier),
            // A client that asks for the tier cannot know it yet.
            Some(_) if self.refuse_wrong && path != PATH => Err(Refusal::wrong_license()),
            _ => Ok(LOWEST_TIER),
        }
    }
}
