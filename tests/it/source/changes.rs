//! A source that changes while it is read: what is missing then, or is something else, is said.

use crate::support::bed::{Bed, Ran, ended};

/// Slow enough to do something meanwhile.
const SLOW: &str =
    "api.rate_limit.requests = 20\napi.rate_limit.per = \"1s\"\nbatch.max_tokens = 50\nsource.page_size = 50";

/// A run of 1,200 rows, meanwhile this happens.
async fn meanwhile(bed: &Bed, sql: &str) -> Ran {
    bed.user_rows(1, 1200).await;
    let child = bed.spawn_migrate();
    bed.arrived(150).await;
    bed.sql(sql).await;
    ended(child.wait_with_output()).await
}

#[tokio::test]
async fn rows_that_are_gone_before_they_were_read_are_missed() {
    let bed = Bed::new().await.set(SLOW);
    let ran = meanwhile(&bed, "delete from legacy_tokens where id > 600")
        .await
        .ended_with(0);
    let said = "the source had 1200 rows at the start, but only 600 could be read";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["status"], "completed");
    assert_eq!(report["rows_expected"], 1200);
    assert!(
        report["stop_reason"].as_str().unwrap().starts_with(said),
        "{report}"
    );
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(
        text.contains("completed, but rows seem to be missing") && !text.contains("every token has arrived"),
        "{text}"
    );
    // Whole again, the rest goes up, and all is well.
    bed.user_rows(601, 1200).await;
    let report = bed.migrate().await.ended_with(0).json();
    assert_eq!(report["tokens"]["committed"], 600);
    assert!(report.get("stop_reason").is_none(), "{report}");
}

#[tokio::test]
async fn a_source_that_is_half_of_what_it_was_is_told_until_it_has_been_so_for_long() {
    let bed = Bed::new().await;
    bed.user_rows(1, 100).await;
    bed.migrate().await.ended_with(0);
    bed.sql("delete from legacy_tokens where id > 30").await;
    for _ in 0..2 {
        let report = bed.migrate().await.ended_with(0).json();
        let reason = report["stop_reason"].as_str().unwrap_or_default();
        assert!(
            reason.starts_with("an earlier complete run read 100 rows, but this one found 30"),
            "{report}"
        );
    }
    // However long nobody has run it, the first run that finds so few is not the measure of the next.
    bed.sql("update tokenferry.runs set finished_at = finished_at - interval '31 days' where id = 1")
        .await;
    bed.migrate().await.ended_with(0);
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(
        text.contains("completed, but rows seem to be missing") && !text.contains("every token has arrived"),
        "{text}"
    );
    bed.sql("update tokenferry.runs set finished_at = finished_at - interval '31 days'")
        .await;
    let report = bed.migrate().await.ended_with(0).json();
    assert!(report.get("stop_reason").is_none(), "{report}");
}

#[tokio::test]
async fn a_source_that_is_empty_is_told_however_few_rows_it_had() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    bed.migrate().await.ended_with(0);
    bed.sql("truncate legacy_tokens").await;
    for _ in 0..2 {
        let report = bed.migrate().await.ended_with(0).json();
        let reason = report["stop_reason"].as_str().unwrap_or_default();
        assert!(
            reason.starts_with("an earlier complete run read 3 rows, but this one found 0"),
            "{report}"
        );
    }
}

#[tokio::test]
async fn a_column_of_another_type_ends_the_run_and_fails_no_row() {
    for sql in [
        "alter table legacy_tokens alter expires_at type text",
        "alter table legacy_tokens alter expires_at type timestamp",
        "alter table legacy_tokens alter access_token type varchar(100)",
    ] {
        let bed = Bed::new().await.set(SLOW);
        let ran = meanwhile(&bed, sql).await.ended_with(2);
        let field = if sql.contains("expires_at") {
            "`source.columns.access_token_expiry` was timestamp with time zone and is "
        } else {
            "`source.columns.access_token` was text and is character varying"
        };
        assert!(ran.stderr.contains(field), "{}", ran.stderr);
        let report = ran.json();
        assert_eq!(report["status"], "interrupted");
        assert_eq!(report["tokens"]["failed"], 0);
    }
    let bed = Bed::new().await.set(SLOW);
    let ran = meanwhile(&bed, "alter table legacy_tokens rename scope to scopes")
        .await
        .ended_with(2);
    assert!(
        ran.stderr.contains("the source has changed since it was opened"),
        "{}",
        ran.stderr
    );
}
