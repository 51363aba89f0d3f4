//! Which tokens may be asked for, and why a token is left alone.

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

/// What a token is asked for by, and held against.
pub(super) struct Question {
    pub(super) probe: Probe,
    pub(super) lifetime: Lifetime,
    pub(super) sent: EncodedToken,
}

impl Question {
    /// The deletion of what was recognised as the answer.
    pub(super) fn deletion_of(&self, recognised: &VerifiedMatch) -> IntendedDeletion {
        IntendedDeletion {
            token_id: recognised.id().to_owned(),
            probe: Some(self.probe.clone()),
            expiry: self.lifetime.expiry,
            age: Duration::ZERO,
        }
    }
}

/// What is known of a token before anybody is asked: what to ask, or why it is left alone.
pub(super) fn eligible(candidate: &RollbackCandidate, original: RowState) -> Result<Question, Reason> {
    if let Some(other) = candidate.shared_with {
        return Err(Reason::validation(
            "replaced_another",
            format!(
                "run {other} has put a token at the same place, so that what is there need not be this run's creation: it stays as it is"
            ),
        ));
    }
    let row_status = match original {
        RowState::Same(row_status) => row_status,
        RowState::Changed => {
            return Err(Reason::validation(
                "changed_in_source",
                "the row, or how it is mapped, has changed since it was uploaded: what was sent is not known any more, and so \
                 cannot be recognised",
            ));
        }
        RowState::Gone => {
            return Err(Reason::validation(
                "gone_from_source",
                "the row is not in the source any more, or does not meet `source.where`: what was sent is not known any more, \
                 and so cannot be recognised",
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
            "the token was fetched from where Descope keeps it: the source does not hold what was sent, and so it cannot be \
             recognised",
        )),
    }
}

/// Why a token is not even looked at.
pub(super) fn spared(of_run: RunId) -> Reason {
    Reason::validation(
        ACCESS_TOKEN_EXPIRED,
        format!(
            "the access token has expired or expires soon: reading it back makes Descope refresh it, which may end the refresh token \
             that the old system holds. It stays: delete it in Descope's console if it is to go. With the old system frozen, \
             `tokenferry rollback --run {of_run} --include-expired` reads it and deletes it if Descope could not refresh it"
        ),
    )
}

/// Why what is there is left alone.
pub(super) fn left_alone(why: &Mismatch) -> Reason {
    match why {
        Mismatch::Another => Reason::api(
            "another_token_shown",
            "asked for the token, Descope shows another one of the same user or tenant, or does not show whose it is: whether \
             this one is behind it is not said",
        ),
        Mismatch::Refreshed => Reason::api(
            "refreshed_since",
            "Descope has refreshed the token since it was uploaded: it is in use, and not what was sent any more",
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
                    "Descope holds something else than was sent ({}): it was changed or connected anew since",
                    fields.join(", ")
                ),
            )
        }
        Mismatch::Nameless => Reason::api(
            "id_not_shown",
            "Descope does not show the token's ID, by which alone it may be deleted",
        ),
    }
}

/// What is left alone although a deletion with this ID may have got through. The token is there if that very ID is shown.
pub(super) fn left_after(sent: Option<&str>, shown: Option<&str>, reason: Reason) -> RollbackOutcome {
    if sent.is_none() || sent == shown {
        return RollbackOutcome::Refused(reason);
    }
    let text = format!(
        "{}. It was recognised before, and its deletion may have got through, which nobody can tell: the ledger does not count it as \
         committed any more, and `tokenferry show` has its ID",
        reason.text
    );
    RollbackOutcome::InDoubt(Reason { text, ..reason })
}
