//! Databases that go away in the middle of a run.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokenferry::{
    simulator::{Barrier, Fault},
    temp_postgres::{Options, StopMode, TempPostgres},
};
use tokio::time::timeout;

use crate::support::bed::{Bed, ended};

/// About five seconds of work.
const SLOW: &str = "api.rate_limit.requests = 20\napi.rate_limit.per = \"1s\"\nbatch.max_tokens = 20\nsource.page_size = 100";

#[tokio::test]
async fn a_ledger_that_restarts_is_taken_up_again_and_no_outcome_is_forgotten() {
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut ledger = TempPostgres::start(Options::default()).await.unwrap();
        let bed = Bed::new().await;
        bed.user_rows(1, 1000).await;
        let bed = bed.set(SLOW);
        let mut command = bed.command(&["migrate", "--json", "-v"]);
        command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
        let running = tokio::spawn(async move { ended(command.output()).await });
        bed.arrived(200).await;
        ledger.restart(mode).await.unwrap();
        bed.arrived(500).await;
        ledger.restart(mode).await.unwrap();
        let ran = running.await.unwrap().ended_with(0).json();
        assert_eq!(
            (&ran["tokens"]["committed"], &ran["resumed"]),
            (&json!(1000), &json!(false))
        );
        bed.assert_arrived_once().await;
        ledger.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_could_not_be_recorded_is_settled_again() {
    let mut ledger = TempPostgres::start(Options::default()).await.unwrap();
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let bed = bed.set("batch.concurrency = 1\nstop.after_unreachable = \"1s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let mut command = bed.command(&["migrate", "--json"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
    let running = tokio::spawn(async move { ended(command.output()).await });
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    // Stored by the API, and the ledger is gone when the answer comes: for longer than is waited.
    ledger.shut_down(StopMode::Fast).await.unwrap();
    gate.release();
    let ran = running.await.unwrap().ended_with(6);
    assert_eq!(
        ran.json()["status"],
        "interrupted",
        "printed whatever the exit code"
    );
    assert!(ran.stderr.contains("ledger database"), "{}", ran.stderr);

    ledger.start_again().await.unwrap();
    let mut command = bed.command(&["migrate", "--json"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
    let next = ended(command.output()).await.ended_with(0).json();
    assert_eq!(
        (&next["resumed"], &next["tokens"]["committed"]),
        (&json!(true), &json!(300))
    );
    bed.assert_arrived_once().await;
    ledger.stop().await.unwrap();
}

#[tokio::test]
async fn a_source_that_restarts_is_read_on_where_the_last_page_ended() {
    let mut source = TempPostgres::start(Options::default()).await.unwrap();
    let mut connection = PgConnection::connect(&source.url("postgres")).await.unwrap();
    connection
        .execute(
            "create table legacy_tokens (id bigint primary key, provider text, user_id text, tenant_id text,
                    access_token text, refresh_token text, expires_at timestamptz, token_type text, scope text,
                    external_id text, id_token text, granted_by text, updated_at timestamptz);
             insert into legacy_tokens (id, provider, user_id, access_token)
             select n, 'google', 'user-' || n, 'access-' || n from generate_series(1, 1000) n",
        )
        .await
        .unwrap();
    connection.close().await.unwrap();

    let bed = Bed::new()
        .await
        .set(&format!("{SLOW}\nstop.after_unreachable = \"5s\""));
    let command = || {
        let mut command = bed.command(&["migrate", "--json", "-v"]);
        command
            .env("SOURCE_DATABASE_URL", source.url("postgres"))
            .env("TOKENFERRY__LEDGER__URL", bed.database.url());
        command
    };
    let (mut first, mut again) = (command(), command());
    let running = tokio::spawn(async move { ended(first.output()).await });
    bed.arrived(200).await;
    source.restart(StopMode::Immediate).await.unwrap();
    bed.arrived(400).await;
    // Gone for longer than is waited: the run ends, and can be gone on with.
    source.shut_down(StopMode::Fast).await.unwrap();
    let ran = running.await.unwrap().ended_with(6);
    assert!(ran.stderr.contains("source database"), "{}", ran.stderr);
    assert_eq!(ran.json()["status"], "interrupted");

    source.start_again().await.unwrap();
    let next = ended(again.output()).await.ended_with(0).json();
    assert_eq!(
        (&next["resumed"], &next["tokens"]["committed"]),
        (&json!(true), &json!(1000))
    );
    assert_eq!(bed.api.stored_count(), 1000);
    assert!(bed.api.writes().values().all(|&count| count == 1));
    source.stop().await.unwrap();
}

#[tokio::test]
async fn a_source_that_restarts_while_it_looks_for_outdated_rows_is_asked_again() {
    let mut source = TempPostgres::start(Options::default()).await.unwrap();
    let mut rows = PgConnection::connect(&source.url("postgres")).await.unwrap();
    rows.execute(
        "create table legacy_tokens (id bigint primary key, provider text, user_id text, tenant_id text, access_token text,
                refresh_token text, expires_at timestamptz, token_type text, scope text, external_id text, id_token text,
                granted_by text, updated_at timestamptz);
         insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         select n, 'google', 'user-' || n % 100, 'token-' || n, now() + n * interval '1 second' from generate_series(1, 200) n",
    )
    .await
    .unwrap();
    // So slow that there is time to restart it.
    let bed = Bed::new()
        .await
        .set("source.where = \"pg_sleep(0.005) is not null\"");
    let mut command = bed.command(&["migrate", "--json", "-v"]);
    command
        .env("SOURCE_DATABASE_URL", source.url("postgres"))
        .env("TOKENFERRY__LEDGER__URL", bed.database.url());
    let running = tokio::spawn(async move { ended(command.output()).await });
    timeout(Duration::from_secs(30), async {
        loop {
            let asking: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where query like 'with contested as%' and state = 'active')",
            )
            .fetch_one(&mut rows)
            .await
            .unwrap();
            if asking {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    source.restart(StopMode::Immediate).await.unwrap();
    let ran = running.await.unwrap().ended_with(0);
    assert!(ran.stderr.contains("database reachable again"), "{}", ran.stderr);
    assert_eq!(
        ran.json()["tokens"],
        json!({"selected": 200, "committed": 100, "failed": 0, "superseded": 100, "unchanged": 0})
    );
    source.stop().await.unwrap();
}
