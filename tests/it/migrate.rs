//! The main job, seen from outside: the real program between a real Postgres and the stand-in API.

use serde_json::json;
use tokenferry::simulator::{Barrier, Destination, Fault};

use crate::support::bed::{Bed, TOKEN, ended};

#[tokio::test]
async fn five_thousand_rows_are_fifty_requests_then_none_then_only_what_changed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 5000).await;

    let first = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        first["tokens"],
        json!({"selected": 5000, "committed": 5000, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    assert_eq!(first["requests"], 50);
    assert_eq!(bed.api.requests().batch_sizes(), vec![100; 50]);
    bed.assert_arrived_once().await;

    let second = bed.migrate().await.ended_with(0).json();
    assert_eq!(second["requests"], 0);
    assert_eq!(second["tokens"]["unchanged"], 5000);
    assert_eq!(bed.api.requests().all().len(), 50);

    bed.sql("update legacy_tokens set access_token = access_token || '-new' where id in (7, 4321)")
        .await;
    bed.user_rows(5001, 5001).await;
    let third = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        third["tokens"],
        json!({"selected": 5001, "committed": 3, "failed": 0, "superseded": 0, "unchanged": 4998})
    );
    assert_eq!(bed.api.requests().batch_sizes().last(), Some(&3));
    bed.assert_arrived().await;
}

#[tokio::test]
async fn the_json_has_the_keys_that_scripts_rely_on_and_stdout_holds_nothing_else() {
    let bed = Bed::new().await;
    bed.rows(1, 30).await;
    let ran = bed.migrate().await.ended_with(0);
    assert_eq!(ran.stdout.lines().count(), 1);
    let json = ran.json();
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "batches",
            "duration_s",
            "failures_by_code",
            "lookups",
            "migration",
            "mode",
            "rate_limited",
            "requests",
            "resumed",
            "retries",
            "rows_expected",
            "run_id",
            "status",
            "superseded_by_code",
            "tokens",
            "warnings_by_code"
        ]
    );
    assert_eq!(json["mode"], "migrate");
    assert_eq!(json["status"], "completed");
    assert_eq!(json["resumed"], false);
    assert_eq!(json["batches"], json!({"committed": 2, "failed": 0}));

    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    for key in keys {
        assert_eq!(status[key], json[key], "{key}");
    }
    assert!(status["started_at"].is_string() && status["finished_at"].is_string());
}

#[tokio::test]
async fn users_and_tenants_go_to_their_own_endpoints_with_every_field() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    bed.sql(
        "update legacy_tokens set external_id = 'ext', id_token = 'idt', tenant_id = 'acme' where id = 3;
         update legacy_tokens set access_token = null where id = 4;
         update legacy_tokens set refresh_token = null, expires_at = null, scope = null, token_type = '' where id = 5",
    )
    .await;
    bed.migrate().await.ended_with(0);
    let requests = bed.api.requests();
    assert_eq!(requests.to("/user/oauthtoken/batch/upload"), 1);
    assert_eq!(requests.to("/tenant/oauthtoken/batch/upload"), 1);
    bed.assert_arrived_once().await;
    let full = Destination::user("google", "user-3")
        .in_tenant("acme")
        .identified_by("ext");
    let stored = bed.api.latest(&full).unwrap();
    assert_eq!(stored.exposed_id_token(), Some("idt"));
    assert_eq!(stored.scopes, ["calendar", "email"]);
    assert_eq!(stored.access_token_type.as_deref(), Some("Bearer"));
    assert_eq!(stored.granted_by.as_deref(), Some("admin"));
    let bare = bed.api.latest(&Destination::user("google", "user-5")).unwrap();
    assert_eq!(
        (
            bare.access_token_expiry,
            bare.scopes.len(),
            bare.access_token_type
        ),
        (0, 0, None)
    );
}

