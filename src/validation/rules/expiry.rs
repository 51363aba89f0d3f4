//! Rules about the expiry.

use super::{Found, reason};
use crate::domain::{Expiry, LegacyToken, Reason, Rule};

/// Seconds since 1970 that, divided by a thousand, fall between 2001 and 2038. Milliseconds were already
/// converted, so these were microseconds.
const SCALED: std::ops::RangeInclusive<i64> = 1_000_000_000_000..=2_147_483_647_000;

/// 2005-01-01. `OAuth` dates from 2007; the large providers' predecessors are not much older.
const PLAUSIBLE_FROM: i32 = 1_104_537_600;

/// Returns the expiry to send.
pub(super) fn check(token: &LegacyToken, now: i64, found: &mut Found) -> Result<Option<i32>, Reason> {
    let seconds = match token.expiry {
        Expiry::Unknown => return Ok(None),
        Expiry::Never => {
            found.broken(Rule::ExpiryNever, None)?;
            return Ok(None);
        }
        Expiry::Unreadable => return Err(reason(Rule::ExpiryUnreadable)),
        Expiry::At(seconds) if SCALED.contains(&seconds) => return Err(reason(Rule::ExpiryScaled)),
        Expiry::At(seconds) => match i32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => seconds,
            _ => return Err(reason(Rule::ExpiryOutOfRange)),
        },
    };
    if seconds < PLAUSIBLE_FROM {
        found.broken(Rule::ExpiryImplausible, None)?;
    }
    // Only a warning: the legacy program maintained the column, and some tokens outlive it.
    if i64::from(seconds) <= now && token.access_token.is_some() && token.refresh_token.is_none() {
        found.broken(Rule::ExpiredWithoutRefresh, None)?;
    }
    Ok(Some(seconds))
}
