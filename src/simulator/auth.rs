//! The credentials of the one project that the stand-in serves.

use std::fmt;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::{secret::Secret, simulator::refusal::Refusal};

/// Kept as a digest: comparing two digests tells nothing about how much of a guess was right, however long
/// the comparison takes.
pub(super) struct Credentials([u8; 32]);

impl Credentials {
    pub(super) fn new(project_id: &str, management_key: &Secret) -> Self {
        let bearer = Secret::new(format!("Bearer {project_id}:{}", management_key.reveal()));
        Self(Sha256::digest(bearer.reveal()).into())
    }

    /// Lets the request pass if it carries these credentials.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(Refusal::unauthorized)?;
        if <[u8; 32]>::from(Sha256::digest(given.as_bytes())) == self.0 {
            Ok(())
        } else {
            Err(Refusal::unauthorized())
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}
