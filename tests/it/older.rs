//! An older token never goes over a newer one: not from another row, nor from an earlier version of its own,
//! whatever changes while a run lasts or before it is gone on with.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};
use tokio::time::timeout;

use crate::support::bed::{Bed, Ran, ended};

/// Rows 1 to 400, stored by an earlier run. Row 399 is an older one for the destination of row 400, and many
/// rows before them have changed, so that a run is not there yet when its first request is held.
async fn bed_with_an_older_row() -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 400).await;
    bed.sql(
        "update legacy_tokens set user_id = 'user-400', updated_at = now() - interval '2 days' where id = 399",
    )
    .await;
    let bed =
        bed.set("source.page_size = 10\nbatch.max_tokens = 5\nbatch.concurrency = 1\napi.timeout = \"60s\"");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["superseded"], 1);
    bed.sql(
        "update legacy_tokens set access_token = access_token || '-renewed', updated_at = now() where id <= 200",
    )
    .await;
    bed
}

/// Touched after the source was asked which rows are outdated: older still than row 400.
const TOUCH: &str = "update legacy_tokens set access_token = access_token || '-touched', updated_at = now() - interval '1 day'
                     where id = 399";

/// The same, and the newest by now.
const RENEW: &str = "update legacy_tokens set access_token = access_token || '-touched', updated_at = now() + interval '1 day'
                     where id = 399";

/// A run during which this happens, once it has sent its first request.
async fn while_it_runs(bed: &Bed, sql: &str) -> Ran {
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    bed.sql(sql).await;
    gate.release();
    ended(child.wait_with_output()).await
}

/// The token of user 400 at the API.
fn held(bed: &Bed) -> String {
    let stored = bed.api.stored();
    let token = stored
        .iter()
        .find(|token| token.destination.user_id.as_deref() == Some("user-400"));
    token.unwrap().exposed_access_token().unwrap().to_owned()
}

async fn token_of_row(bed: &Bed, row: i64) -> String {
    let sql = format!("select access_token from legacy_tokens where id = {row}");
    bed.texts(&sql).await.remove(0)
}

#[tokio::test]
async fn an_older_row_that_is_touched_during_a_run_does_not_go_over_the_newer_one() {
    let bed = bed_with_an_older_row().await;
    let ran = while_it_runs(&bed, TOUCH).await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["superseded"]),
        (&json!(200), &json!(1))
    );
    assert_eq!(held(&bed), token_of_row(&bed, 400).await);
    bed.assert_arrived().await;
}

