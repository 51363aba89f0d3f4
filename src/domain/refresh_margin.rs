//! The refresh margin: the time before expiry in which a token is not fetched.

use std::time::Duration;

/// Descope refreshes a token when it is fetched and its access token has expired. If the provider rotates
/// refresh tokens, that invalidates the copy of the old system. It is not published whether a token about to
/// expire is refreshed too, and clocks differ; hence the margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshMargin(Duration);

/// The facts that decide whether a fetch can refresh a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// The expiry of the access token in seconds since 1970; `None` if the API was not told.
    pub expiry: Option<i32>,
    /// A token without a refresh token cannot be refreshed.
    pub has_refresh_token: bool,
}

impl RefreshMargin {
    /// Builds a margin of this length.
    #[must_use]
    pub fn new(margin: Duration) -> Self {
        Self(margin)
    }

    /// Returns the margin in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX)
    }

    /// Returns true if a fetch at `now`, in seconds since 1970, may refresh the token.
    #[must_use]
    pub fn may_refresh(self, lifetime: Lifetime, now: i64) -> bool {
        let is_due = |expiry: i32| expiry != 0 && i64::from(expiry) <= now.saturating_add(self.seconds());
        lifetime.has_refresh_token && lifetime.expiry.is_some_and(is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_within_the_margin_is_spared_if_it_can_be_refreshed_at_all() {
        const NOW: i64 = 1_700_000_000;
        let margin = RefreshMargin::new(Duration::from_secs(600));
        let at = |seconds: i32| Some(1_700_000_000 + seconds);
        for (expiry, has_refresh_token, expected) in [
            (at(-86_400), true, true),
            (at(0), true, true),
            (at(600), true, true),
            (at(601), true, false),
            (at(-86_400), false, false),
            (None, true, false),
            (Some(0), true, false),
        ] {
            let lifetime = Lifetime {
                expiry,
                has_refresh_token,
            };
            assert_eq!(
                margin.may_refresh(lifetime, NOW),
                expected,
                "{expiry:?} {has_refresh_token}"
            );
        }
        let endless = RefreshMargin::new(Duration::MAX);
        let lifetime = Lifetime {
            expiry: Some(i32::MAX),
            has_refresh_token: true,
        };
        assert!(endless.may_refresh(lifetime, NOW));
    }
}
