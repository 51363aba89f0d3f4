//! Table of statuses: the meaning of each status other than a success, for all requests.

/// The class of a status other than a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusClass {
    /// The request was read and rejected.
    Refused,
    /// The request is larger than the API accepts.
    TooLarge,
    /// The quota is used up.
    RateLimited,
    /// The project ID or the management key is not accepted.
    Credentials,
    /// Something failed, perhaps after the request was processed.
    Indeterminate,
    /// The path is not the expected one.
    WrongEndpoint,
}

impl StatusClass {
    /// Returns the class of a status. It is [`Indeterminate`](Self::Indeterminate) unless a request with this
    /// response was not processed, provided that the service sent it: resending without a read-back could
    /// store tokens twice.
    pub(super) fn of(status: u16) -> Self {
        match status {
            400 | 409 | 422 => Self::Refused,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            401 | 403 => Self::Credentials,
            // 408 means that somebody stopped waiting. 500 and above do not show how far the request got, not
            // even 503 (a proxy whose upstream resets the connection in the middle of a request), nor the
            // 521, 523 and 530 of the gateway: "the server refused" may mean a server that went away after it
            // had read the request.
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
