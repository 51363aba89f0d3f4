//! Points in time in a row: expiries and versions, from the texts and numbers that schemas have for them.

use std::ops::RangeInclusive;

use chrono::DateTime;

use super::column_type::Form;
use crate::domain::{Expiry, Version};

/// From here on a number of seconds would be past the year 5000, so it is milliseconds (of 1973 and later).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// The year that many write for "never", in seconds since 1970.
const YEAR_9999: RangeInclusive<i64> = 253_370_764_800..=253_402_300_799;

/// 2000-01-01, from which the database counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

const MICROSECONDS: i64 = 1_000_000;

/// Epoch seconds or milliseconds, with or without a fraction, or a date with its time in RFC 3339.
pub(super) fn expiry(text: &str) -> Expiry {
    let text = text.trim();
    if let Some(number) = split_number(text) {
        return match number {
            (0, _) => Expiry::Unknown,
            // The last is the greatest number of milliseconds there is.
            (-1, 0) | (i64::MAX, _) => Expiry::Never,
            // The end of time in seconds; as milliseconds it would be before there was OAuth.
            (whole, _) if YEAR_9999.contains(&whole) => Expiry::Never,
            (whole, _) if whole.abs() >= MILLISECONDS_FROM => match whole.div_euclid(1000) {
                seconds if YEAR_9999.contains(&seconds) => Expiry::Never,
                seconds => Expiry::At(seconds),
            },
            (whole, _) => Expiry::At(whole),
        };
    }
    if text.eq_ignore_ascii_case("infinity") {
        return Expiry::Never;
    }
    DateTime::parse_from_rfc3339(text).map_or(Expiry::Unreadable, |date| expiry_in(date.timestamp()))
}

/// A number of seconds after a point in time. Without that point nothing is known.
pub(super) fn expiry_after(since: Expiry, seconds: &str) -> Expiry {
    match (since, split_number(seconds.trim())) {
        (Expiry::Unreadable, _) | (_, None) => Expiry::Unreadable,
        (Expiry::Unknown, _) | (_, Some((0, 0))) => Expiry::Unknown,
        (Expiry::Never, _) | (_, Some((-1, 0))) => Expiry::Never,
        (_, Some((seconds, _))) if seconds < 0 => Expiry::Unreadable,
        (Expiry::At(since), Some((seconds, _))) => match since.checked_add(seconds) {
            Some(at) => expiry_in(at),
            None => Expiry::Unreadable,
        },
    }
}

/// A time says what it means, and is no number of milliseconds.
pub(super) fn expiry_at(time: i64) -> Expiry {
    match time {
        i64::MAX => Expiry::Never,
        i64::MIN => Expiry::Unreadable,
        time => match time.div_euclid(MICROSECONDS) + EPOCH / MICROSECONDS {
            0 => Expiry::Unknown,
            seconds => expiry_in(seconds),
        },
    }
}

fn expiry_in(seconds: i64) -> Expiry {
    if seconds >= *YEAR_9999.start() {
        Expiry::Never
    } else {
        Expiry::At(seconds)
    }
}

/// A whole number and the millionths after it.
fn split_number(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 40 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    let millionths: i64 = padded.parse().ok()?;
    Some(if whole.starts_with('-') && millionths > 0 {
        (number.checked_sub(1)?, 1_000_000 - millionths)
    } else {
        (number, millionths)
    })
}

/// Orders rows: a time in microseconds, infinities at the ends, or the source's own number as it is.
pub(super) fn version(text: &str, form: Form) -> Option<Version> {
    let version = match text {
        _ if form == Form::Integer => text.parse().ok(),
        "Infinity" => Some(i64::MAX),
        "-Infinity" => Some(i64::MIN),
        _ => split_number(text).map(|(whole, millionths)| {
            // Too large for millionths of it: a column of such numbers counts in millionths, or in less,
            // already.
            let millions = whole.checked_mul(1_000_000);
            millions
                .and_then(|number| number.checked_add(millionths))
                .unwrap_or(whole)
        }),
    };
    // A value that is not a number ("NaN") is neither newer nor older than any other.
    version.map(|version| Version::new(Some(version)))
}