#[tokio::test]
async fn an_older_row_that_becomes_the_newest_during_a_run_goes_up() {
    let bed = bed_with_an_older_row().await;
    let ran = while_it_runs(&bed, RENEW).await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["superseded"]),
        (&json!(201), &json!(1))
    );
    assert_eq!(held(&bed), token_of_row(&bed, 399).await);
    bed.assert_arrived().await;
    let states = "select source_key || ' ' || state from tokenferry.tokens where source_key in ('399', '400') order by 1";
    assert_eq!(bed.texts(states).await, ["399 committed", "400 superseded"]);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_happens_to_an_older_row_before_a_killed_run_goes_on_is_seen() {
    for (sql, row, committed) in [(TOUCH, 400, 200), (RENEW, 399, 201)] {
        let bed = bed_with_an_older_row().await;
        let _ = bed.killed_at(&["migrate"], "committed", 10).await;
        bed.sql(sql).await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(
            (
                &ran["resumed"],
                &ran["tokens"]["committed"],
                &ran["tokens"]["superseded"]
            ),
            (&json!(true), &json!(committed), &json!(1)),
            "{sql}"
        );
        assert_eq!(held(&bed), token_of_row(&bed, row).await, "{sql}");
        bed.assert_arrived().await;
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn an_older_row_goes_up_when_the_newer_one_is_gone_before_a_killed_run_goes_on() {
    for stored in [true, false] {
        let bed = Bed::new().await;
        bed.user_rows(1, 400).await;
        bed.sql("update legacy_tokens set updated_at = now() + interval '1 day' where id = 400")
            .await;
        let bed = bed.set("source.page_size = 10\nbatch.max_tokens = 5\nbatch.concurrency = 1");
        if stored {
            bed.migrate().await.ended_with(0);
            bed.sql("update legacy_tokens set access_token = access_token || '-renewed', updated_at = now() where id <= 200")
                .await;
        }
        bed.sql(
            "update legacy_tokens set user_id = 'user-400', access_token = 'older', updated_at = now() where id = 399",
        )
        .await;
        let _ = bed.killed_at(&["migrate"], "committed", 10).await;
        bed.sql("delete from legacy_tokens where id = 400").await;
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(
            (&ran["resumed"], &ran["tokens"]["superseded"]),
            (&json!(true), &json!(0)),
            "{stored}"
        );
        assert_eq!(held(&bed), "older", "{stored}");
    }
}

#[tokio::test]
async fn a_failed_older_row_goes_up_once_the_newer_one_is_gone_elsewhere_or_older_than_it() {
    for (sql, allowed) in [
        ("delete from legacy_tokens where id = 2", false),
        ("update legacy_tokens set user_id = 'user-99' where id = 2", false),
        (
            "update legacy_tokens set updated_at = now() - interval '9 days' where id = 2",
            true,
        ),
    ] {
        let bed = Bed::new().await;
        bed.user_rows(1, 20).await;
        bed.sql(
            "update legacy_tokens set user_id = 'user-2', provider = null, updated_at = now() - interval '1 day' where id = 1",
        )
        .await;
        bed.migrate().await.ended_with(3);
        bed.move_to_rows().await;
        bed.sql("update legacy_tokens set provider = 'google' where id = 1")
            .await;
        // The newer one is there.
        let only_failed = ["migrate", "--only-failed", "--json", "--allow-older"];
        let ran = bed.run(&only_failed).await.ended_with(0).json();
        assert_eq!(ran["tokens"]["superseded"], 1, "{sql}");
        bed.sql("update tokenferry.token_rows set state = 'failed', error_code = 'x', reason = 'x', refused_by = 'api' where source_key = '1'")
            .await;
        bed.sql(sql).await;
        let without = bed.run(&only_failed[..3]).await.ended_with(0).json();
        if allowed {
            assert_eq!(without["tokens"]["superseded"], 1, "{sql}");
            bed.sql("update tokenferry.token_rows set state = 'failed', error_code = 'x', reason = 'x', refused_by = 'api' where source_key = '1'")
                .await;
            let with = bed.run(&only_failed).await.ended_with(0).json();
            assert_eq!(with["tokens"]["committed"], 1, "{sql}");
        } else {
            assert_eq!(without["tokens"]["committed"], 1, "{sql}");
        }
        let states = "select source_key || ' ' || state from tokenferry.tokens where source_key in ('1', '2') order by 1";
        assert_eq!(bed.texts(states).await, ["1 committed", "2 superseded"], "{sql}");
    }
}

#[tokio::test]
async fn an_older_version_of_a_row_does_not_go_over_the_newer_one_unless_that_is_asked_for() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    // As in a database that was restored from a backup.
    bed.sql(
        "update legacy_tokens set access_token = 'dead', updated_at = updated_at - interval '1 day' where id in (5, 6);
         update legacy_tokens set access_token = 'newer', updated_at = updated_at + interval '1 day' where id = 7;
         update legacy_tokens set access_token = 'as-old' where id = 8",
    )
    .await;
    let before = bed
        .texts("select t::text from tokenferry.tokens t where source_key = '5'")
        .await;
    let books = json!({"selected": 20, "committed": 2, "failed": 0, "superseded": 2, "unchanged": 16});
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(dry["tokens"], books);
    let ran = bed.migrate().await.ended_with(0);
    assert!(ran.stderr.contains("--allow-older"), "{}", ran.stderr);
    let ran = ran.json();
    assert_eq!(ran["tokens"], books);
    for of in [&dry, &ran] {
        assert_eq!(of["warnings_by_code"], json!({"older_version": 2}));
    }
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(text.contains("2 × warning older_version"), "{text}");
    let token = |user: &str| {
        let stored = bed.api.stored();
        let token = stored
            .iter()
            .find(|token| token.destination.user_id.as_deref() == Some(user));
        token.unwrap().exposed_access_token().unwrap().to_owned()
    };
    assert!(token("user-5").ends_with("-access-5"));
    assert_eq!(
        (token("user-7"), token("user-8")),
        ("newer".into(), "as-old".into())
    );
    // What was sent stays what the ledger says of it.
    let kept = "select concat_ws(' ', state, run_id, batch_id, fingerprint, source_version)
                from tokenferry.tokens where source_key = '5'";
    assert!(before[0].contains("committed"));
    let kept_before = bed.texts(kept).await;
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&again["requests"], &again["tokens"]["superseded"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(bed.texts(kept).await, kept_before);

    let allowed = bed
        .run(&["migrate", "--allow-older", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&allowed["tokens"]["committed"], &allowed["tokens"]["superseded"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(token("user-5"), "dead");
    bed.assert_arrived().await;
}
