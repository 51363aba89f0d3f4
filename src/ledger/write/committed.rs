//! A committed token, as verifications and rollbacks read it.

use super::LedgerError;
use crate::{
    domain::{Destination, ScopeSet, SourceKey, Subject},
    secret::Fingerprint,
};

/// A token that the API said it stored.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The source row.
    pub key: SourceKey,
    /// The fingerprint of the token that was sent.
    pub fingerprint: Fingerprint,
    /// Time of the intent, in seconds since 1970.
    pub sent_at: i64,
    /// The destination for reports, without the external identifier and scopes, which the ledger does not
    /// record.
    pub destination: Destination,
}

impl Committed {
    /// Builds it from the columns of `tokens`.
    pub(super) fn new(
        source_key: String,
        fingerprint: &[u8],
        sent_at: i64,
        app_id: String,
        user_id: Option<String>,
        tenant_id: Option<String>,
    ) -> Result<Self, LedgerError> {
        let fingerprint = Fingerprint::from_slice(fingerprint).ok_or_else(|| {
            LedgerError::Contradiction(format!("the fingerprint of row {source_key} is malformed"))
        })?;
        Ok(Self {
            key: SourceKey::from(source_key),
            fingerprint,
            sent_at,
            destination: Destination {
                subject: if user_id.is_some() {
                    Subject::User
                } else {
                    Subject::Tenant
                },
                app_id,
                user_id,
                tenant_id,
                external_identifier: None,
                scopes: ScopeSet::default(),
            },
        })
    }
}
