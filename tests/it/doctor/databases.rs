//! Source and ledger: out of reach, not as configured, without the rights, or all well.

use super::{Checks, doctor, inventory};
use tokenferry::temp_postgres::{Durability, Options, TempPostgres};
use tokio::time::{Duration, sleep};

use crate::support::bed::{Bed, Ran};

#[tokio::test]
async fn all_is_well_with_roles_that_may_no_more_than_they_need() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!(
        "analyze legacy_tokens; grant select on legacy_tokens to {guest}; create schema tokenferry authorization {guest}"
    ))
    .await;
    let before = inventory(&bed).await;
    let variables = [("SOURCE_DATABASE_URL", url.as_str())];
    let ran = doctor(&bed, &variables).await.ended_with(0);
    let checks = Checks::of(&ran);
    checks.assert("source", "read_only", "ok", "can only read");
    checks.assert("source", "key_index", "ok", "legacy_tokens_pkey is unique");
    checks.assert("source", "rows", "ok", "about 20");
    checks.assert("source", "app_names", "ok", "google");
    checks.assert("source", "table", "ok", "the key \\\"id\\\" and 12 fields");
    checks.assert("ledger", "schema", "ok", "exists without tables");
    checks.assert("ledger", "privileges", "ok", "can create the tables");
    checks.assert("ledger", "pepper", "ok", "not set");
    assert_eq!(inventory(&bed).await, before, "doctor changes nothing");

    let migrated = bed
        .command(&["migrate", "--json"])
        .env("SOURCE_DATABASE_URL", &url)
        .output()
        .await
        .unwrap();
    assert_eq!(migrated.status.code(), Some(0));
    let before = inventory(&bed).await;
    let checks = Checks::of(&doctor(&bed, &variables).await.ended_with(0));
    checks.assert("ledger", "schema", "ok", "is up to date");
    checks.assert("ledger", "privileges", "ok", "can read and write");
    checks.assert("ledger", "pepper", "ok", "matches the ledger");
    assert_eq!(inventory(&bed).await, before, "doctor changes nothing");
}

#[tokio::test]
async fn rights_that_a_run_does_not_need_are_warned_of() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
    checks.assert("source", "read_only", "warning", "is a superuser");

    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!(
        "grant select, insert, truncate on legacy_tokens to {guest}"
    ))
    .await;
    let variables = [("TOKENFERRY__SOURCE__URL", url.as_str())];
    let ledger = ("TOKENFERRY__LEDGER__URL", bed.database.url());
    let checks = Checks::of(&doctor(&bed, &[variables[0], ledger]).await.ended_with(0));
    checks.assert(
        "source",
        "read_only",
        "warning",
        "may insert, truncate on legacy_tokens",
    );

    bed.sql(&format!(
        "revoke insert, truncate on legacy_tokens from {guest}; grant update (scope) on legacy_tokens to {guest}"
    ))
    .await;
    let checks = Checks::of(&doctor(&bed, &[variables[0], ledger]).await);
    checks.assert("source", "read_only", "warning", "may update on legacy_tokens");

    bed.sql(&format!(
        "revoke update (scope) on legacy_tokens from {guest}; alter role {guest} set default_transaction_read_only = on"
    ))
    .await;
    let checks = Checks::of(&doctor(&bed, &[variables[0], ledger]).await);
    checks.assert("source", "read_only", "ok", "read-only by default");
}

#[tokio::test]
async fn what_lies_behind_a_query_is_looked_at() {
    let bed = Bed::new()
        .await
        .set("source.query = \"select t.* from legacy_tokens t join owners o on o.id = t.id\"");
    bed.rows(1, 20).await;
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!(
        "create table owners (id bigint primary key); insert into owners select generate_series(1, 20); \
         grant select on legacy_tokens, owners to {guest}; grant delete on owners to {guest}"
    ))
    .await;
    let path = bed.config();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("table = \"legacy_tokens\"\n", "")).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
    command
        .args(["doctor", "--json", "--config"])
        .arg(&path)
        .env("SOURCE_DATABASE_URL", &url)
        .env("TOKENFERRY__LEDGER__URL", bed.database.url())
        .env("DESCOPE_PROJECT_ID", bed.api.project_id())
        .env("DESCOPE_MANAGEMENT_KEY", "none");
    let checks = Checks::of(&command.output().await.unwrap().into());
    checks.assert("source", "table", "ok", "the query has the key");
    checks.assert("source", "read_only", "warning", "may delete on owners;");
    checks.assert("source", "key_index", "ok", "without sorting");
}

