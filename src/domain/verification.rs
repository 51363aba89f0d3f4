//! Verification: results of reading tokens back.

use std::fmt;

use serde::Serialize;

use super::{Reason, RunId, Severity, Tally};

/// The committed tokens to read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyRequest {
    /// Only tokens of this run; all runs if absent.
    pub of_run: Option<RunId>,
    /// The size of a sample spread evenly over the keys; all tokens if absent.
    pub sample: Option<i64>,
    /// The seed of the sample; random if absent.
    pub seed: Option<i64>,
    /// Also reads tokens that a fetch may make Descope refresh.
    pub include_expired: bool,
}

/// A field whose value at Descope differs from the one that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The access token.
    AccessToken,
    /// The refresh token of a token that was sent without an access token.
    RefreshToken,
    /// A refresh token was sent but is missing.
    RefreshTokenLost,
    /// A refresh token is present but none was sent.
    RefreshTokenAdded,
    /// The expiry of the access token.
    Expiry,
    /// The access token's type.
    Type,
    /// The scopes.
    Scopes,
    /// The person who granted it.
    GrantedBy,
    /// Not necessarily different: Descope tried to refresh the token at its provider and failed.
    RefreshFailed,
}

impl Difference {
    /// Returns the code in the ledger and in reports.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token_differs",
            Self::RefreshToken => "refresh_token_differs",
            Self::RefreshTokenLost => "refresh_token_lost",
            Self::RefreshTokenAdded => "refresh_token_added",
            Self::Expiry => "expiry_differs",
            Self::Type => "type_differs",
            Self::Scopes => "scopes_differ",
            Self::GrantedBy => "granted_by_differs",
            Self::RefreshFailed => "last_refresh_failed",
        }
    }

    /// Returns a sentence about it, without the values.
    fn what(self) -> &'static str {
        match self {
            Self::AccessToken => "the access token at Descope differs from the one sent",
            Self::RefreshToken => "the refresh token at Descope differs from the one sent",
            Self::RefreshTokenLost => "Descope has no refresh token, but one was sent",
            Self::RefreshTokenAdded => "Descope has a refresh token, but none was sent",
            Self::Expiry => "the expiry at Descope differs from the one sent",
            Self::Type => "the token type at Descope differs from the one sent",
            Self::Scopes => "the scopes at Descope differ from the ones sent",
            Self::GrantedBy => "`grantedBy` at Descope differs from the one sent",
            Self::RefreshFailed => {
                "Descope has the token but could not refresh it at its provider: it does not work. Unless the provider was \
                 temporarily unavailable, the user has to connect again"
            }
        }
    }

    /// Returns true if the difference concerns the token itself and not what was sent with it.
    #[must_use]
    pub fn is_of_the_token(self) -> bool {
        matches!(
            self,
            Self::AccessToken
                | Self::RefreshToken
                | Self::RefreshTokenLost
                | Self::RefreshTokenAdded
                | Self::Expiry
        )
    }

    /// Returns true if a refresh by Descope may explain it.
    #[must_use]
    pub fn is_from_refresh(self) -> bool {
        matches!(
            self,
            Self::AccessToken | Self::RefreshToken | Self::Expiry | Self::Type | Self::Scopes
        )
    }
}

/// The result of reading one token back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Descope has what was sent.
    Equal,
    /// Descope has refreshed it since: it has what the provider issued in exchange.
    Refreshed,
    /// These fields differ; at least one.
    Different(Vec<Difference>),
    /// The token was fetched from Descope and is not in the source, so only the fields around it were
    /// compared. They are equal.
    NotInSource,
    /// Descope does not have it.
    Missing,
    /// The row would be sent differently today, so the API was not asked.
    ChangedInSource,
    /// The row is gone or does not match the configured condition, so the API was not asked.
    GoneFromSource,
    /// The API shows another token of the same user or tenant instead.
    Hidden,
    /// The API rejects the request, with this code.
    NotTaken(String),
    /// The access token has expired or expires soon, so Descope would refresh it; the API was not asked.
    NotRead,
}

