//! Log fields of a response.

use super::{Impasse, Refusal, UploadOutcome};

impl UploadOutcome {
    /// The HTTP status of an answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Committed => Some(200),
            Self::RateLimited { .. } => Some(429),
            _ => self.refusal().and_then(|refusal| refusal.status),
        }
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| &*refusal.code)
    }

    /// Why an answer is no good, of several reasons the first.
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

    /// What it means, in a word for the log.
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
