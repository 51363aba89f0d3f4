//! The `Retry-After` header: seconds, or a date.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Returns the wait that the API asks for, in whole seconds, rounded up; the longest if there are several.
/// `None` if it is missing, invalid or not in the future: then only our own delay applies.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let texts = headers.get_all(RETRY_AFTER).iter();
    texts
        .filter_map(|text| wait(text.to_str().ok()?.trim(), headers, now))
        .max()
        .filter(|wait| !wait.is_zero())
}

/// Returns the time of the response by the clock of the server.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

fn wait(text: &str, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(seconds) = seconds(text) {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(text).ok()?;
    // The date is compared with the clock of the server, because ours may be off.
    until.duration_since(date(headers).unwrap_or(now)).ok()
}

/// Parses `43`, and `1.5`, which RFC 9110 does not allow but some servers send.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || text == "." || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // A number that does not fit counts as the longest wait.
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse().unwrap_or(u64::MAX)
    };
    let is_more = fraction.bytes().any(|digit| digit != b'0');
    Some(Duration::from_secs(whole.saturating_add(u64::from(is_more))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds_before: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - seconds_before)
    }

    fn waits(header: &str, date: Option<SystemTime>, now: SystemTime) -> Option<u64> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, header.parse().unwrap())]);
        if let Some(date) = date {
            headers.insert(DATE, httpdate::fmt_http_date(date).parse().unwrap());
        }
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_dates_and_nonsense() {
        for (text, expected) in [
            ("0", None),
            ("0.0", None),
            (" 43 ", Some(43)),
            ("007", Some(7)),
            ("1.5", Some(2)),
            ("0.001", Some(1)),
            (".5", Some(1)),
            ("2.", Some(2)),
            ("2.000", Some(2)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
            ("soon", None),
            ("", None),
            (".", None),
            ("-1", None),
            ("-1.5", None),
            ("+1", None),
            ("1e3", None),
            ("1.5.2", None),
            ("1,5", None),
            ("NaN", None),
            ("inf", None),
            ("10s", None),
        ] {
            assert_eq!(waits(text, None, at(30)), expected, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), at(0)), None);
    }

    #[test]
    fn a_date_counts_from_the_servers_own_time() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        // Our clock is an hour ahead, and an hour behind.
        for ours in [at(0) + Duration::from_secs(3600), at(3600)] {
            assert_eq!(waits(text, Some(at(20)), ours), Some(20));
        }
        assert_eq!(waits(text, Some(at(0)), at(3600)), None);
    }

    #[test]
    fn the_longest_of_several_counts() {
        let mut headers = HeaderMap::new();
        for text in ["5", "soon", "7", "0"] {
            headers.append(RETRY_AFTER, text.parse().unwrap());
        }
        assert_eq!(retry_after(&headers, at(0)), Some(Duration::from_secs(7)));
    }
}
