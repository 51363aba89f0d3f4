//! Log fields of a response.

use super::{Impasse, Refusal, UploadOutcome};

impl UploadOutcome {
    /// Returns the HTTP status of the response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Committed => Some(200),
            Self::RateLimited { .. } => Some(429),
            _ => self.refusal().and_then(|refusal| refusal.status),
        }
    }

    /// Returns the code of the refusal, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| &*refusal.code)
    }

    /// Returns the refusal; the first one if there are several.
    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Committed | Self::RateLimited { .. } => None,
            Self::Refused(named) => named.first().map(|named| &named.refusal),
            Self::RefusedWhole(refusal)
            | Self::TooLarge(refusal)
            | Self::TryAgain(refusal)
            | Self::Unknown { refusal, .. }
            | Self::Hopeless(_, refusal) => Some(refusal),
        }
    }

    /// Returns the outcome as a word for the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Refused(_) => "refused",
            Self::RefusedWhole(_) => "refused_whole",
            Self::TooLarge(_) => "too_large",
            Self::RateLimited { .. } => "rate_limited",
            Self::TryAgain(_) => "try_again",
            Self::Unknown { .. } => "unknown",
            Self::Hopeless(Impasse::Credentials, _) => "credentials",
            Self::Hopeless(Impasse::Endpoint, _) => "endpoint",
        }
    }
}