#[tokio::test]
async fn the_ledger_tells_what_became_of_each() {
    let bed = Bed::new().await;
    bed.rows(1, 250).await;
    bed.sql("update legacy_tokens set access_token = null, refresh_token = null where id = 17")
        .await;
    bed.api.set_refused_users(["user-42"]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["status"], "completed_with_failures");
    assert_eq!(ran["failures_by_code"], json!({"no_token": 1, "E112102": 1}));

    assert_eq!(
        bed.number("select count(*) from tokenferry.tokens where state = 'committed'")
            .await,
        248
    );
    let failed = bed
        .texts(
            "select source_key || ' ' || refused_by || ' ' || error_code || ' ' || app_id || ' ' || user_id
             from tokenferry.tokens where state = 'failed' order by source_key",
        )
        .await;
    assert_eq!(
        failed,
        [
            "17 validation no_token google user-17",
            "42 api E112102 google user-42"
        ]
    );
    let books = bed
        .texts(
            "select concat_ws(' ', mode, status, tokens_selected, tokens_committed, tokens_failed, tokens_superseded,
                    tokens_unchanged, requests) from tokenferry.runs",
        )
        .await;
    assert_eq!(books, ["migrate completed_with_failures 250 248 2 0 0 5"]);
    let batches = bed
        .texts(
            "select concat_ws(' ', subject, state, token_count, attempts, http_status, error_code) from tokenferry.batches
             order by subject, state, token_count",
        )
        .await;
    assert_eq!(
        batches,
        [
            "tenant committed 25 1 200",
            "user committed 24 1 200",
            "user committed 99 1 200",
            "user committed 100 1 200",
            "user failed 100 1 200 E112102"
        ]
    );
    assert_eq!(
        bed.number("select count(*) from tokenferry.tokens where state = 'committed' and batch_id is null")
            .await,
        0
    );
}

#[tokio::test]
async fn failures_come_as_table_csv_and_json_and_into_a_file() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set provider = 'a \"quoted\", name' where id = 3")
        .await;
    bed.api.set_refused_users(["user-5"]);
    let bed = bed.set("apps.google = \"google\"");
    bed.migrate().await.ended_with(3);

    let csv = bed
        .run(&["failures", "--format", "csv"])
        .await
        .ended_with(0)
        .stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "source_key,app_id,user_id,tenant_id,refused_by,error_code,reason,attempts,first_seen_at,last_seen_at,severity,superseded_by,acknowledged_at,acknowledgement"
    );
    assert!(lines[1].starts_with("5,google,user-5,,api,E112102,"), "{csv}");
    assert!(
        lines[2].starts_with("3,\"a \"\"quoted\"\", name\",,,validation,app_not_mapped,"),
        "{csv}"
    );

    let json = bed
        .run(&["failures", "--format", "json", "--run", "1"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["source_key"], "5");
    assert!(json[0]["tenant_id"].is_null());

    let file = bed.config().with_file_name("failures.csv");
    let ran = bed
        .run(&["failures", "--format", "csv", "--output", file.to_str().unwrap()])
        .await
        .ended_with(0);
    assert_eq!(
        (ran.stdout.as_str(), std::fs::read_to_string(&file).unwrap()),
        ("", csv)
    );

    assert!(
        bed.run(&["failures"])
            .await
            .ended_with(0)
            .stdout
            .contains("app_not_mapped")
    );
    bed.run(&["failures", "--run", "99"]).await.ended_with(2);
}

#[tokio::test]
async fn a_fixed_row_goes_up_with_the_next_run_and_leaves_the_list() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    bed.api.set_refused_users(["user-5"]);
    bed.migrate().await.ended_with(3);
    bed.migrate().await.ended_with(3);
    assert_eq!(
        bed.number("select attempts::bigint from tokenferry.tokens where source_key = '5'")
            .await,
        2
    );
    bed.api.set_refused_users(Vec::<String>::new());
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 1);
    assert_eq!(
        bed.run(&["failures", "--format", "json"])
            .await
            .ended_with(0)
            .json(),
        json!([])
    );
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn of_two_rows_for_one_destination_only_the_newer_goes_up_in_whatever_order_they_are_read() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1200).await;
    // In one page; far apart with the newer first; far apart with the newer last.
    bed.sql(
        "update legacy_tokens set user_id = 'user-2', updated_at = now() - interval '1 day' where id = 1;
         update legacy_tokens set user_id = 'user-3', updated_at = now() - interval '1 day' where id = 1100;
         update legacy_tokens set updated_at = now() - interval '1 day' where id = 4;
         update legacy_tokens set user_id = 'user-4' where id = 1150",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 1200, "committed": 1197, "failed": 0, "superseded": 3, "unchanged": 0})
    );
    bed.assert_arrived_once().await;
    let superseded = bed
        .texts("select source_key from tokenferry.tokens where state = 'superseded' order by source_key::int")
        .await;
    assert_eq!(superseded, ["1", "4", "1100"]);
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(again["requests"], 0);
    assert_eq!(
        (&again["tokens"]["superseded"], &again["tokens"]["unchanged"]),
        (&json!(3), &json!(1197))
    );
}

