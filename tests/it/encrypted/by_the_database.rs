//! `pgp_sym_decrypt` and the like, with a key that the database is given and never writes down.

use std::{path::Path, time::Duration};

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokenferry::temp_postgres::{Options, TempPostgres};

use crate::support::bed::{Bed, Ran, TOKEN};

const KEY: &str = "c0rrect horse battery\nstaple";

const COLUMNS: &str = r#"
source.columns.access_token = { sql = "pgp_sym_decrypt(sealed, current_setting('tokenferry.key'))" }
source.session = { "tokenferry.key" = "env:LEGACY_KEY" }
"#;

/// A server with the legacy table that logs all it is told to do, parameters included, and a role that may
/// only read.
struct Legacy {
    postgres: TempPostgres,
    connection: PgConnection,
}

impl Legacy {
    async fn start() -> Self {
        let postgres = TempPostgres::start(Options::default()).await.unwrap();
        let mut connection = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
        connection
            .execute(
                "create extension pgcrypto; create role reader login;
                 create table legacy_tokens (id bigint primary key, provider text, user_id text, tenant_id text, sealed bytea,
                    refresh_token text, expires_at timestamptz, token_type text, scope text, external_id text,
                    id_token text, granted_by text, updated_at timestamptz not null default now());
                 grant select on legacy_tokens to reader",
            )
            .await
            .unwrap();
        sqlx::query(
            "insert into legacy_tokens (id, provider, user_id, sealed)
             select n, 'google', 'user-' || n, pgp_sym_encrypt($1 || '-access-' || n, $2, 's2k-mode=0') from generate_series(1, 200) n",
        )
        .bind(TOKEN)
        .bind(KEY)
        .execute(&mut connection)
        .await
        .unwrap();
        let mut legacy = Self { postgres, connection };
        legacy.sql("alter system set log_statement = 'all'").await;
        legacy
            .sql("alter system set log_min_duration_statement = 0")
            .await;
        legacy.sql("alter system set log_min_messages = debug5").await;
        legacy.sql("select pg_reload_conf()").await;
        legacy
    }

    async fn sql(&mut self, sql: &'static str) {
        self.connection.execute(sql).await.unwrap();
    }

    /// What the server wrote.
    fn log(&self) -> String {
        let log: &Path = &self.postgres.folder().join("postgres.log");
        String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned()
    }

    async fn run(&self, bed: &Bed, arguments: &[&str]) -> Ran {
        let url = self.postgres.url("postgres").replace("tokenferry@", "reader@");
        assert!(url.contains("reader@"), "{url}");
        let mut command = bed.command(arguments);
        command
            .env("SOURCE_DATABASE_URL", url)
            .env("TOKENFERRY__LEDGER__URL", bed.database.url())
            .env("LEGACY_KEY", KEY);
        command.output().await.unwrap().into()
    }
}

#[tokio::test]
async fn the_key_is_in_no_log_and_is_withheld_from_a_server_that_would_log_it() {
    let mut legacy = Legacy::start().await;
    let bed = Bed::new().await.set(COLUMNS);

    let ran = legacy.run(&bed, &["migrate", "--json"]).await.ended_with(6);
    assert!(ran.stderr.contains("log_statement"), "{}", ran.stderr);
    let remedy = "alter role reader set log_parameter_max_length = 0";
    assert!(ran.stderr.contains(remedy), "{}", ran.stderr);
    let ran = legacy.run(&bed, &["doctor", "--json"]).await.ended_with(6);
    assert!(ran.stdout.contains(remedy), "{}", ran.stdout);
    assert!(!legacy.log().contains("c0rrect horse"));

    // Either way out will do.
    for way in [
        "grant set on parameter log_parameter_max_length to reader",
        remedy,
    ] {
        legacy.sql(way).await;
        legacy.run(&bed, &["doctor", "--json"]).await.ended_with(0);
        legacy
            .sql("revoke set on parameter log_parameter_max_length from reader")
            .await;
    }
    let ran = legacy
        .run(&bed, &["migrate", "--json", "-vv"])
        .await
        .ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 200);
    for token in bed.api.stored() {
        let id = token.destination.user_id.as_deref().unwrap().replace("user-", "");
        let expected = format!("{TOKEN}-access-{id}");
        assert_eq!(token.exposed_access_token(), Some(expected.as_str()));
    }
    let log = legacy.log();
    assert!(
        log.contains("set_config($1, $2, false)"),
        "the log tells what was done"
    );
    let told = [ran.stdout, ran.stderr, bed.ledger_dump().await, log].concat();
    for secret in ["c0rrect", "staple", TOKEN] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}

