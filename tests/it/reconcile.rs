//! Reconciling: "committed" is concluded only from what cannot have been there before, and "not stored" only
//! once no request can be under way.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::sleep;

use crate::support::bed::{Bed, Ran};

/// Rows whose access tokens have expired, as most have in a system that renews them when they are needed.
async fn expired_rows(bed: &Bed, from: i64, to: i64) {
    bed.rows(from, to).await;
    bed.sql("update legacy_tokens set expires_at = now() - interval '1 day', updated_at = updated_at")
        .await;
}

/// An ordinary night: the legacy system has renewed access tokens, which have expired again, and kept the
/// refresh tokens; and there are new users.
const NIGHT: &str =
    "update legacy_tokens set access_token = 'renewed-' || id, updated_at = now() where id <= 30;
    insert into legacy_tokens (id, provider, user_id, access_token, refresh_token, expires_at)
    select n, 'google', 'user-' || n, 'access-' || n, 'refresh-' || n, now() - interval '1 hour'
    from generate_series(101, 110) n";

#[tokio::test]
async fn an_unchanged_refresh_token_proves_nothing() {
    for lines in ["", "batch.verify_refresh = true"] {
        let bed = Bed::new().await;
        expired_rows(&bed, 1, 40).await;
        bed.migrate().await.ended_with(0);
        bed.sql(NIGHT).await;
        bed.api.script(std::iter::repeat_n(
            Fault::CutBeforeCommit,
            if lines.is_empty() { 1 } else { 5 },
        ));
        let bed = bed.set(lines);
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 40, "{lines}");
        assert_eq!(bed.api.scripted(), 0);
        bed.assert_arrived().await;
    }
}

#[tokio::test]
async fn nor_does_a_value_that_stays_where_only_its_expiry_changes() {
    let bed = Bed::new().await;
    bed.rows(1, 40).await;
    bed.migrate().await.ended_with(0);
    let change = "update legacy_tokens set expires_at = expires_at + interval '1 day', updated_at = now()";
    bed.sql(change).await;
    bed.api.script([Fault::CutBeforeCommit, Fault::CutBeforeCommit]);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived().await;
    // The new expiry is what tells: nothing is sent again that arrived.
    bed.sql(change).await;
    let before = bed.api.writes();
    bed.api.script([Fault::CutAfterCommit, Fault::CutAfterCommit]);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived().await;
    for (destination, count) in bed.api.writes() {
        assert_eq!(count, before[&destination] + 1, "{destination:?}");
    }
}

/// The old token stays beside the new one, and holds the same secrets.
#[tokio::test]
async fn nor_does_the_same_value_in_a_token_with_other_scopes() {
    for (before, after) in [
        ("'calendar'", "'calendar email'"),
        ("'calendar'", "null"),
        ("null", "'calendar'"),
    ] {
        let bed = Bed::new().await;
        bed.user_rows(1, 20).await;
        bed.sql(&format!("update legacy_tokens set scope = {before}"))
            .await;
        bed.migrate().await.ended_with(0);
        bed.sql(&format!(
            "update legacy_tokens set scope = {after}, updated_at = now()"
        ))
        .await;
        bed.api.script([Fault::CutBeforeCommit]);
        bed.migrate().await.ended_with(0);
        assert_eq!(bed.api.scripted(), 0);
        // One beside the other.
        assert_eq!(bed.api.stored_count(), 40, "{before} {after}");
    }
}

