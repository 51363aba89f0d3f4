//! The rate limit: a log of the requests within a sliding window, and periods in which nothing passes.

use std::{
    collections::VecDeque,
    str::FromStr,
    time::{Duration, SystemTime},
};

use axum::http::HeaderValue;
use tokio::time::Instant;

use crate::simulator::refusal::Refusal;

/// A number of requests per sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that pass within one window.
    pub requests: usize,
    /// The length of the sliding window.
    pub window: Duration,
    /// The form of `Retry-After` in a refusal.
    pub retry_after: RetryAfter,
}

impl RateLimit {
    /// Returns a limit of `requests` in every `window`. A refusal says when the next slot becomes free.
    #[must_use]
    pub fn new(requests: usize, window: Duration) -> Self {
        Self {
            requests,
            window,
            retry_after: RetryAfter::default(),
        }
    }
}

/// The form of the `Retry-After` header of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Whole seconds until a slot frees, rounded up.
    #[default]
    UntilFree,
    /// The whole window in seconds, as the public page describes it.
    Window,
    /// The moment at which a slot frees, as an HTTP date.
    HttpDate,
}

/// A rate limit must read like `100/60s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected REQUESTS/DURATION with both above zero, for example 100/60s")]
pub struct ParseRateLimitError;

impl FromStr for RateLimit {
    type Err = ParseRateLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, window) = text.split_once('/').ok_or(ParseRateLimitError)?;
        let requests = requests.trim().parse().map_err(|_| ParseRateLimitError)?;
        let window = humantime::parse_duration(window.trim()).map_err(|_| ParseRateLimitError)?;
        if requests == 0 || window.is_zero() {
            return Err(ParseRateLimitError);
        }
        Ok(Self::new(requests, window))
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Limiter {
    limit: Option<RateLimit>,
    passed: VecDeque<Instant>,
    closed_until: Option<Instant>,
    refused: u64,
}

impl Limiter {
    pub(super) fn new(limit: Option<RateLimit>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(super) fn set_limit(&mut self, limit: Option<RateLimit>) {
        self.limit = limit;
    }

    /// Lets nothing pass for `duration`.
    pub(super) fn close_for(&mut self, duration: Duration) {
        self.closed_until = Some(Instant::now() + duration);
    }

    /// Counts requests that were answered with 429.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// A 429 that no limit asked for.
    pub(super) fn refuse(&mut self, wait: Duration) -> Refusal {
        self.refused += 1;
        Refusal::rate_limited(seconds(wait))
    }

    /// Takes a slot for one request. A refused request takes none.
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Err(self.refuse(until - now));
        }
        let Some(limit) = self.limit else { return Ok(()) };
        while self
            .passed
            .front()
            .is_some_and(|passed| now.duration_since(*passed) >= limit.window)
        {
            self.passed.pop_front();
        }
        if self.passed.len() < limit.requests {
            self.passed.push_back(now);
            return Ok(());
        }
        // A lowered limit waits for the last of what passed under the higher one; none at all, for nothing.
        let frees_next = self
            .passed
            .len()
            .checked_sub(limit.requests)
            .and_then(|index| self.passed.get(index));
        let frees = *frees_next.unwrap_or(&now) + limit.window;
        self.refused += 1;
        Err(Refusal::rate_limited(match limit.retry_after {
            RetryAfter::UntilFree => seconds(frees - now),
            RetryAfter::Window => seconds(limit.window),
            RetryAfter::HttpDate => http_date(frees - now),
        }))
    }
}

fn seconds(wait: Duration) -> HeaderValue {
    let rounded_up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(rounded_up)
}

/// A date has whole seconds; one more makes up for the fraction that it loses.
fn http_date(wait: Duration) -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::now() + wait + Duration::from_secs(1));
    HeaderValue::try_from(date).unwrap_or_else(|_| seconds(wait))
}

#[cfg(test)]
mod tests {
    use axum::{http::header, response::IntoResponse};
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn retry_after(limiter: &mut Limiter) -> Option<String> {
        let response = limiter.admit().err()?.into_response();
        Some(
            response.headers()[header::RETRY_AFTER]
                .to_str()
                .unwrap()
                .to_owned(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_slides() {
        let mut limiter = Limiter::new(Some(RateLimit::new(2, 10 * SECOND)));
        assert_eq!(retry_after(&mut limiter), None);
        advance(4 * SECOND).await;
        assert_eq!(retry_after(&mut limiter), None);
        assert_eq!(retry_after(&mut limiter), Some("6".to_owned()));
        advance(Duration::from_millis(5500)).await;
        assert_eq!(retry_after(&mut limiter), Some("1".to_owned()), "rounded up");
        advance(Duration::from_millis(500)).await;
        assert_eq!(retry_after(&mut limiter), None, "the first slot is free again");
        assert_eq!(
            retry_after(&mut limiter),
            Some("4".to_owned()),
            "the second one is not"
        );
        assert_eq!(limiter.refused(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_header_takes_the_form_asked_for() {
        let mut limit = RateLimit::new(0, 60 * SECOND);
        let mut limiter = Limiter::new(Some(limit));
        assert_eq!(retry_after(&mut limiter), Some("60".to_owned()));
        limit.requests = 1;
        limit.retry_after = RetryAfter::Window;
        limiter.set_limit(Some(limit));
        assert_eq!(retry_after(&mut limiter), None);
        advance(59 * SECOND).await;
        assert_eq!(retry_after(&mut limiter), Some("60".to_owned()));
        limit.retry_after = RetryAfter::HttpDate;
        limiter.set_limit(Some(limit));
        let date = httpdate::parse_http_date(&retry_after(&mut limiter).unwrap()).unwrap();
        assert!(date > SystemTime::now());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_while_it_is_closed() {
        let mut limiter = Limiter::new(None);
        limiter.close_for(5 * SECOND);
        assert_eq!(retry_after(&mut limiter), Some("5".to_owned()));
        advance(5 * SECOND).await;
        assert_eq!(retry_after(&mut limiter), None);
    }

    #[test]
    fn a_limit_is_written_as_requests_per_duration() {
        assert_eq!("100/60s".parse(), Ok(RateLimit::new(100, 60 * SECOND)));
        assert_eq!("5 / 1m".parse(), Ok(RateLimit::new(5, 60 * SECOND)));
        for wrong in ["100", "100/", "/60s", "0/60s", "100/0s", "-1/60s", "100/minute"] {
            assert_eq!(wrong.parse::<RateLimit>(), Err(ParseRateLimitError), "{wrong}");
        }
    }
}