#[tokio::test]
async fn what_the_database_cannot_decrypt_fails_alone() {
    let mut legacy = Legacy::start().await;
    legacy
        .sql("alter role reader set log_parameter_max_length = 0")
        .await;
    // Not encrypted, with another key, cut off, and no text; alone and side by side.
    legacy
        .sql(
            "update legacy_tokens set sealed = 'ya29.in-the-clear' where id in (1, 50, 51, 52, 200);
             update legacy_tokens set sealed = pgp_sym_encrypt('x', 'another') where id in (53, 120);
             update legacy_tokens set sealed = substr(sealed, 1, 40) where id = 121;
             update legacy_tokens set sealed = pgp_sym_encrypt_bytea('\\xff00', 'another') where id = 122;
             update legacy_tokens set sealed = null, refresh_token = 'refresh-123' where id = 123",
        )
        .await;
    let bed = Bed::new().await.set(COLUMNS);
    let doctor = legacy.run(&bed, &["doctor", "--json"]).await.ended_with(0);
    assert!(
        doctor.stdout.contains("9 of 200 sampled rows"),
        "{}",
        doctor.stdout
    );

    let dry = legacy
        .run(&bed, &["migrate", "--dry-run", "--json"])
        .await
        .ended_with(3)
        .json();
    let ran = legacy
        .run(&bed, &["migrate", "--json", "-vv"])
        .await
        .ended_with(3);
    let report = ran.json();
    for report in [&dry, &report] {
        assert_eq!(report["failures_by_code"], json!({ "not_decryptable": 9 }));
        assert_eq!(report["tokens"]["selected"], 200);
        assert_eq!(report["tokens"]["committed"], 191);
    }
    assert_eq!(bed.api.stored_count(), 191);
    let failed = bed
        .texts("select source_key from tokenferry.tokens where state = 'failed' and user_id = 'user-' || source_key order by source_key::int")
        .await;
    assert_eq!(failed, ["1", "50", "51", "52", "53", "120", "121", "122", "200"]);
    let reason = bed
        .texts("select distinct reason from tokenferry.tokens where state = 'failed'")
        .await;
    assert!(
        reason[0].starts_with("the database could not decrypt the value of `access_token`"),
        "{reason:?}"
    );
    let told = [ran.stdout, ran.stderr, bed.ledger_dump().await].concat();
    assert!(!told.contains("in-the-clear") && !told.contains(TOKEN));

    // Asked for by their keys, they fail again, and the one that was put right goes up.
    legacy
        .sql("update legacy_tokens set sealed = null, refresh_token = 'refresh-51' where id = 51")
        .await;
    let again = legacy
        .run(&bed, &["migrate", "--json", "--only-failed"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(again["tokens"]["committed"], 1);
    assert_eq!(again["tokens"]["failed"], 8);
}

#[tokio::test]
async fn the_key_is_there_again_when_the_connection_is() {
    let mut legacy = Legacy::start().await;
    legacy
        .sql("alter role reader set log_parameter_max_length = 0")
        .await;
    let settings = format!(
        "{COLUMNS}\nsource.page_size = 5\nbatch.max_tokens = 5\napi.rate_limit.requests = 20\napi.rate_limit.per = \"1s\""
    );
    let bed = Bed::new().await.set(&settings);
    let mut cut = 0_i64;
    let cutting = async {
        let url = legacy.postgres.url("postgres");
        let mut admin = PgConnection::connect(&url).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            // Only pages are read with patience, and the first of them was by now.
            if bed.api.stored_count() > 0 {
                let sql = "select count(case when usename = 'reader' then pg_terminate_backend(pid) end) from pg_stat_activity";
                let now: i64 = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
                cut += now;
            }
        }
    };
    let ran = tokio::select! {
        ran = legacy.run(&bed, &["migrate", "--json"]) => ran.ended_with(0),
        () = cutting => unreachable!("it goes on until the run ends"),
    };
    assert!(cut > 0, "no connection was cut while the run was on its way");
    assert_eq!(ran.json()["tokens"]["committed"], 200);
    assert!(!legacy.log().contains("c0rrect horse"));
}
