//! The sizes of batches: how they grow, what is learned about an API's limits, and how few requests that
//! takes.

use serde_json::{Value, json};
use tokenferry::simulator::{Fault, FaultRates, Simulator, TooLarge};

use crate::support::bed::Bed;

/// Batches grow as by default. The stand-in is quick even on a busy machine.
const GROWS: &str = "batch.grow_to = 2000\napi.timeout = \"60s\"\napi.settle_grace = \"1s\"";

const KINDS: [TooLarge; 2] = [TooLarge::PayloadTooLarge, TooLarge::InvalidArguments];

async fn bed(max_tokens: Option<usize>, max_bytes: Option<usize>, kind: TooLarge) -> Bed {
    let simulator = Simulator::builder().rule(|rules| {
        (rules.max_tokens, rules.max_bytes, rules.too_large) = (max_tokens, max_bytes, kind);
    });
    Bed::with(simulator).await
}

fn requests(ran: &Value) -> i64 {
    ran["requests"].as_i64().unwrap()
}

#[tokio::test]
async fn batches_grow_until_no_request_is_wasted() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20_000).await;
    let bed = bed.set(GROWS);
    let ran = bed.migrate().await.ended_with(0);
    assert!(ran.stderr.contains("sending larger ones"), "{}", ran.stderr);
    assert_eq!(ran.json()["tokens"]["committed"], 20_000);
    bed.assert_arrived_once().await;
    let sizes = bed.api.requests().batch_sizes();
    assert_eq!(sizes.iter().max(), Some(&2000), "{sizes:?}");
    // Of 200 with the configured size. On a busy machine, small ones leave while a larger one is on its way.
    assert!(sizes.len() <= 100, "{sizes:?}");
    // The last token of each larger size was read back, seldom of two batches of one size.
    let fetches = bed.api.requests().fetches();
    assert!((4..=16).contains(&fetches), "{fetches}");

    // The next run begins with what was learned, and checks one of the large batches.
    bed.user_rows(20_001, 30_000).await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 10_000);
    let sizes = bed.api.requests().batch_sizes().split_off(sizes.len());
    assert!(sizes.len() <= 20, "{sizes:?}");
    let again = bed.api.requests().fetches() - fetches;
    assert!((1..=4).contains(&again), "{again}");
}

#[tokio::test]
async fn batches_keep_their_size_where_growth_is_off_or_would_fail_more_tokens() {
    for settings in [
        "batch.grow_to = 100",
        "batch.grow_to = 2000\nbatch.on_failure = \"reject\"",
        "batch.grow_to = 2000\nbatch.on_unknown = \"resend\"",
    ] {
        let bed = Bed::new().await;
        bed.user_rows(1, 1500).await;
        let bed = bed.set(&format!("api.timeout = \"60s\"\n{settings}"));
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(requests(&ran), 15, "{settings}");
        assert_eq!(bed.api.requests().fetches(), 0, "{settings}");
    }
}

#[tokio::test]
async fn few_tokens_and_a_slow_api_make_no_batch_larger() {
    let bed = Bed::new().await;
    bed.user_rows(1, 250).await;
    let bed = bed.set(GROWS);
    assert_eq!(requests(&bed.migrate().await.ended_with(0).json()), 3);
    assert_eq!(bed.api.requests().fetches(), 0);

    let bed = Bed::new().await;
    bed.user_rows(1, 2000).await;
    let slow = std::time::Duration::from_millis(400);
    bed.api.set_faults(FaultRates {
        latency: Some(slow..=slow),
        ..FaultRates::default()
    });
    let bed = bed.set("batch.grow_to = 2000\napi.timeout = \"2s\"\nbatch.concurrency = 8");
    assert_eq!(requests(&bed.migrate().await.ended_with(0).json()), 20);
    assert_eq!(bed.api.requests().batch_sizes(), [100; 20]);
}

#[tokio::test]
async fn a_limit_far_below_the_configured_size_takes_few_requests() {
    for kind in KINDS {
        let bed = bed(Some(60), None, kind).await;
        bed.user_rows(1, 2000).await;
        let bed = bed.set(&format!("{GROWS}\nbatch.max_tokens = 500"));
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 2000);
        bed.assert_arrived_once().await;
        assert!(
            requests(&ran) <= 45,
            "{kind:?}: {}, {:?}",
            requests(&ran),
            bed.api.requests().batch_sizes()
        );

        // The next run knows it from the first batch on, also in a dry run.
        bed.user_rows(2001, 3200).await;
        let dry = bed
            .run(&["migrate", "--dry-run", "--json"])
            .await
            .ended_with(0)
            .json();
        let ran = bed.migrate().await.ended_with(0).json();
        assert!(
            requests(&ran) <= 22,
            "{kind:?}: {}, {:?}",
            requests(&ran),
            bed.api.requests().batch_sizes()
        );
        assert_eq!(dry["estimate"]["requests"], ran["requests"], "{kind:?}");
        assert_eq!(dry["estimate"]["at_most"], json!(false));
    }
}

