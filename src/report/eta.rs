//! Throughput and time left. Pure: the caller passes the time.
//!
//! The time left is the longest of the estimates: the remaining rows at the recent rate, and the remaining
//! requests and lookups at their quotas. The rest of a wait that the API asked for is added. A finished wait
//! counts as part of the rate for some minutes, since another one may follow.

use std::{collections::VecDeque, time::Duration};

use super::view::{Quota, View};
use crate::domain::{Phase, RunId};

/// The shortest window for the current rate; longer if requests are far apart.
const NOW: Duration = Duration::from_secs(10);
const REQUESTS_IN_NOW: u32 = 8;

/// The steady rate covers this many windows.
const STEADY: u32 = 12;

/// Shorter intervals give no usable rate.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// The most samples that are kept.
const MOST_LOOKS: u32 = 600;

/// A sample of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    at: Duration,
    settled: u64,
    requests: u64,
    lookups: u64,
}

/// The samples of a run, and the rates derived from them.
#[derive(Debug, Default)]
pub struct Eta {
    /// The moment before the first row was completed.
    base: Option<Look>,
    /// In chronological order. The last one is the newest; the others are spaced apart.
    looks: VecDeque<Look>,
    quota: Option<Quota>,
    /// The run of the last sample.
    run_id: Option<RunId>,
    /// The expected rate for the rest, in rows per second.
    steady: Option<f64>,
}

impl Eta {
    /// Takes a sample, `at` after the start.
    pub fn look(&mut self, at: Duration, view: &View) {
        self.quota = view.quota;
        let look = Look {
            at,
            settled: view.tally.settled().unsigned_abs(),
            requests: view.requests.unsigned_abs(),
            lookups: view.lookups.unsigned_abs(),
        };
        let begins = self.run_id != view.run_id;
        self.run_id = view.run_id;
        if self.base.is_none() || begins || !has_a_pace(view.phase) {
            // Time before the work, and work of earlier processes, do not count.
            self.base = Some(look);
            self.looks.clear();
        }
        let kept = self.kept();
        if let [.., before, last] = self.looks.make_contiguous()
            && last.at.saturating_sub(before.at) < kept / MOST_LOOKS
        {
            *last = look;
        } else {
            self.looks.push_back(look);
        }
        while self.looks.front().is_some_and(|first| first.at + kept < at) {
            self.looks.pop_front();
        }
        // A wait in progress is counted separately.
        if view.held_for.is_zero() {
            self.steady = self
                .rate_over(self.now_window() * STEADY)
                .filter(|rate| *rate > 0.0)
                .or_else(|| self.average());
        }
    }

    /// Returns the current rate, in completed rows per second.
    #[must_use]
    pub fn now(&self) -> Option<f64> {
        self.rate_over(self.now_window())
    }

    /// Returns the average rate since the work began.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        rate(self.base?, *self.looks.back()?)
    }

    /// Returns the requests in the last window of the quota, the limit, and the window.
    #[must_use]
    pub fn quota_used(&self) -> Option<(u64, u64, Duration)> {
        let quota = self.quota?;
        let last = self.looks.back()?;
        let window = quota.per.max(Duration::from_secs(1));
        let used = last.requests.saturating_sub(self.first_in(window)?.requests);
        let most = u128::from(quota.requests) * window.as_nanos() / quota.per.as_nanos().max(1);
        Some((used, u64::try_from(most).unwrap_or(u64::MAX), window))
    }

    /// Returns the time left; `None` if it is unknown.
    #[must_use]
    pub fn left(&self, view: &View) -> Option<Duration> {
        // A pause ends at an unknown time.
        if !has_a_pace(view.phase) || view.paused {
            return None;
        }
        let selected = view.tally.selected.unsigned_abs();
        // If more rows were read than expected, the rest is unknown.
        let expected = view.expected.filter(|expected| selected <= *expected)?;
        let rows = expected.saturating_sub(view.tally.settled().unsigned_abs()) as f64;
        let by_pace = match self.steady {
            Some(rate) => rows / rate,
            // The wait began before any rate was measured: only the quota is known.
            None if !view.held_for.is_zero() => 0.0,
            None => return None,
        };
        let by_quota = match self.quota {
            Some(quota) => rows * self.per_row(|look| look.requests)? * quota.spacing.as_secs_f64(),
            None => 0.0,
        };
        let by_lookups = match view.lookup_quota {
            Some(quota) => rows * self.per_row(|look| look.lookups)? * quota.spacing.as_secs_f64(),
            None => 0.0,
        };
        let working = Duration::try_from_secs_f64(by_pace.max(by_quota).max(by_lookups)).ok()?;
        Some(view.held_for.saturating_add(working))
    }

    /// Returns what one row costs of a count.
    fn per_row(&self, count: impl Fn(&Look) -> u64) -> Option<f64> {
        let (base, last) = (self.base?, *self.looks.back()?);
        let rows = last.settled.saturating_sub(base.settled);
        (rows > 0).then(|| count(&last).saturating_sub(count(&base)) as f64 / rows as f64)
    }

    fn now_window(&self) -> Duration {
        let spacing = self.quota.map(|quota| quota.spacing).unwrap_or_default();
        NOW.max(spacing.saturating_mul(REQUESTS_IN_NOW))
    }

    fn kept(&self) -> Duration {
        let per = self.quota.map(|quota| quota.per).unwrap_or_default();
        (self.now_window() * STEADY).max(per)
    }

    fn rate_over(&self, window: Duration) -> Option<f64> {
        rate(*self.first_in(window)?, *self.looks.back()?)
    }

    fn first_in(&self, window: Duration) -> Option<&Look> {
        let since = self.looks.back()?.at.saturating_sub(window);
        self.looks.iter().find(|look| look.at >= since)
    }
}