#[tokio::test]
async fn a_key_without_an_index_that_helps_is_warned_of() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    for (sql, status, said) in [
        (
            "alter table legacy_tokens drop constraint legacy_tokens_pkey",
            "warning",
            "no index returns rows in the order",
        ),
        (
            "create index on legacy_tokens (id, provider)",
            "warning",
            "none guarantees that \\\"id\\\" is unique",
        ),
        (
            "create unique index by_id on legacy_tokens (id)",
            "ok",
            "by_id is unique",
        ),
    ] {
        bed.sql(sql).await;
        let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
        checks.assert("source", "key_index", status, said);
    }
    bed.sql(
        "alter table legacy_tokens alter id type text; drop index by_id; drop index legacy_tokens_id_provider_idx; \
         create unique index other_order on legacy_tokens (id text_pattern_ops)",
    )
    .await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
    // Where the database's collation is byte order, the two orders are one.
    let (locale,) = (bed
        .texts("select datcollate from pg_database where datname = current_database()")
        .await,);
    if !locale[0].starts_with('C') {
        checks.assert("source", "key_index", "warning", "other_order has another order");
    }
}

#[tokio::test]
async fn a_source_that_is_not_as_configured_ends_with_2() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let variables = [
        ("TOKENFERRY__SOURCE__COLUMNS__USER_ID", "userid"),
        ("TOKENFERRY__SOURCE__COLUMNS__SCOPES", "expires_at"),
    ];
    let checks = Checks::of(&doctor(&bed, &variables).await.ended_with(2));
    checks.assert(
        "source",
        "source.columns.user_id",
        "failed",
        "did you mean \\\"user_id\\\"?",
    );
    checks.assert("source", "source.columns.scopes", "failed", "must be text[]");
    for name in ["key_index", "rows", "app_names"] {
        checks.assert("source", name, "skipped", "a table as configured");
    }
    // What does not depend on the columns is looked at.
    checks.assert("source", "read_only", "warning", "superuser");
    checks.assert("ledger", "connection", "ok", "Postgres");

    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__SOURCE__TABLE", "legacy_token")])
            .await
            .ended_with(2),
    );
    checks.assert(
        "source",
        "source.table",
        "failed",
        "did you mean \\\"legacy_tokens\\\"?",
    );
}

#[tokio::test]
async fn apps_that_are_not_mapped_are_named() {
    let bed = Bed::new().await.set("apps.google = \"google-calendar\"");
    bed.rows(1, 20).await;
    bed.sql("update legacy_tokens set provider = 'slack' where id > 15")
        .await;
    let checks = Checks::of(&doctor(&bed, &[]).await);
    checks.assert(
        "source",
        "app_names",
        "warning",
        "without an entry under [apps]: slack",
    );

    bed.sql("update legacy_tokens set provider = null").await;
    let checks = Checks::of(&doctor(&bed, &[]).await);
    checks.assert("source", "app_names", "warning", "no row names an app");
    bed.sql("truncate legacy_tokens; analyze legacy_tokens; insert into legacy_tokens (id, provider, access_token) select n, 'u' || n, 'x' from generate_series(1, 300) n")
        .await;
    let checks = Checks::of(&doctor(&bed, &[]).await);
    checks.assert("source", "app_names", "warning", "more than 200 different apps");
}

