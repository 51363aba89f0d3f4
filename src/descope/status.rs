//! The one table of statuses: what a status other than a success means, whatever was asked.

/// What a status other than a success means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusClass {
    /// Read, and not agreed to.
    Refused,
    /// Larger than the API takes.
    TooLarge,
    /// The quota is used up.
    RateLimited,
    /// The project ID or the management key is not accepted.
    Credentials,
    /// Something broke, perhaps after the request was processed.
    Indeterminate,
    /// This path is not what we think it is.
    WrongEndpoint,
}

impl StatusClass {
    /// The table. A status stands under [`Indeterminate`](Self::Indeterminate) unless the request with this answer was not
    /// processed if it was the service that gave it: whoever resends without asking would store tokens twice.
    pub(super) fn of(status: u16) -> Self {
        match status {
            400 | 409 | 422 => Self::Refused,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            401 | 403 => Self::Credentials,
            // 408: somebody stopped waiting. 500 and above say nothing about how far the request came, not even 503 (a proxy
            // whose upstream resets the connection in the middle of a request), nor the gateway's 521, 523 and 530: "the
            // server refused" may mean one that went away after it had read the request.
            408 | 500.. => Self::Indeterminate,
            // Redirects are not followed, and 404, 405, 410, 415 … mean another path.
            _ => Self::WrongEndpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_of_a_broken_request_says_that_it_was_not_processed() {
        for status in (500..600).chain([408]) {
            assert_eq!(StatusClass::of(status), StatusClass::Indeterminate, "{status}");
        }
    }
}