impl Verdict {
    /// Returns the findings to record.
    #[must_use]
    pub fn findings(&self) -> Vec<(Severity, Reason)> {
        let error = |code: &'static str, text| vec![(Severity::Error, Reason::api(code, text))];
        let warning = |reason| vec![(Severity::Warning, reason)];
        match self {
            Self::Equal | Self::Refreshed => Vec::new(),
            Self::Different(fields) => fields
                .iter()
                .map(|field| (Severity::Error, Reason::api(field.code(), field.what())))
                .collect(),
            Self::NotInSource => warning(Reason::validation(
                "not_in_source",
                "the token was fetched from Descope and is not in the source: everything but the token itself was compared",
            )),
            Self::Missing => error("token_missing", "Descope does not have the token"),
            Self::ChangedInSource => warning(Reason::validation(
                "changed_in_source",
                "the row or its mapping has changed since the upload: run `tokenferry migrate` to send it again",
            )),
            Self::GoneFromSource => warning(Reason::validation(
                "gone_from_source",
                "the row is no longer in the source, or does not match `source.where`: there is nothing to compare with",
            )),
            Self::Hidden => warning(Reason::api(
                "another_token_shown",
                "Descope shows a newer token of the same user or tenant instead: it is unknown whether this one exists as well",
            )),
            Self::NotTaken(code) => warning(Reason::api(
                "not_readable",
                format!("the API rejects reading back this token ({code})"),
            )),
            Self::NotRead => warning(Reason::validation(
                ACCESS_TOKEN_EXPIRED,
                "the access token has expired or expires soon: reading it back makes Descope refresh it, which may invalidate \
                 the refresh token of the old system. It was not read. Freeze the old system, then run `tokenferry verify \
                 --include-expired`",
            )),
        }
    }
}

/// The code of a token that is not fetched because Descope would refresh it.
pub const ACCESS_TOKEN_EXPIRED: &str = "access_token_expired";

/// The results so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// The run whose tokens are read back, if only one.
    pub of_run: Option<RunId>,
    /// The size of the sample.
    pub sample: Option<i64>,
    /// The seed that draws the same sample again.
    pub seed: Option<i64>,
    /// Tokens that a fetch may make Descope refresh are read too.
    pub include_expired: bool,
    /// Tokens compared with Descope.
    pub checked: i64,
    /// Equal to what was sent.
    pub equal: i64,
    /// Refreshed by Descope since.
    pub refreshed: i64,
    /// At least one field differs.
    pub different: i64,
    /// All but the token itself is equal; the token was fetched and is not in the source.
    pub in_part: i64,
    /// Missing at Descope.
    pub missing: i64,
    /// The row would be sent differently today.
    pub changed_in_source: i64,
    /// The row is gone.
    pub gone_from_source: i64,
    /// The API does not show this token.
    pub inconclusive: i64,
    /// Not read, as Descope would refresh it.
    pub not_read: i64,
    /// Rows of the source that are not uploaded: failed, superseded or not sent yet. Set only at the end, and
    /// only if all tokens of the migration were selected.
    pub not_uploaded: Option<i64>,
}

impl Verification {
    /// Counts a token.
    pub fn add(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Equal => &mut self.equal,
            Verdict::Refreshed => &mut self.refreshed,
            Verdict::Different(_) => &mut self.different,
            Verdict::NotInSource => &mut self.in_part,
            Verdict::Missing => &mut self.missing,
            Verdict::ChangedInSource => &mut self.changed_in_source,
            Verdict::GoneFromSource => &mut self.gone_from_source,
            Verdict::Hidden | Verdict::NotTaken(_) => &mut self.inconclusive,
            Verdict::NotRead => &mut self.not_read,
        };
        *counter += 1;
        self.checked = self.equal + self.refreshed + self.in_part + self.different + self.missing;
    }

    /// Returns the results as counts of a run: committed are correct at Descope, failed are not, superseded
    /// have changed in the source, and unchanged are inconclusive.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            selected: 0,
            committed: self.equal + self.refreshed,
            failed: self.different + self.missing,
            superseded: self.changed_in_source + self.gone_from_source,
            unchanged: self.in_part + self.inconclusive + self.not_read,
        };
        tally.selected = tally.settled();
        tally
    }
}

impl fmt::Display for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sample {
            Some(sample) => write!(f, "a sample of {sample} committed tokens")?,
            None => f.write_str("every committed token")?,
        }
        match self.of_run {
            Some(run) => write!(f, " of run {run}"),
            None => Ok(()),
        }
    }
}
