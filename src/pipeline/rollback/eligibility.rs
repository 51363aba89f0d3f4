//! Eligibility: the tokens that may be deleted, and the reasons to keep others.

use std::time::Duration;

use crate::{
    descope::{Mismatch, VerifiedMatch},
    domain::{
        ACCESS_TOKEN_EXPIRED, Difference, EncodedToken, Lifetime, Probe, Reason, RollbackOutcome, RunId,
    },
    ledger::{IntendedDeletion, RollbackCandidate},
    pipeline::source_rows::RowState,
    validation::Origin,
};

/// The read-back of a token, and what it is compared with.
pub(super) struct Question {
    pub(super) probe: Probe,
    pub(super) lifetime: Lifetime,
    pub(super) sent: EncodedToken,
}

impl Question {
    /// Returns the deletion of the token that matched.
    pub(super) fn deletion_of(&self, recognised: &VerifiedMatch) -> IntendedDeletion {
        IntendedDeletion {
            token_id: recognised.id().to_owned(),
            probe: Some(self.probe.clone()),
            expiry: self.lifetime.expiry,
            age: Duration::ZERO,
        }
    }
}

/// Decides before any request whether a token may be read back, or why it is kept.
pub(super) fn eligible(candidate: &RollbackCandidate, original: RowState) -> Result<Question, Reason> {
    if let Some(other) = candidate.shared_with {
        return Err(Reason::validation(
            "replaced_another",
            format!(
                "run {other} has sent a token to the same destination, so the stored token may not be from this run: it is kept"
            ),
        ));
    }
    let row_status = match original {
        RowState::Same(row_status) => row_status,
        RowState::Changed => {
            return Err(Reason::validation(
                "changed_in_source",
                "the row or its mapping has changed since the upload: what was sent is no longer known and \
                 cannot be recognised",
            ));
        }
        RowState::Gone => {
            return Err(Reason::validation(
                "gone_from_source",
                "the row is no longer in the source, or does not match `source.where`: what was sent is no longer known \
                 and cannot be recognised",
            ));
        }
    };
    match row_status.origin {
        Origin::Row {
            has_refresh_token, ..
        } => Ok(Question {
            probe: Probe::new(&row_status.destination, has_refresh_token),
            lifetime: row_status.lifetime,
            sent: row_status.encoded,
        }),
        Origin::Fetched => Err(Reason::validation(
            "not_in_source",
            "the token was fetched from Descope and is not in the source: what was sent cannot be recognised",
        )),
    }
}

/// Returns the reason not to read a token.
pub(super) fn spared(of_run: RunId) -> Reason {
    Reason::validation(
        ACCESS_TOKEN_EXPIRED,
        format!(
            "the access token has expired or expires soon: reading it back makes Descope refresh it, which may invalidate the refresh token \
             of the old system. It is kept: delete it in Descope's console if necessary. With the old system frozen, \
             `tokenferry rollback --run {of_run} --include-expired` reads it and deletes it if Descope could not refresh it"
        ),
    )
}

/// Returns the reason to keep the token that was found.
pub(super) fn left_alone(why: &Mismatch) -> Reason {
    match why {
        Mismatch::Another => Reason::api(
            "another_token_shown",
            "Descope shows another token of the same user or tenant instead, or does not show the owner: it is unknown whether \
             this one exists as well",
        ),
        Mismatch::Refreshed => Reason::api(
            "refreshed_since",
            "Descope has refreshed the token since it was uploaded: it is in use and no longer what was sent",
        ),
        Mismatch::Different(fields) if fields.is_empty() => Reason::api(
            "not_shown",
            "Descope shows neither the access token nor the refresh token that was sent: it cannot be recognised",
        ),
        Mismatch::Different(fields) => {
            let fields: Vec<&str> = fields.iter().map(|field| Difference::code(*field)).collect();
            Reason::api(
                "changed_since",
                format!(
                    "the token at Descope differs from the one sent ({}): it was changed or connected again since",
                    fields.join(", ")
                ),
            )
        }
        Mismatch::Nameless => Reason::api(
            "id_not_shown",
            "Descope does not show the token's ID, which is required to delete it",
        ),
    }
}

/// Returns the outcome of a token that is kept although a deletion with this ID may have arrived. It
/// certainly exists if the same ID is shown.
pub(super) fn left_after(sent: Option<&str>, shown: Option<&str>, reason: Reason) -> RollbackOutcome {
    if sent.is_none() || sent == shown {
        return RollbackOutcome::Refused(reason);
    }
    let text = format!(
        "{}. An earlier deletion of it may have arrived, and its outcome is unknown: the ledger no longer counts it as \
         committed, and `tokenferry show` has its ID",
        reason.text
    );
    RollbackOutcome::InDoubt(Reason { text, ..reason })
}
