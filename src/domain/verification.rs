//! Verification: what reading tokens back found.

use std::fmt;

use serde::Serialize;

use super::{Reason, RunId, Severity, Tally};

/// Which of the committed tokens are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyRequest {
    /// Those that this run committed; else those of all runs.
    pub of_run: Option<RunId>,
    /// So many, drawn evenly over the keys; else all.
    pub sample: Option<i64>,
    /// Draws the same sample again; else one is made up.
    pub seed: Option<i64>,
    /// Whether those are read, too, that a fetch may make Descope refresh.
    pub include_expired: bool,
}

/// A field that Descope holds otherwise than it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The access token.
    AccessToken,
    /// The refresh token, of a token that was sent without an access token.
    RefreshToken,
    /// There is no refresh token, though one was sent.
    RefreshTokenLost,
    /// There is a refresh token, though none was sent.
    RefreshTokenAdded,
    /// When the access token expires.
    Expiry,
    /// The access token's type.
    Type,
    /// The scopes.
    Scopes,
    /// Who granted it.
    GrantedBy,
    /// It need not be held otherwise: Descope tried to refresh it at its provider, and failed.
    RefreshFailed,
}

impl Difference {
    /// The code in the ledger and in reports.
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

    /// A sentence about it, without the values.
    fn what(self) -> &'static str {
        match self {
            Self::AccessToken => "Descope holds another access token than was sent",
            Self::RefreshToken => "Descope holds another refresh token than was sent",
            Self::RefreshTokenLost => "Descope holds no refresh token, though one was sent",
            Self::RefreshTokenAdded => "Descope holds a refresh token, though none was sent",
            Self::Expiry => "Descope holds another expiry than was sent",
            Self::Type => "Descope holds another token type than was sent",
            Self::Scopes => "Descope holds other scopes than were sent",
            Self::GrantedBy => "Descope holds another `grantedBy` than was sent",
            Self::RefreshFailed => {
                "Descope has the token, and could not refresh it at its provider: it does not work, and its user has to connect \
                 again, unless the provider was away for a while"
            }
        }
    }

    /// Whether it is about the token itself, and not about what was sent around it.
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

    /// Whether a refresh by the server may be all that is behind it.
    #[must_use]
    pub fn is_from_refresh(self) -> bool {
        matches!(
            self,
            Self::AccessToken | Self::RefreshToken | Self::Expiry | Self::Type | Self::Scopes
        )
    }
}

/// What reading one token back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Descope holds what was sent.
    Equal,
    /// The server has refreshed it since: it holds what the provider gave for what was sent.
    Refreshed,
    /// These fields differ, at least one.
    Different(Vec<Difference>),
    /// It is there, and what was sent around it is as it was sent. The token itself was fetched from where Descope keeps it:
    /// the source does not hold it.
    NotInSource,
    /// Descope does not have it.
    Missing,
    /// The row would be sent otherwise today: nobody was asked.
    ChangedInSource,
    /// There is no such row any more, or it does not meet the configured condition: nobody was asked.
    GoneFromSource,
    /// Another token of the same user or tenant is shown in its place.
    Hidden,
    /// The API does not take the question; its code.
    NotTaken(String),
    /// Its access token has expired, or does soon, so that Descope would refresh it: nobody was asked.
    NotRead,
}

impl Verdict {
    /// What is recorded of it.
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
                "the token was fetched from where Descope keeps it: the source does not hold it, so all else was compared, and it \
                 was not",
            )),
            Self::Missing => error("token_missing", "Descope does not have the token"),
            Self::ChangedInSource => warning(Reason::validation(
                "changed_in_source",
                "the row, or how it is mapped, has changed since it was uploaded: run `tokenferry migrate`, which sends it again",
            )),
            Self::GoneFromSource => warning(Reason::validation(
                "gone_from_source",
                "the row is not in the source any more, or does not meet `source.where`: there is nothing to compare with",
            )),
            Self::Hidden => warning(Reason::api(
                "another_token_shown",
                "asked for the token, Descope shows a newer one of the same user or tenant: whether this one is behind it is not \
                 said",
            )),
            Self::NotTaken(code) => warning(Reason::api(
                "not_readable",
                format!("the API does not take the question for this token ({code})"),
            )),
            Self::NotRead => warning(Reason::validation(
                ACCESS_TOKEN_EXPIRED,
                "the access token has expired or expires soon: reading it back makes Descope refresh it, which may end the refresh \
                 token that the old system holds. It was not read: freeze the old system, then `tokenferry verify \
                 --include-expired` reads it",
            )),
        }
    }
}

/// The code of a token that is not fetched, as Descope would refresh it.
pub const ACCESS_TOKEN_EXPIRED: &str = "access_token_expired";

/// What was found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// Only tokens that this run committed.
    pub of_run: Option<RunId>,
    /// How many were to be drawn.
    pub sample: Option<i64>,
    /// Draws the same sample again.
    pub seed: Option<i64>,
    /// Whether those were read, too, that a fetch may make Descope refresh.
    pub include_expired: bool,
    /// Tokens that were held against what Descope has.
    pub checked: i64,
    /// Descope holds what was sent.
    pub equal: i64,
    /// The server has refreshed it since.
    pub refreshed: i64,
    /// Something differs.
    pub different: i64,
    /// All but the token itself is as it was sent; that was fetched, and the source does not hold it.
    pub in_part: i64,
    /// Descope does not have it.
    pub missing: i64,
    /// The row would be sent otherwise today.
    pub changed_in_source: i64,
    /// The row is gone.
    pub gone_from_source: i64,
    /// The API does not show this very token.
    pub inconclusive: i64,
    /// It was not asked for, as Descope would refresh it.
    pub not_read: i64,
    /// Rows of the source that were not uploaded: failed, superseded, or not sent yet. Known only where all tokens of the
    /// migration were asked for, and at the end.
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

    /// The same as the books of a run: committed is what Descope holds as it should, failed is what it does not, superseded
    /// is what the source has changed since, and unchanged is what nobody could tell.
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
