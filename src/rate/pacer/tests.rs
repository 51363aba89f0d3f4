//! The quota, pauses and holds, on paused time.

use std::sync::Arc;

use super::*;

fn limit(requests: u32, per: Duration, burst: u32) -> RateLimit {
    RateLimit { requests, per, burst }
}

fn pacer(limit: RateLimit) -> Pacer {
    Pacer::new(limit, &RunControl::new(limit, Meter::default()))
}

/// When each of `count` requests left, all of them wanting to at once.
async fn departures(pacer: &Arc<Pacer>, count: usize) -> Vec<Duration> {
    let begin = Instant::now();
    let mut left = Vec::new();
    for _ in 0..count {
        pacer.acquire().await;
        left.push(begin.elapsed());
    }
    left
}

fn most_in_any(window: Duration, left: &[Duration]) -> usize {
    left.iter()
        .map(|&from| {
            left.iter()
                .filter(|&&at| at >= from && at < from + window)
                .count()
        })
        .max()
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn no_window_holds_more_than_the_quota_and_nearly_all_of_it_is_used() {
    for (requests, per, burst) in [(100, 60, 1), (1000, 10, 1), (50, 1, 1), (100, 60, 10), (7, 1, 7)] {
        let per = Duration::from_secs(per);
        let pacer = Arc::new(pacer(limit(requests, per, burst)));
        let left = departures(&pacer, requests as usize * 5).await;
        assert!(
            most_in_any(per, &left) <= requests as usize,
            "{requests} per {per:?}, burst {burst}"
        );
        if burst == 1 {
            let used = left.len() as f64 / f64::from(requests) / left.last().unwrap().div_duration_f64(per);
            assert!(used > 0.98, "{requests} per {per:?}: only {used} of the quota");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_requests_is_known_beforehand() {
    for (requests, per, burst, count) in [(100, 60, 1, 41), (100, 60, 10, 200), (50, 1, 1, 1), (7, 1, 7, 5)] {
        let limit = limit(requests, Duration::from_secs(per), burst);
        let left = departures(&Arc::new(pacer(limit)), count).await;
        let expected = Pacer::time_for(limit, i64::try_from(count).unwrap());
        assert!(
            left.last().unwrap().abs_diff(expected) < Duration::from_millis(5),
            "{left:?} {expected:?}"
        );
    }
    assert_eq!(
        Pacer::time_for(limit(100, Duration::from_secs(60), 1), 0),
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_not_made_up_for() {
    let pacer = Arc::new(pacer(limit(10, Duration::from_secs(1), 1)));
    pacer.acquire().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(most_in_any(Duration::from_secs(1), &departures(&pacer, 30).await) <= 10);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_questions_about_what_has_left_pass_at_the_same_quota() {
    let limit = limit(10, Duration::from_secs(1), 1);
    let control = RunControl::new(limit, Meter::default());
    let pacer = Arc::new(Pacer::new(limit, &control));
    control.throttle.pause();
    let waiting = tokio::spawn({
        let pacer = Arc::clone(&pacer);
        async move { pacer.acquire().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    for _ in 0..10 {
        pacer.acquire_through_pauses().await;
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(!waiting.is_finished());
    control.throttle.resume();
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_stops_everyone_until_it_is_over_and_the_longest_counts() {
    let pacer = Arc::new(pacer(limit(1000, Duration::from_secs(1), 1)));
    pacer.hold(Duration::from_secs(5)).await;
    pacer.hold(Duration::from_secs(2)).await;
    let begin = Instant::now();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let pacer = Arc::clone(&pacer);
            tokio::spawn(async move { pacer.acquire().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Extended while everyone waits.
    pacer.hold(Duration::from_secs(6)).await;
    for task in waiting {
        task.await.unwrap();
    }
    assert!(
        begin.elapsed() >= Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_before_its_turn_pays_nothing() {
    let pacer = pacer(limit(1, Duration::from_secs(10), 1));
    pacer.acquire().await;
    assert!(
        tokio::time::timeout(Duration::from_secs(3), pacer.acquire())
            .await
            .is_err()
    );
    let begin = Instant::now();
    pacer.acquire().await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_during_a_pause_and_everyone_after_it() {
    let quota = limit(10, Duration::from_secs(1), 1);
    let control = RunControl::new(quota, Meter::default());
    let pacer = Arc::new(Pacer::new(quota, &control));
    pacer.acquire().await;
    control.throttle.pause();
    let waiting = tokio::spawn({
        let pacer = Arc::clone(&pacer);
        async move { departures(&pacer, 20).await }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    control.throttle.resume();
    let left = waiting.await.unwrap();
    assert!(left[0] >= Duration::from_secs(3600), "{left:?}");
    assert!(most_in_any(Duration::from_secs(1), &left) <= 10, "{left:?}");
    assert_eq!(control.meter.waited(Wait::Pause).as_secs(), 3600);
}

#[tokio::test(start_paused = true)]
async fn a_pause_does_not_shorten_what_the_api_asked_for() {
    let quota = limit(10, Duration::from_secs(1), 1);
    let control = RunControl::new(quota, Meter::default());
    let pacer = Pacer::new(quota, &control);
    let begin = Instant::now();
    pacer.hold(Duration::from_secs(100)).await;
    control.throttle.pause();
    tokio::join!(pacer.acquire(), async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        control.throttle.resume();
    });
    assert_eq!(begin.elapsed().as_secs(), 100);
    assert_eq!(
        (
            control.meter.waited(Wait::Pause).as_secs(),
            control.meter.waited(Wait::RetryAfter).as_secs()
        ),
        (30, 70)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_changes_keeps_to_the_quota_at_every_moment() {
    for burst in [1, 10] {
        let (per, quota) = (
            Duration::from_secs(60),
            limit(100, Duration::from_secs(60), burst),
        );
        let control = RunControl::new(quota, Meter::default());
        let pacer = Arc::new(Pacer::new(quota, &control));
        let leaving = tokio::spawn({
            let pacer = Arc::clone(&pacer);
            async move { departures(&pacer, 500).await }
        });
        for requests in [100, 20, 100, 50, 100, 1, 100] {
            control.throttle.slow_to(requests).unwrap();
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
        let left = leaving.await.unwrap();
        assert!(most_in_any(per, &left) <= 100, "burst {burst}: {left:?}");
        // From the change on, at most what was asked for.
        let slow = left.iter().filter(|at| (61..121).contains(&at.as_secs())).count();
        assert!((15..=20).contains(&slow), "burst {burst}: {slow} {left:?}");
        let slower = left
            .iter()
            .filter(|at| (305..365).contains(&at.as_secs()))
            .count();
        assert!(slower <= 1, "burst {burst}: {slower} {left:?}");
    }
}