/// The same of a time as the database counts it.
pub(super) fn version_at(time: i64) -> Version {
    Version::new(Some(match time {
        i64::MIN => time,
        _ => time.saturating_add(EPOCH),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_expiry() {
        for (text, expected) in [
            ("1700000000", Expiry::At(1_700_000_000)),
            ("1700000000.999999", Expiry::At(1_700_000_000)),
            ("1700000000123", Expiry::At(1_700_000_000)),
            ("1700000000123.5", Expiry::At(1_700_000_000)),
            ("-0.5", Expiry::At(-1)),
            ("0", Expiry::Unknown),
            ("2023-11-14T22:13:20Z", Expiry::At(1_700_000_000)),
            ("2023-11-14T23:13:20+01:00", Expiry::At(1_700_000_000)),
            ("Infinity", Expiry::Never),
            ("infinity", Expiry::Never),
            ("-Infinity", Expiry::Unreadable),
            ("-1", Expiry::Never),
            ("-1.5", Expiry::At(-2)),
            ("253402300799", Expiry::Never),
            ("253402300799999", Expiry::Never),
            ("9223372036854775807", Expiry::Never),
            ("9999-12-31T23:59:59Z", Expiry::Never),
            ("1790000000000000", Expiry::At(1_790_000_000_000)),
            ("tomorrow", Expiry::Unreadable),
            ("1.2.3", Expiry::Unreadable),
            ("99999999999999999999", Expiry::Unreadable),
        ] {
            assert_eq!(expiry(text), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_counts_from_its_point_in_time() {
        let since = Expiry::At(1_700_000_000);
        for (text, expected) in [
            ("3599", Expiry::At(1_700_003_599)),
            (" 3599.9 ", Expiry::At(1_700_003_599)),
            ("0", Expiry::Unknown),
            ("-1", Expiry::Never),
            ("-5", Expiry::Unreadable),
            ("soon", Expiry::Unreadable),
            ("9223372036854775807", Expiry::Unreadable),
        ] {
            assert_eq!(expiry_after(since, text), expected, "{text}");
        }
        assert_eq!(expiry_after(Expiry::Unknown, "3599"), Expiry::Unknown);
        assert_eq!(expiry_after(Expiry::Unreadable, "3599"), Expiry::Unreadable);
    }

    #[test]
    fn a_time_is_read_as_its_seconds_since_1970_would_be_but_never_as_milliseconds() {
        let since_2000 = |microseconds: i64| microseconds - EPOCH;
        let never = since_2000(253_402_300_799_000_000);
        assert_eq!(expiry_at(never), Expiry::Never);
        let far = since_2000(200_000_000_000_000_000);
        assert_eq!(expiry_at(far), Expiry::At(200_000_000_000));
        for (time, seconds, microseconds) in [
            (
                since_2000(1_700_000_000_999_999),
                "1700000000.999999",
                1_700_000_000_999_999,
            ),
            (since_2000(0), "0.000000", 0),
            (since_2000(-500_000), "-0.500000", -500_000),
            (i64::MAX, "Infinity", i64::MAX),
            (i64::MIN, "-Infinity", i64::MIN),
        ] {
            assert_eq!(expiry_at(time), expiry(seconds), "{seconds}");
            assert_eq!(
                Some(version_at(time)),
                version(seconds, Form::Number),
                "{seconds}"
            );
            assert_eq!(version_at(time).get(), Some(microseconds), "{seconds}");
        }
    }

    #[test]
    fn versions_order_as_their_times_do() {
        let ordered = [
            "-Infinity",
            "-1.5",
            "-1.000000",
            "0",
            "1700000000.123455",
            "1700000000.123456",
            "Infinity",
        ];
        for pair in ordered.windows(2) {
            assert!(
                version(pair[0], Form::Number) < version(pair[1], Form::Number),
                "{pair:?}"
            );
        }
        let nanoseconds =
            ["1700000000123456788", "1700000000123456789"].map(|text| version(text, Form::Integer));
        assert!(nanoseconds[0] < nanoseconds[1]);
        let microseconds = ["1760000000000000", "1760000000000001"].map(|text| version(text, Form::Number));
        assert!(microseconds[0] < microseconds[1]);
        assert_eq!(version("NaN", Form::Number), None);
    }
}