#[tokio::test]
async fn a_database_out_of_reach_ends_with_6_and_skips_the_rest() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let nobody = "postgres://u:pa55word@127.0.0.1:1/db";
    let ran = doctor(
        &bed,
        &[
            ("TOKENFERRY__SOURCE__URL", nobody),
            ("TOKENFERRY__LEDGER__URL", bed.database.url()),
        ],
    )
    .await
    .ended_with(6);
    assert!(!ran.stdout.contains("pa55word"));
    let checks = Checks::of(&ran);
    checks.assert("source", "connection", "failed", "check host and port");
    for name in ["tls", "table", "read_only", "key_index", "rows", "app_names"] {
        checks.assert("source", name, "skipped", "a connection");
    }
    checks.assert("ledger", "schema", "ok", "");

    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__LEDGER__URL", nobody)])
            .await
            .ended_with(6),
    );
    checks.assert("ledger", "connection", "failed", "check host and port");
    for name in ["tls", "writable", "schema", "privileges", "pepper"] {
        checks.assert("ledger", name, "skipped", "a connection");
    }

    let absent = bed.database.url_for("tokenferry", "x", Some("no_such_database"));
    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__LEDGER__URL", &absent)])
            .await
            .ended_with(6),
    );
    checks.assert("ledger", "connection", "failed", "check the database name");
    // The configuration comes first.
    let ran = doctor(
        &bed,
        &[
            ("TOKENFERRY__LEDGER__URL", nobody),
            ("TOKENFERRY__SOURCE__TABLE", "nope"),
        ],
    )
    .await;
    ran.ended_with(2);
}

/// Whoever reads the source is not to be given the right to write there.
#[tokio::test]
async fn where_the_ledger_has_no_url_of_its_own_no_grant_is_advised() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!("grant select on legacy_tokens to {guest}"))
        .await;
    let checks = Checks::of(
        &doctor(&bed, &[("SOURCE_DATABASE_URL", url.as_str())])
            .await
            .ended_with(6),
    );
    let found = checks.get("ledger", "privileges");
    assert_eq!(found["status"], "failed", "{found}");
    let advice = found["advice"].as_str().unwrap();
    assert!(
        advice.starts_with("set `ledger.url`") && !advice.contains("grant"),
        "{advice}"
    );
}

#[tokio::test]
async fn a_ledger_that_cannot_be_kept_is_told_before_the_first_run() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let (url, guest) = bed.database.create_guest().await;
    let ledger = [("TOKENFERRY__LEDGER__URL", url.as_str())];
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert("ledger", "privileges", "failed", "create on database");
    bed.sql("create schema tokenferry").await;
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert("ledger", "connection", "ok", "Postgres");
    checks.assert(
        "ledger",
        "schema",
        "failed",
        "permission denied for schema tokenferry",
    );
    bed.sql(&format!("grant usage on schema tokenferry to {guest}"))
        .await;
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert(
        "ledger",
        "privileges",
        "failed",
        "grant create on schema tokenferry to",
    );

    bed.migrate().await.ended_with(0);
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert("ledger", "schema", "failed", "permission denied");
    bed.sql(&format!(
        "grant select on tokenferry._sqlx_migrations, tokenferry.batches to {guest}"
    ))
    .await;
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert(
        "ledger",
        "privileges",
        "failed",
        "grant select, insert, update on table tokenferry.token_rows to",
    );
    checks.assert(
        "ledger",
        "privileges",
        "failed",
        "grant insert, update on table tokenferry.batches to",
    );
    checks.assert(
        "ledger",
        "privileges",
        "failed",
        "grant select, insert on table tokenferry.fingerprint_key to",
    );
    checks.assert("ledger", "pepper", "skipped", "privileges");

    // What the advice says is enough for a run.
    let advice = checks.get("ledger", "privileges")["advice"]
        .as_str()
        .unwrap()
        .to_owned();
    bed.sql(&advice).await;
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(0));
    checks.assert("ledger", "privileges", "ok", "can read and write");
    bed.rows(21, 40).await;
    for arguments in [&["migrate", "--dry-run", "--json"][..], &["migrate", "--json"]] {
        let mut command = bed.command(arguments);
        command.env(ledger[0].0, ledger[0].1);
        Ran::from(command.output().await.unwrap()).ended_with(0);
    }
    bed.assert_arrived_once().await;

    bed.sql(&format!(
        "alter role {guest} set default_transaction_read_only = on"
    ))
    .await;
    let checks = Checks::of(&doctor(&bed, &ledger).await.ended_with(6));
    checks.assert("ledger", "writable", "failed", "read-only by default");
}