#[tokio::test]
async fn a_limit_on_the_way_up_is_found_by_bisection() {
    for kind in KINDS {
        let bed = bed(Some(250), None, kind).await;
        bed.user_rows(1, 10_000).await;
        let bed = bed.set(GROWS);
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 10_000);
        bed.assert_arrived_once().await;
        // 40 at best.
        assert!(
            requests(&ran) <= 65,
            "{kind:?}: {}, {:?}",
            requests(&ran),
            bed.api.requests().batch_sizes()
        );
    }
}

#[tokio::test]
async fn a_few_large_tokens_make_no_batch_of_small_ones_small() {
    for kind in KINDS {
        for (name, large) in [("together", "id <= 20"), ("scattered", "id % 500 = 7")] {
            for growth in ["batch.grow_to = 100", GROWS] {
                let bed = bed(None, Some(200 * 1024), kind).await;
                bed.user_rows(1, 10_000).await;
                bed.sql(&format!(
                    "update legacy_tokens set access_token = access_token || repeat('x', 30000) where {large}"
                ))
                .await;
                let bed = bed.set(growth);
                let ran = bed.migrate().await.ended_with(0).json();
                assert_eq!(ran["tokens"]["committed"], 10_000);
                bed.assert_arrived_once().await;
                let most = if growth == GROWS { 70 } else { 110 };
                assert!(
                    requests(&ran) <= most,
                    "{kind:?}, {name}, {growth}: {}, {:?}",
                    requests(&ran),
                    bed.api.requests().batch_sizes()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_bad_token_that_nobody_names_makes_no_other_batch_small() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3000).await;
    bed.api.change_rules(|rules| rules.max_bytes = Some(20_000));
    bed.sql("update legacy_tokens set id_token = repeat('x', 30000) where id = 150")
        .await;
    let bed = bed.set("batch.concurrency = 1");
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(2999), &json!(1))
    );
    let sizes = bed.api.requests().batch_sizes();
    assert!(requests(&ran) <= 50, "{sizes:?}");
    assert_eq!(sizes[sizes.len() - 20..], [100; 20], "{sizes:?}");
}

#[tokio::test]
async fn named_bad_tokens_do_not_keep_batches_from_growing() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20_000).await;
    bed.api
        .set_refused_users((1..=200).map(|number| format!("user-{}", number * 100)));
    let bed = bed.set(GROWS);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&json!(19_800), &json!(200))
    );
    // 400 with batches of 100.
    assert!(requests(&ran) <= 100, "{:?}", bed.api.requests().batch_sizes());
}

/// An API that confirms every batch and stores 150 tokens of it.
#[tokio::test]
async fn an_api_that_truncates_silently_loses_nothing() {
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.truncates_to = Some(150))).await;
    bed.user_rows(1, 3000).await;
    let bed = bed.set(&format!("{GROWS}\napi.settle_grace = \"100ms\""));
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("stored only its first tokens"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["tokens"]["committed"], 3000);
    bed.assert_arrived_once().await;
    let sizes = bed.api.requests().batch_sizes();
    assert_eq!(sizes.iter().filter(|&&size| size > 150).count(), 1, "{sizes:?}");
    assert_eq!(
        bed.texts("select token_count || ' ' || state || ' ' || coalesce(error_code, '') from tokenferry.batches where error_code = 'truncated'")
            .await,
        ["200 failed truncated"]
    );
    assert_eq!(
        bed.texts("select token_count || ' ' || state from tokenferry.batches where parent_id is not null order by id limit 1")
            .await,
        ["150 committed"]
    );
    // The next run knows.
    bed.user_rows(3001, 4000).await;
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
    let sizes = bed.api.requests().batch_sizes();
    assert_eq!(sizes.iter().filter(|&&size| size > 150).count(), 1, "{sizes:?}");
}

/// Fewer than the batches had that nobody read back.
#[tokio::test]
async fn an_api_that_truncated_before_anyone_looked_ends_the_run() {
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.truncates_to = Some(70))).await;
    bed.user_rows(1, 1000).await;
    let bed = bed.set(&format!("{GROWS}\napi.settle_grace = \"100ms\""));
    let ran = bed.migrate().await.ended_with(4);
    let stopped = ran.json()["stop_reason"].as_str().unwrap().to_owned();
    assert!(stopped.contains("only their first 70 tokens"), "{stopped}");
    assert!(stopped.contains("tokenferry verify"), "{stopped}");
}

#[tokio::test]
async fn a_large_batch_whose_response_is_lost_is_settled_by_its_last_token() {
    for (fault, count) in [(Fault::CutAfterCommit, 1), (Fault::CutBeforeCommit, 0)] {
        let bed = Bed::new().await;
        bed.user_rows(1, 1000).await;
        let bed = bed.set(&format!(
            "{GROWS}\nbatch.concurrency = 1\napi.settle_grace = \"100ms\""
        ));
        // The fifth has 200 tokens or more, as two are always on their way.
        bed.api.script([
            Fault::None,
            Fault::None,
            Fault::None,
            Fault::None,
            Fault::None,
            fault,
        ]);
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 1000, "{count}");
        bed.assert_arrived_once().await;
    }
}

