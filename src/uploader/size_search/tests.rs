//! The search, against APIs with all kinds of limits.

use super::*;

fn size(tokens: usize, bytes: usize) -> BatchSize {
    BatchSize { tokens, bytes }
}

fn search(start: usize, grow_to: usize) -> SizeSearch {
    SizeSearch::new(size(start, 1 << 20), grow_to, None)
}

/// Sends `tokens` of this size each, one batch after the other, to an API with these limits. Returns the
/// requests, and those that were rejected.
fn send(search: &mut SizeSearch, mut tokens: usize, bytes_each: usize, most: BatchSize) -> (usize, usize) {
    let (mut requests, mut rejections) = (0, 0);
    while tokens > 0 {
        let limit = search.limit();
        let count = limit.tokens.min(limit.bytes / bytes_each).clamp(1, tokens);
        let sent = size(count, count * bytes_each);
        requests += 1;
        if sent.tokens <= most.tokens && sent.bytes <= most.bytes {
            search.accept(sent, true);
            tokens -= count;
        } else {
            rejections += 1;
            let id = search.reject(sent);
            search.confirm(id);
        }
    }
    (requests, rejections)
}

#[test]
fn batches_double_after_two_clean_ones_up_to_the_largest() {
    let mut search = search(100, 2000);
    let mut sizes = Vec::new();
    for _ in 0..12 {
        let tokens = search.limit().tokens;
        sizes.push(tokens);
        search.accept(size(tokens, tokens * 100), true);
    }
    assert_eq!(
        sizes,
        [100, 100, 200, 200, 400, 400, 800, 800, 1600, 1600, 2000, 2000]
    );
}

#[test]
fn a_slow_or_small_batch_makes_nothing_larger() {
    let mut search = search(100, 2000);
    for _ in 0..5 {
        assert!(!search.accept(size(100, 10_000), false));
        assert!(!search.accept(size(74, 7400), true));
    }
    assert_eq!(search.limit().tokens, 100);
    // Some of its tokens were rejected by name.
    assert!(!search.accept(size(80, 8000), true));
    assert!(search.accept(size(75, 7500), true));
    assert_eq!(search.limit().tokens, 200);
}

#[test]
fn a_limit_of_tokens_is_found_whatever_the_batches_begin_with() {
    for (most, start) in [
        (1, 100),
        (10, 100),
        (60, 500),
        (60, 60),
        (250, 100),
        (500, 100),
        (999, 100),
    ] {
        let mut search = search(start, 2000);
        let (requests, rejections) = send(&mut search, 20_000, 100, size(most, usize::MAX));
        let fewest = 20_000_usize.div_ceil(most);
        assert!(rejections <= 11, "{most}: {rejections}");
        assert!(
            requests <= fewest + fewest / PART + 16,
            "{most}: {requests}, {fewest} at best"
        );
    }
}

#[test]
fn a_limit_of_bytes_leaves_that_of_tokens_alone() {
    let mut search = search(100, 2000);
    send(&mut search, 20_000, 1000, size(usize::MAX, 50_000));
    let found = search.limit();
    assert_eq!(found.tokens, 100);
    assert!((46_000..=50_000).contains(&found.bytes), "{found:?}");
    // Small ones grow all the same.
    send(&mut search, 20_000, 10, size(usize::MAX, 50_000));
    assert_eq!(search.limit().tokens, 2000);
}

#[test]
fn large_tokens_first_make_no_batch_of_small_ones_small() {
    let mut search = search(100, 100);
    let most = size(usize::MAX, 200_000);
    assert!(send(&mut search, 20, 30_000, most).0 <= 9);
    assert!(send(&mut search, 10_000, 150, most).0 <= 101);
}

#[test]
fn a_limit_of_tokens_shows_once_as_many_bytes_were_stored() {
    let mut search = search(100, 100);
    let most = size(10, usize::MAX);
    send(&mut search, 100, 1000, most);
    // Small tokens: as many as the bytes allow are too many.
    let (requests, rejections) = send(&mut search, 1000, 100, most);
    assert!(rejections <= 7 && requests <= 107, "{requests} {rejections}");
    assert_eq!(search.limit().tokens, 10);
}

#[test]
fn a_rejection_that_another_reason_explains_is_withdrawn() {
    let mut search = search(100, 100);
    let id = search.reject(size(100, 10_000));
    assert!(search.limit().bytes <= 5000);
    search.withdraw(id);
    assert_eq!(search.limit(), size(100, 1 << 20));
    assert!(!search.confirm(id));
    // As does a batch of that size that is stored.
    search.reject(size(60, 3000));
    search.accept(size(60, 3000), true);
    assert_eq!(search.limit(), size(100, 1 << 20));
}

#[test]
fn an_api_that_accepts_less_than_before_is_searched_anew() {
    let mut search = search(100, 100);
    search.accept(size(100, 10_000), true);
    let (requests, _) = send(&mut search, 1000, 100, size(25, usize::MAX));
    assert!(requests <= 50, "{requests}");
}

#[test]
fn a_truncating_api_gets_exactly_what_it_stores() {
    let mut search = search(100, 2000);
    search.accept(size(100, 10_000), true);
    search.accept(size(100, 10_000), true);
    assert!(search.is_whole(100) && !search.is_whole(101));
    search.truncate(130);
    assert_eq!((search.limit().tokens, search.whole()), (130, 130));
    search.accept(size(130, 13_000), true);
    assert_eq!(search.limit().tokens, 130);
    search.truncate(70);
    assert_eq!(search.limit().tokens, 70);
    assert!(!search.is_whole(71));
}

#[test]
fn what_cannot_be_proven_whole_stops_the_growth() {
    let mut search = search(100, 2000);
    search.accept(size(100, 10_000), true);
    search.accept(size(100, 10_000), true);
    search.saw_whole(200);
    search.accept(size(200, 20_000), true);
    search.accept(size(200, 20_000), true);
    assert_eq!(search.limit().tokens, 400);
    assert!(search.stop_growing());
    assert!(!search.stop_growing());
    assert_eq!(search.limit().tokens, 200);
    assert!(!search.accept(size(200, 20_000), true) && !search.accept(size(200, 20_000), true));
}

#[test]
fn a_later_run_goes_on_with_what_was_learned() {
    let mut first = search(500, 2000);
    assert_eq!(first.take_news(), None);
    send(&mut first, 2000, 100, size(60, usize::MAX));
    let learned = first.take_news();
    assert!(learned.is_some());
    assert_eq!(first.take_news(), None, "told already");
    let mut second = SizeSearch::new(size(500, 1 << 20), 2000, learned);
    assert_eq!(send(&mut second, 2000, 100, size(60, usize::MAX)).1, 0);
    assert_eq!(second.take_news(), None);

    let mut first = search(100, 2000);
    send(&mut first, 5000, 100, size(usize::MAX, usize::MAX));
    let second = SizeSearch::new(size(100, 1 << 20), 2000, first.take_news());
    assert_eq!(second.limit().tokens, first.limit().tokens);
    // The first large one is read back, as the API may have changed.
    assert!(second.is_proven(size(1600, 160_000)) && !second.is_whole(1600));
}
