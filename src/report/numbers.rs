//! Numbers for people.

use std::time::Duration;

/// Rounds to milliseconds below ten seconds, to seconds above.
pub(super) fn rounded(seconds: f64) -> Duration {
    let exact = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if exact.as_secs() >= 10 {
        Duration::from_secs(exact.as_secs())
    } else {
        Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Groups thousands: 1,234,567.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun: "1 request", "2 requests".
#[must_use]
pub fn counted(number: i64, one: &str, several: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn one_is_singular() {
        let requests = |number| counted(number, "request", "requests");
        assert_eq!(
            [0, 1, 1234].map(requests),
            ["0 requests", "1 request", "1,234 requests"]
        );
    }
}
