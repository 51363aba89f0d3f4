//! Rows that share a destination: which of them are left out, and that nobody has to find that out alone.

use serde_json::{Value, json};

use crate::support::bed::Bed;

/// The rows that a listing names, each with what it is left out for.
async fn superseded(bed: &Bed, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["failures", "--superseded", "--format", "json"];
    all.extend(arguments);
    let listed = bed.run(&all).await.ended_with(0).json();
    let mut listed: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            assert_eq!(row["severity"], "superseded");
            assert!(!text("reason").is_empty());
            format!(
                "{} {} {}",
                text("source_key"),
                text("error_code"),
                text("superseded_by")
            )
        })
        .collect();
    listed.sort();
    listed
}

/// Twenty rows, of which 2 and 15 are older ones for the destinations of 3 and 4.
async fn bed_with_two_older_rows() -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql(
        "update legacy_tokens set user_id = 'user-3', updated_at = now() - interval '1 day' where id = 2;
         update legacy_tokens set user_id = 'user-4', updated_at = now() - interval '1 day' where id = 15",
    )
    .await;
    bed
}

#[tokio::test]
async fn rows_that_differ_in_scopes_alone_all_go_up_wherever_they_stand() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1200).await;
    bed.sql(
        "update legacy_tokens set scope = 'mail';
         update legacy_tokens set user_id = 'user-2', scope = 'calendar', updated_at = now() - interval '1 day' where id = 1;
         update legacy_tokens set user_id = 'user-3', scope = null, updated_at = now() - interval '1 day' where id = 1100;
         -- The same set in another order and form: this one is left out.
         update legacy_tokens set scope = 'b a' where id = 4;
         update legacy_tokens set user_id = 'user-4', scope = 'a,b', updated_at = now() - interval '1 day' where id = 1150",
    )
    .await;
    for _ in ["first", "again"] {
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["superseded"], 1);
    }
    bed.assert_arrived_once().await;
    assert_eq!(superseded(&bed, &[]).await, ["1150 newer_row 4"]);
}

#[tokio::test]
async fn rows_that_are_left_out_are_listed_and_counted_and_no_summary_says_that_all_has_arrived() {
    let bed = bed_with_two_older_rows().await;
    bed.migrate().await.ended_with(0);
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(!text.contains("every token has arrived\n"), "{text}");
    assert!(
        text.contains("2 × superseded newer_row: row ") && text.contains("external_identifier"),
        "{text}"
    );
    let listed = ["15 newer_row 4", "2 newer_row 3"];
    assert_eq!(superseded(&bed, &[]).await, listed);
    assert_eq!(superseded(&bed, &["--run", "1"]).await, listed);
    assert_eq!(
        bed.run(&["status", "--json"]).await.ended_with(0).json()["superseded_by_code"],
        json!({"newer_row": 2})
    );
    let table = bed.run(&["failures", "--superseded"]).await.ended_with(0).stdout;
    assert!(
        table.contains("2 × superseded newer_row: 2 google") && table.contains("select"),
        "{table}"
    );
    // Failures are another list.
    let failures = bed
        .run(&["failures", "--format", "json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(failures, json!([]));
    let page = bed.run(&["report", "--output", "-"]).await.ended_with(0).stdout;
    assert!(page.contains("newer_row") && page.contains("failures --run 1 --superseded"));
}

#[tokio::test]
async fn a_dry_run_names_the_same_rows_and_what_would_make_them_destinations_of_their_own() {
    let bed = bed_with_two_older_rows().await;
    let dry = bed.run(&["migrate", "--dry-run", "--json"]).await.ended_with(0);
    let dry = dry.json();
    assert_eq!(dry["superseded_by_code"], json!({"newer_row": 2}));
    let run = dry["run_id"].to_string();
    assert_eq!(
        superseded(&bed, &["--run", &run]).await,
        ["15 newer_row 4", "2 newer_row 3"]
    );
    let text = bed.run(&["status", "--run", &run]).await.ended_with(0).stdout;
    assert!(text.contains("map `external_identifier`"), "{text}");
    assert!(!text.contains("no problem found\n"), "{text}");
    // With it, they are.
    bed.sql("update legacy_tokens set external_id = 'account-' || id where id in (2, 15)")
        .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["superseded"], 0);
    assert_eq!(ran["superseded_by_code"], Value::Object(serde_json::Map::new()));
    bed.assert_arrived_once().await;
    assert_eq!(superseded(&bed, &[]).await, [""; 0]);
}

#[tokio::test]
async fn a_stored_row_that_is_superseded_later_is_listed_as_long_as_it_is() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    assert_eq!(superseded(&bed, &[]).await, [""; 0]);
    // Row 21 is newer than row 5, and row 22 fails beside row 6, whose token stays.
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         values (21, 'google', 'user-5', 'another-token-of-user-5', now() + interval '1 minute'),
                (22, 'google', 'user-6', null, now() + interval '1 minute')",
    )
    .await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["superseded_by_code"], json!({"newer_row": 2}));
    let run = ran["run_id"].to_string();
    assert_eq!(
        superseded(&bed, &["--run", &run]).await,
        ["5 newer_row 21", "6 newer_row 22"]
    );
    bed.sql("delete from legacy_tokens where id in (21, 22)").await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["superseded"], 0);
    assert_eq!(superseded(&bed, &[]).await, [""; 0]);
}

/// Whatever the database says of their order, one of two rows for a destination is the newer.
#[tokio::test]
async fn two_rows_never_give_way_to_each_other() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2).await;
    bed.sql(
        "alter table legacy_tokens alter updated_at drop default, alter updated_at type numeric(20, 0) using 1760000000000000 + id;
         update legacy_tokens set user_id = 'user-1'",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["superseded"]),
        (&json!(1), &json!(1))
    );
    bed.sql("update legacy_tokens set access_token = 'the-newest-of-user-1', updated_at = 1770000000000001 where id = 1")
        .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 1);
    assert_eq!(
        bed.api.stored()[0].exposed_access_token(),
        Some("the-newest-of-user-1")
    );
    assert_eq!(superseded(&bed, &[]).await, ["2 newer_row 1"]);
}

/// The row whose token is there has been set back, and another row is newer than it says now.
#[tokio::test]
async fn a_row_that_was_set_back_and_keeps_another_from_its_place_is_warned_of() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5).await;
    bed.migrate().await.ended_with(0);
    bed.sql(
        "update legacy_tokens set updated_at = now() - interval '9 days' where id = 5;
         insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         values (9, 'google', 'user-5', 'another-token', now() - interval '1 day')",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["warnings_by_code"], json!({"older_version": 1}));
    assert_eq!(
        ran["superseded_by_code"],
        json!({"newer_row": 1, "older_version": 1})
    );
    let ran = bed
        .run(&["migrate", "--allow-older", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["tokens"]["committed"], 1);
    bed.assert_arrived().await;
}

#[tokio::test]
async fn a_run_over_failed_rows_says_nothing_of_the_others() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    bed.sql("update legacy_tokens set access_token = null where id = 2")
        .await;
    bed.migrate().await.ended_with(3);
    bed.user_rows(4, 4).await;
    bed.sql("update legacy_tokens set access_token = 'fixed-token-of-2' where id = 2")
        .await;
    bed.run(&["migrate", "--only-failed", "--json"])
        .await
        .ended_with(0);
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(
        !text.contains("every token has arrived") && text.contains("no other rows were read"),
        "{text}"
    );
}