#[tokio::test]
async fn where_nothing_can_tell_the_same_is_sent_again_and_that_is_said() {
    let bed = Bed::new().await;
    expired_rows(&bed, 1, 10).await;
    bed.api.script([Fault::CutAfterCommit]);
    let ran = bed.migrate().await.ended_with(0);
    assert!(
        ran.stderr.contains("nothing proves whether the batch is stored"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.api.requests().fetches(), 0, "fetching would refresh them");
    bed.assert_arrived().await;
}

#[tokio::test]
async fn one_token_that_has_not_expired_speaks_for_all_of_its_batch() {
    let bed = Bed::new().await;
    expired_rows(&bed, 1, 400).await;
    // Where the page ends, so that most batches would be without one.
    bed.sql("update legacy_tokens set expires_at = now() + interval '1 day' where id > 388")
        .await;
    bed.api.script(std::iter::repeat_n(Fault::CutAfterCommit, 5));
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_commit_after_the_timeout_is_waited_for() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let gate = Barrier::new();
    bed.api.script([Fault::HoldBeforeCommit(gate.clone())]);
    let running = bed.spawn_migrate();
    gate.reached().await;
    // The timeout is one second, and so is the grace after it.
    sleep(Duration::from_millis(1500)).await;
    gate.release();
    Ran::from(running.wait_with_output().await.unwrap()).ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn one_odd_answer_decides_nothing() {
    let odd = |status, body: &str| Fault::Answer {
        status,
        body: body.to_owned(),
        committed: false,
    };
    for answer in [
        odd(400, r#"{"errorCode":"E011001","errorDescription":"bad request"}"#),
        odd(403, "<html>blocked</html>"),
        odd(403, r#"{"message":"Forbidden"}"#),
        odd(404, "<html>not found</html>"),
        odd(404, ""),
        odd(200, "{}"),
        odd(200, r#"{"message":"Forbidden"}"#),
        odd(200, r#"{"token":{}}"#),
        odd(200, "<html>"),
        odd(302, ""),
        odd(500, ""),
    ] {
        let name = format!("{answer:?}");
        let bed = Bed::new().await;
        bed.user_rows(1, 20).await;
        bed.api.script([Fault::CutAfterCommit]);
        bed.api.script_reads([answer]);
        bed.migrate().await.ended_with(0);
        assert_eq!(bed.api.scripted(), 0, "{name}");
        for (destination, count) in bed.api.writes() {
            assert_eq!(count, 1, "{destination:?} {name}");
        }
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_witness_that_was_deleted_meanwhile_does_not_speak_for_the_others() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let gate = Barrier::new();
    bed.api.script([Fault::StatusAfterCommit(502)]);
    bed.api.script_reads([Fault::Hold(gate.clone())]);
    let running = bed.spawn_migrate();
    gate.reached().await;
    let first = bed.api.requests().fetches();
    assert_eq!(first, 1);
    bed.api
        .alter_stored(|tokens| tokens.retain(|token| token.destination.user_id.as_deref() != Some("user-1")));
    gate.release();
    Ran::from(running.wait_with_output().await.unwrap()).ended_with(0);
    assert!(bed.api.writes().values().all(|&count| count == 1));
}

#[tokio::test]
async fn an_api_that_never_lets_tokens_be_read_back_gets_them_again_after_the_grace() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.api.script([Fault::CutAfterCommit]);
    let denied = Fault::Answer {
        status: 403,
        body: r#"{"errorCode":"E061004","errorDescription":"not permitted"}"#.to_owned(),
        committed: false,
    };
    bed.api.script_reads(std::iter::repeat_n(denied, 50));
    let ran = bed.migrate().await.ended_with(0);
    assert!(ran.stderr.contains("reading back denied"), "{}", ran.stderr);
    bed.assert_arrived().await;
}

#[cfg(feature = "failpoints")]
mod paused_and_killed {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::*;

    #[tokio::test]
    async fn a_process_that_was_stopped_sends_nothing_that_another_has_sent_meanwhile() {
        for place in ["intent", "departing"] {
            let bed = Bed::new().await;
            bed.user_rows(1, 100).await;
            let paused = bed.paused_at(place, 1).await;
            bed.end_sessions().await;
            let ran = bed.migrate().await.ended_with(0).json();
            assert_eq!(ran["tokens"]["committed"], 100, "{place}");
            kill(Pid::from_raw(paused.id().unwrap().cast_signed()), Signal::SIGCONT).unwrap();
            let ended = Ran::from(paused.wait_with_output().await.unwrap());
            assert_ne!(ended.code, 0, "{place}: {}", ended.stderr);
            bed.assert_arrived_once().await;
            bed.migrate().await.ended_with(0);
            bed.assert_arrived_once().await;
        }
    }

    #[tokio::test]
    async fn a_process_that_was_stopped_and_still_has_the_run_goes_on() {
        for place in ["intent", "departing", "sent", "answered"] {
            let bed = Bed::new().await;
            bed.user_rows(1, 100).await;
            let paused = bed.paused_at(place, 1).await;
            sleep(Duration::from_secs(3)).await;
            kill(Pid::from_raw(paused.id().unwrap().cast_signed()), Signal::SIGCONT).unwrap();
            Ran::from(paused.wait_with_output().await.unwrap()).ended_with(0);
            bed.assert_arrived_once().await;
        }
    }

    #[tokio::test]
    async fn a_killed_process_leaves_nothing_that_is_taken_for_sent() {
        let bed = Bed::new().await;
        expired_rows(&bed, 1, 40).await;
        bed.migrate().await.ended_with(0);
        bed.sql(NIGHT).await;
        bed.killed_at(&["migrate", "--json"], "intent", 1).await;
        bed.migrate().await.ended_with(0);
        bed.assert_arrived().await;
    }

    #[tokio::test]
    async fn what_may_be_stored_already_is_no_witness_for_what_is_sent_with_it() {
        let bed = Bed::new().await;
        bed.user_rows(1, 10).await;
        bed.killed_at(&["migrate", "--json"], "sent", 1).await;
        assert_eq!(bed.api.stored_count(), 10);
        // Nobody can tell of these, and the next batch holds more.
        let denied = Fault::Answer {
            status: 403,
            body: String::new(),
            committed: false,
        };
        bed.api.script_reads(std::iter::repeat_n(denied, 6));
        bed.sql(
            "insert into legacy_tokens (id, provider, user_id, access_token, expires_at)
             select n, 'google', 'user-' || n, 'access-' || n, now() + interval '1 hour' from generate_series(11, 20) n",
        )
        .await;
        bed.api.script([Fault::CutBeforeCommit]);
        bed.migrate().await.ended_with(0);
        assert_eq!(bed.api.scripted(), 0);
        bed.assert_arrived().await;
    }

    #[tokio::test]
    async fn a_row_that_was_changed_back_is_not_unchanged_while_nobody_knows_what_is_stored() {
        let bed = Bed::new().await;
        bed.user_rows(1, 10).await;
        bed.migrate().await.ended_with(0);
        bed.sql("update legacy_tokens set access_token = 'other-' || id, updated_at = now()")
            .await;
        bed.killed_at(&["migrate", "--json"], "sent", 1).await;
        bed.sql(&format!(
            "update legacy_tokens set access_token = '{}-access-' || id, updated_at = now()",
            crate::support::bed::TOKEN
        ))
        .await;
        let denied = Fault::Answer {
            status: 403,
            body: String::new(),
            committed: false,
        };
        bed.api.script_reads(std::iter::repeat_n(denied, 6));
        bed.migrate().await.ended_with(0);
        bed.assert_arrived().await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["unchanged"], 10);
    }

    /// The tokens expire between the two processes: fetching them would refresh them, and sending them again
    /// changes nothing.
    #[tokio::test]
    async fn tokens_that_expired_since_are_not_fetched_to_find_out_about_them() {
        let bed = Bed::new().await;
        bed.rows(1, 10).await;
        bed.sql("update legacy_tokens set expires_at = now() + interval '4 seconds'")
            .await;
        let bed = bed.set("api.refresh_margin = \"1s\"");
        bed.killed_at(&["migrate", "--json"], "sent", 1).await;
        sleep(Duration::from_secs(4)).await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], json!(10));
        assert_eq!(bed.api.requests().fetches(), 0);
        bed.assert_arrived().await;
    }
}