/// An API that stores 180 tokens of a batch. The first larger one gets no response, and goes again in two
/// parts, of which the second one is lost.
#[tokio::test]
async fn what_a_truncated_batch_left_behind_does_not_testify_for_its_parts() {
    let bed = Bed::with(Simulator::builder().rule(|rules| rules.truncates_to = Some(180))).await;
    bed.user_rows(1, 1000).await;
    let bed = bed.set(&format!(
        "{GROWS}\nbatch.concurrency = 1\napi.settle_grace = \"100ms\""
    ));
    let larger = [
        Fault::CutAfterCommit,
        Fault::Status(413),
        Fault::None,
        Fault::CutBeforeCommit,
    ];
    bed.api.script(std::iter::repeat_n(Fault::None, 5).chain(larger));
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 1000);
    let sizes = bed.api.requests().batch_sizes();
    assert!(sizes.contains(&200), "{sizes:?}");
    bed.assert_arrived().await;
}

#[tokio::test]
async fn without_the_right_to_read_batches_stop_growing_and_the_end_of_the_larger_one_is_sent_again() {
    for truncates_to in [None, Some(150)] {
        let bed = Bed::with(Simulator::builder().rule(|rules| rules.truncates_to = truncates_to)).await;
        bed.user_rows(1, 3000).await;
        bed.api.script_reads((0..20).map(|_| Fault::Status(403)));
        let bed = bed.set(&format!("{GROWS}\napi.settle_grace = \"100ms\""));
        let ran = bed.migrate().await.ended_with(0);
        let told = ran.stderr.matches("batches do not grow further").count();
        assert_eq!(told, 1, "{}", ran.stderr);
        bed.assert_arrived().await;
        let sizes = bed.api.requests().batch_sizes();
        assert_eq!(sizes.iter().filter(|&&size| size > 100).count(), 1, "{sizes:?}");
        // Those beyond the configured size, if they were stored.
        let twice = bed.api.writes().values().filter(|&&count| count > 1).count();
        assert_eq!(twice, truncates_to.map_or(100, |most| most - 100));
    }
}

#[tokio::test]
async fn tokens_that_cannot_be_read_back_are_sent_in_batches_of_the_configured_size() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1500).await;
    // A fetch would refresh them.
    bed.sql("update legacy_tokens set expires_at = now() - interval '1 day'")
        .await;
    let bed = bed.set(GROWS);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 1500);
    let sizes = bed.api.requests().batch_sizes();
    assert!(sizes.iter().all(|&size| size <= 100), "{sizes:?}");
    assert_eq!(bed.api.requests().fetches(), 0);
}

#[tokio::test]
async fn an_estimate_says_that_it_is_the_most_there_can_be() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2000).await;
    let bed = bed.set(GROWS);
    let dry = bed.run(&["migrate", "--dry-run", "--json"]).await.ended_with(0);
    assert_eq!(dry.json()["estimate"]["at_most"], json!(true));
    let text = bed.run(&["status"]).await.stdout;
    assert!(text.contains("at most 20 batches"), "{text}");
    assert!(
        text.contains("decide how long it takes. Batches grow up to"),
        "{text}"
    );
    let ran = bed.migrate().await.ended_with(0).json();
    assert!(requests(&ran) < 20, "{}", requests(&ran));
}

#[cfg(feature = "failpoints")]
mod kills {
    use super::*;

    #[tokio::test]
    async fn a_process_killed_around_the_proof_of_a_large_batch_loses_nothing() {
        for place in ["answered", "measured"] {
            let bed = Bed::new().await;
            bed.user_rows(1, 2000).await;
            let bed = bed.set(&format!(
                "{GROWS}\napi.timeout = \"4s\"\napi.settle_grace = \"100ms\""
            ));
            let nth = if place == "answered" { 6 } else { 1 };
            bed.killed_at(&["migrate", "--json"], place, nth).await;
            bed.assert_gone_on_with(2000).await;
        }
    }

    /// The part that is stored may be sent once more if no process has recorded it: then it is at its
    /// destination twice, the same each time.
    #[tokio::test]
    async fn a_process_killed_while_it_records_a_truncated_batch_loses_nothing() {
        for (place, twice) in [("measured", true), ("truncated", false)] {
            let bed = Bed::with(Simulator::builder().rule(|rules| rules.truncates_to = Some(150))).await;
            bed.user_rows(1, 2000).await;
            let bed = bed.set(&format!(
                "{GROWS}\napi.timeout = \"4s\"\napi.settle_grace = \"100ms\""
            ));
            bed.killed_at(&["migrate", "--json"], place, 1).await;
            let ran = bed.migrate().await.ended_with(0).json();
            assert_eq!(ran["tokens"]["committed"], 2000);
            bed.assert_arrived().await;
            assert_eq!(
                bed.api.writes().values().any(|&count| count > 1),
                twice,
                "{place}"
            );
        }
    }
}