#[tokio::test]
async fn no_token_and_no_key_appears_anywhere() {
    let bed = Bed::new().await;
    bed.rows(1, 120).await;
    bed.api.set_refused_users(["user-11"]);
    // One after the other: the answer below is meant for the batch that holds the row it names.
    let bed = bed.set("batch.concurrency = 1");
    // The API repeats a token in its own words.
    let reason = format!("token {TOKEN}-access-12 of the batch is bad ({TOKEN}-refr…)");
    let body =
        json!({"failures": [{"appId": "google", "userId": "user-12", "errorCode": "E1", "reason": reason}]});
    bed.api.script([tokenferry::simulator::Fault::Answer {
        status: 200,
        body: body.to_string(),
        committed: false,
    }]);
    let migrate = bed.migrate().await.ended_with(3);
    let failures = bed.run(&["failures", "-vv"]).await.ended_with(0);
    let status = bed.run(&["status", "-vv"]).await.ended_with(0);
    let key = bed.api.management_key().reveal().to_owned();
    for printed in [&migrate, &failures, &status] {
        for secret in [TOKEN, "refr…", key.as_str()] {
            assert!(!printed.stdout.contains(secret), "{secret} in {}", printed.stdout);
            assert!(!printed.stderr.contains(secret), "{secret} in {}", printed.stderr);
        }
    }
    let ledger = bed.ledger_dump().await;
    assert!(
        ledger.contains("user-11") && ledger.contains("E112102"),
        "the dump is of the ledger"
    );
    let hex = TOKEN
        .bytes()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    for secret in [TOKEN, &hex, &key] {
        assert!(!ledger.contains(secret), "{secret} in the ledger");
    }
}

#[tokio::test]
async fn two_migrations_share_a_ledger_and_an_empty_table_is_no_failure() {
    let bed = Bed::new().await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(1, 10).await;
    bed.migrate().await.ended_with(0);
    let bed = bed.set("migration = \"another\"");
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 10);
    assert_eq!(
        bed.number("select count(distinct migration) from tokenferry.tokens")
            .await,
        2
    );
}

#[tokio::test]
async fn a_key_of_random_uuids_goes_the_whole_way_and_changes_are_found() {
    let bed = Bed::new().await;
    bed.sql(&format!(
        "alter table legacy_tokens alter id type uuid using gen_random_uuid(), alter id set default gen_random_uuid();
         insert into legacy_tokens (provider, user_id, access_token, expires_at, updated_at)
         select 'google', 'user-' || n, '{TOKEN}-' || n, now() + interval '1 day', now() - interval '1 hour'
         from generate_series(1, 2000) n;
         -- Two rows for one destination, anywhere in the order of the keys.
         insert into legacy_tokens (provider, user_id, access_token, expires_at)
         select 'google', 'user-' || n, '{TOKEN}-newer-' || n, now() + interval '1 day' from generate_series(1, 100) n"
    ))
    .await;
    // Rows come in below the cursor while it runs.
    let gate = Barrier::new();
    bed.api
        .script([Fault::None, Fault::None, Fault::Hold(gate.clone())]);
    let running = bed.spawn_migrate();
    gate.reached().await;
    bed.sql(&format!(
        "insert into legacy_tokens (provider, user_id, access_token, expires_at)
         select 'google', 'late-' || n, '{TOKEN}-late-' || n, now() + interval '1 day' from generate_series(1, 50) n"
    ))
    .await;
    gate.release();
    let first = ended(running.wait_with_output()).await.ended_with(0).json();
    let met = first["tokens"]["selected"].as_i64().unwrap() - 2100;
    assert!((0..=50).contains(&met), "{first}");
    assert_eq!(first["tokens"]["committed"], 2000 + met);
    assert_eq!(first["tokens"]["superseded"], 100);
    let second = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        second["tokens"],
        json!({"selected": 2150, "committed": 50 - met, "failed": 0, "superseded": 100, "unchanged": 2000 + met})
    );
    bed.assert_arrived_once().await;
}