/// Returns true if the pace of this phase tells that of the rest. A canary is slow on purpose.
fn has_a_pace(phase: Phase) -> bool {
    phase.is_working() && phase != Phase::Canary
}

/// Returns the rate between two samples, unless they are too close.
fn rate(from: Look, to: Look) -> Option<f64> {
    let time = to.at.saturating_sub(from.at);
    (time >= TOO_SHORT).then(|| to.settled.saturating_sub(from.settled) as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds and counts are small and positive here"
    )]

    use super::*;
    use crate::domain::Tally;

    /// 100 requests in 60 seconds, spaced as the pacer spaces them.
    const QUOTA: Quota = Quota {
        requests: 100,
        per: Duration::from_secs(60),
        spacing: Duration::from_millis(609),
    };

    /// Builds a run with this many settled rows, and as many in progress.
    fn view(settled: i64, requests: i64) -> View {
        View {
            phase: Phase::Sending,
            tally: Tally {
                selected: settled,
                committed: settled,
                ..Tally::default()
            },
            expected: Some(100_000),
            requests,
            quota: Some(QUOTA),
            ..View::default()
        }
    }

    fn seconds(left: Option<Duration>) -> u64 {
        left.expect("an estimate").as_secs()
    }

    /// Samples five times a second from `from` to `to` seconds; `at` gives the state.
    fn watch(pace: &mut Eta, from: u64, to: u64, at: impl Fn(f64) -> View) {
        for tick in from * 5..=to * 5 {
            let now = tick as f64 / 5.0;
            pace.look(Duration::from_secs_f64(now), &at(now));
        }
    }

    #[test]
    fn where_the_quota_decides_it_says_how_long() {
        // Batches of 100, each answered at once: the remaining 1,000 requests take 20 minutes.
        let at = |now: f64| {
            let requests = (now / 0.609) as i64;
            view(requests * 100, requests)
        };
        let mut pace = Eta::default();
        watch(&mut pace, 0, 300, at);
        let now = at(300.0);
        let left = 100_000.0 - now.tally.committed as f64;
        let expected = (left / 100.0 * 0.609) as u64;
        assert!(
            seconds(pace.left(&now)).abs_diff(expected) <= 5,
            "{:?}",
            pace.left(&now)
        );
        assert!(
            (150.0..175.0).contains(&pace.now().unwrap())
                && (150.0..175.0).contains(&pace.average().unwrap())
        );
        let (used, most, per) = pace.quota_used().unwrap();
        assert!((97..=99).contains(&used), "{used}");
        assert_eq!((most, per), (100, Duration::from_secs(60)));
    }

    #[test]
    fn a_quick_beginning_promises_nothing_that_the_quota_does_not_keep() {
        // A burst: ten batches of 100 in the first two seconds.
        let mut pace = Eta::default();
        watch(&mut pace, 0, 2, |now| {
            view((now * 500.0) as i64, (now * 5.0) as i64)
        });
        // 990 requests are left; at the rate so far they would take 198 seconds.
        assert_eq!(seconds(pace.left(&view(1000, 10))), 602);
    }

    #[test]
    fn where_the_api_is_slower_than_the_quota_its_pace_decides() {
        let mut pace = Eta::default();
        watch(&mut pace, 0, 200, |now| {
            view(now as i64 / 4 * 100, now as i64 / 4)
        });
        let left = seconds(pace.left(&view(5000, 50)));
        assert!((3700..=3900).contains(&left), "{left}");
    }

    #[test]
    fn a_wait_is_added_once_and_is_no_pace_while_it_lasts() {
        let at = |now: f64| view((now * 100.0) as i64, now as i64);
        let mut pace = Eta::default();
        watch(&mut pace, 0, 100, at);
        let before = seconds(pace.left(&at(100.0)));
        let held = |now: f64| View {
            held_for: Duration::from_secs_f64(160.0 - now),
            ..at(100.0)
        };
        watch(&mut pace, 101, 150, held);
        assert_eq!(seconds(pace.left(&held(150.0))), before + 10);
        assert_eq!(pace.now(), Some(0.0));
        // Once over, it counts: another may follow.
        watch(&mut pace, 160, 170, |now| at(now - 60.0));
        assert!(seconds(pace.left(&at(110.0))) > before + 200);
    }

    #[test]
    fn a_wait_before_there_was_a_pace_is_told_by_the_quota() {
        let held = View {
            held_for: Duration::from_secs(8),
            ..view(100, 1)
        };
        let mut pace = Eta::default();
        pace.look(Duration::ZERO, &view(0, 0));
        pace.look(Duration::from_millis(200), &held);
        assert_eq!(seconds(pace.left(&held)), 8 + 608);
    }

    #[test]
    fn lookups_under_a_quota_of_their_own_decide_if_they_take_longest() {
        // Quick batches at first, but each row needs a lookup, of which 450 fit into a minute.
        let at = |now: f64| View {
            lookups: (now * 100.0) as i64,
            lookup_quota: Some(Quota {
                requests: 450,
                per: Duration::from_secs(60),
                spacing: Duration::from_millis(134),
            }),
            ..view((now * 100.0) as i64, now as i64)
        };
        let mut pace = Eta::default();
        watch(&mut pace, 0, 10, at);
        let left = seconds(pace.left(&at(10.0)));
        assert_eq!(left, 99_000 * 134 / 1000);
    }

    #[test]
    fn a_canary_says_nothing_about_the_rest_and_does_not_slow_it_down() {
        let canary = |now: f64| View {
            phase: Phase::Canary,
            ..view(now as i64 / 10, now as i64 / 10)
        };
        let mut pace = Eta::default();
        watch(&mut pace, 0, 100, canary);
        assert_eq!((pace.left(&canary(100.0)), pace.average()), (None, None));
        let at = |now: f64| view(10 + ((now - 100.0) * 100.0) as i64, 10 + (now - 100.0) as i64);
        watch(&mut pace, 101, 160, at);
        let left = seconds(pace.left(&at(160.0)));
        assert!((900..=1100).contains(&left), "{left}");
    }

    #[test]
    fn rows_that_need_no_request_cost_none() {
        // A later run: 1,000 rows a second, of which one in a hundred has changed; those go in batches of a
        // hundred.
        let mut pace = Eta::default();
        watch(&mut pace, 0, 50, |now| {
            view((now * 1000.0) as i64, (now / 10.0) as i64)
        });
        assert_eq!(seconds(pace.left(&view(50_000, 5))), 50);
    }

    #[test]
    fn where_nothing_is_known_nothing_is_said() {
        let mut pace = Eta::default();
        assert_eq!((pace.now(), pace.left(&view(0, 0))), (None, None));
        watch(&mut pace, 0, 5, |_| view(0, 0));
        assert_eq!(pace.left(&view(0, 0)), None, "nothing has come to an end");
        watch(&mut pace, 6, 20, |now| view(now as i64 * 100, now as i64));
        let unknown = View {
            expected: None,
            ..view(2000, 20)
        };
        let more_than_expected = View {
            expected: Some(1999),
            ..view(2000, 20)
        };
        assert_eq!(
            (pace.left(&unknown), pace.left(&more_than_expected)),
            (None, None)
        );
    }

    #[test]
    fn what_came_before_the_work_is_no_pace() {
        let looking = View {
            phase: Phase::Outdated,
            ..view(40_000, 0)
        };
        let mut pace = Eta::default();
        // A resumed run that spends half an hour looking for outdated rows.
        watch(&mut pace, 0, 1800, |_| looking.clone());
        watch(&mut pace, 1801, 1900, |now| {
            view(40_000 + (now as i64 - 1800) * 100, now as i64 - 1800)
        });
        assert!(
            (95.0..105.0).contains(&pace.average().unwrap()),
            "{:?}",
            pace.average()
        );
        let left = seconds(pace.left(&view(50_000, 100)));
        assert!((490..=520).contains(&left), "{left}");
    }

    #[test]
    fn a_night_of_looks_takes_no_more_room_than_an_hour() {
        let mut pace = Eta::default();
        watch(&mut pace, 0, 8 * 3600, |now| view(now as i64, now as i64 / 100));
        assert!(
            pace.looks.len() <= MOST_LOOKS as usize + 2,
            "{}",
            pace.looks.len()
        );
    }
}