#[tokio::test]
async fn a_ledger_of_another_version_or_pepper_is_told() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    let pepper = [("TOKENFERRY__LEDGER__PEPPER", "black")];
    let checks = Checks::of(&doctor(&bed, &pepper).await.ended_with(2));
    checks.assert("ledger", "pepper", "failed", "restore the previous value");
    bed.sql(
        "insert into tokenferry._sqlx_migrations (version, description, success, checksum, execution_time) \
             values (99991231000000, 'of the future', true, 'x', 0)",
    )
    .await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(2));
    checks.assert("ledger", "schema", "failed", "updated by a newer version");
    assert!(checks.not_ok().contains(&"ledger/privileges skipped".to_owned()));
    bed.sql(
        "delete from tokenferry._sqlx_migrations where version = 99991231000000; \
             update tokenferry._sqlx_migrations set checksum = 'x'",
    )
    .await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(2));
    checks.assert("ledger", "schema", "failed", "with other contents");
}

#[tokio::test]
async fn a_server_that_may_forget_what_it_confirmed_is_warned_of() {
    let bed = Bed::new().await;
    let options = Options {
        durability: Durability::Disk,
        ..Options::default()
    };
    let ledger = TempPostgres::start(options).await.unwrap();
    let url = ledger.url("postgres");
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let set = async |setting: &'static str, value: &'static str| {
        let change = format!("alter system set {setting} = {value}");
        for sql in [change.as_str(), "select pg_reload_conf()"] {
            sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
                .execute(&pool)
                .await
                .unwrap();
        }
        // Sessions hear of it a moment later.
        let show = format!("select current_setting('{setting}')");
        while sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(show.clone()))
            .fetch_one(&pool)
            .await
            .unwrap()
            != value
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let variables = [("TOKENFERRY__LEDGER__URL", url.as_str())];
    let check = async |status: &str, said: &str| {
        let ran = doctor(&bed, &variables).await.ended_with(0);
        Checks::of(&ran).assert("ledger", "durability", status, said);
    };
    let clean = "confirmed writes survive a crash";
    check("ok", clean).await;
    set("full_page_writes", "off").await;
    check("warning", "full_page_writes is off").await;
    set("fsync", "off").await;
    check("warning", "fsync and full_page_writes are off: after a crash").await;
    let advice =
        "alter system set fsync = on; alter system set full_page_writes = on; select pg_reload_conf()";
    check("warning", advice).await;
    set("fsync", "on").await;
    set("full_page_writes", "on").await;
    check("ok", clean).await;

    sqlx::query("alter database postgres set synchronous_commit = off")
        .execute(&pool)
        .await
        .unwrap();
    check(
        "ok",
        "synchronous_commit is off for this role and database: the ledger's own sessions raise it",
    )
    .await;
    pool.close().await;
    ledger.stop().await.unwrap();
}

#[tokio::test]
async fn the_doctor_names_a_schema_in_which_others_may_create() {
    let bed = Bed::new().await;
    bed.rows(1, 5).await;
    let checks = Checks::of(&doctor(&bed, &[]).await);
    checks.assert("source", "search_path", "ok", "nobody else");
    let guest = bed.database.role("intruder");
    bed.sql(&format!(
        "create role {guest}; grant create on schema public to {guest}"
    ))
    .await;
    let checks = Checks::of(&doctor(&bed, &[]).await);
    checks.assert("source", "search_path", "warning", &format!("{guest} in public"));
    checks.assert("ledger", "search_path", "ok", "nobody else");
}
