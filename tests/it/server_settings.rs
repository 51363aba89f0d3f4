//! What server, database and role are set to: limits that do not apply to a run, and those that it works
//! within.

use std::time::Duration;

use sqlx::Executor;
use tokenferry::{
    postgres::{Address, Patience, Pool},
    simulator::{Barrier, Fault},
};
use tokio::time::{sleep, timeout};

use crate::support::{
    bed::{Bed, ended},
    database::TestDatabase,
};

/// A role that owns the ledger, and its URL.
async fn ledger_role(bed: &Bed) -> (String, String) {
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!("create schema tokenferry authorization {guest}"))
        .await;
    (url, guest)
}

/// Has the server end after 300 ms, by those of the settings that its version knows, what this role does.
async fn limit(bed: &Bed, role: &str, settings: &[&str]) {
    for name in settings {
        let known = format!("select count(*) from pg_settings where name = '{name}'");
        if bed.number(&known).await > 0 {
            bed.sql(&format!("alter role {role} set {name} = '300ms'")).await;
        }
    }
}

#[tokio::test]
async fn a_run_goes_on_with_as_few_sessions_as_its_role_may_have() {
    let bed = Bed::new()
        .await
        .set("batch.max_tokens = 20\nbatch.concurrency = 8");
    bed.user_rows(1, 2000).await;
    let (url, guest) = ledger_role(&bed).await;
    bed.sql(&format!("alter role {guest} connection limit 3")).await;
    let mut doctor = bed.command(&["doctor"]);
    doctor.env("TOKENFERRY__LEDGER__URL", &url);
    let ran = ended(doctor.output()).await.ended_with(0);
    assert!(ran.stdout.contains("a run has up to 12"), "{}", ran.stdout);
    assert!(ran.stdout.contains("has 3 of 3 left"), "{}", ran.stdout);

    let mut migrate = bed.command(&["migrate"]);
    migrate.env("TOKENFERRY__LEDGER__URL", &url);
    let ran = ended(migrate.output()).await.ended_with(0);
    assert!(ran.stderr.contains("continuing with fewer"), "{}", ran.stderr);
    bed.assert_arrived_once().await;

    bed.sql(&format!("alter role {guest} connection limit 1")).await;
    let mut doctor = bed.command(&["doctor"]);
    doctor.env("TOKENFERRY__LEDGER__URL", &url);
    let ran = ended(doctor.output()).await.ended_with(6);
    assert!(ran.stdout.contains("needs at least 2"), "{}", ran.stdout);
}

#[tokio::test]
async fn where_one_limit_is_for_source_and_ledger_their_needs_are_added_up() {
    let bed = Bed::new()
        .await
        .set("batch.max_tokens = 20\nbatch.concurrency = 8");
    bed.user_rows(1, 2000).await;
    let (url, guest) = ledger_role(&bed).await;
    bed.sql(&format!("grant select on legacy_tokens to {guest}"))
        .await;
    let run = async |command: &str, source: &str| {
        let mut command = bed.command(&[command, "-v"]);
        command
            .env("SOURCE_DATABASE_URL", source)
            .env("TOKENFERRY__LEDGER__URL", &url);
        ended(command.output()).await.ended_with(0)
    };
    let owner = bed.database.url();
    for (limit, source, said) in [
        (
            14,
            &*url,
            "a run has up to 14, source and ledger together, and 14 are left",
        ),
        (
            13,
            &url,
            "a run has up to 14, source and ledger together, and the role",
        ),
        (12, owner, "a run has up to 12, and 12 are left"),
    ] {
        bed.sql(&format!("alter role {guest} connection limit {limit}"))
            .await;
        let ran = run("doctor", source).await;
        assert!(ran.stdout.contains(said), "{limit} {said}: {}", ran.stdout);
    }
    let sessions = format!("select count(*) from pg_stat_activity where usename = '{guest}'");
    while bed.number(&sessions).await > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    bed.sql(&format!("alter role {guest} connection limit 3")).await;
    run("migrate", &url).await;
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn sessions_of_others_take_from_what_the_database_has() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let (url, _) = ledger_role(&bed).await;
    let database = bed
        .texts("select quote_ident(current_database())")
        .await
        .remove(0);
    bed.sql(&format!("alter database {database} connection limit 32"))
        .await;
    let mut doctor = bed.command(&["doctor"]);
    doctor
        .env("TOKENFERRY__LEDGER__URL", &url)
        .env("TOKENFERRY__BATCH__CONCURRENCY", "26");
    let ran = ended(doctor.output()).await.ended_with(0);
    // The bed has a session at least, of which the guest may not see of what kind it is.
    let said = format!("a run has up to 32, source and ledger together, and the database {database} has ");
    assert!(ran.stdout.contains(&said), "{}", ran.stdout);
}

#[tokio::test]
async fn idle_sessions_of_the_ledger_are_not_ended() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let (url, guest) = ledger_role(&bed).await;
    limit(&bed, &guest, &["idle_session_timeout"]).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let mut command = bed.command(&["migrate"]);
    command
        .env("TOKENFERRY__LEDGER__URL", &url)
        .env("TOKENFERRY__API__TIMEOUT", "20s");
    let run = command.spawn().unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let sessions = format!("select pid::text from pg_stat_activity where usename = '{guest}' order by pid");
    let before = bed.texts(&sessions).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!before.is_empty());
    assert_eq!(bed.texts(&sessions).await, before);
    gate.release();
    ended(run.wait_with_output()).await.ended_with(0);
}

#[tokio::test]
async fn limits_of_the_role_do_not_end_the_ledgers_statements() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let (url, guest) = ledger_role(&bed).await;
    limit(
        &bed,
        &guest,
        &["lock_timeout", "statement_timeout", "transaction_timeout"],
    )
    .await;
    let migrate = || {
        let mut command = bed.command(&["migrate"]);
        command.env("TOKENFERRY__LEDGER__URL", &url);
        command
    };
    ended(migrate().output()).await.ended_with(0);
    bed.user_rows(11, 20).await;
    let mut other = bed.pool.begin().await.unwrap();
    other
        .execute("lock table tokenferry.runs in exclusive mode")
        .await
        .unwrap();
    let run = migrate().spawn().unwrap();
    sleep(Duration::from_secs(1)).await;
    // A session that the server ends is soon replaced by another one.
    let waiting = format!(
        "select pid::text from pg_stat_activity where usename = '{guest}' and wait_event_type = 'Lock' order by pid"
    );
    let before = bed.texts(&waiting).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!before.is_empty());
    assert_eq!(bed.texts(&waiting).await, before);
    other.rollback().await.unwrap();
    ended(run.wait_with_output()).await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_moment_in_which_the_ledger_takes_no_writes_is_waited_out() {
    let bed = Bed::new().await.set("stop.after_unreachable = \"30s\"");
    bed.user_rows(1, 1000).await;
    let (url, guest) = ledger_role(&bed).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let mut command = bed.command(&["migrate", "-v"]);
    command
        .env("TOKENFERRY__LEDGER__URL", &url)
        .env("TOKENFERRY__API__TIMEOUT", "20s");
    let run = command.spawn().unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    bed.sql(&format!(
        "alter role {guest} set default_transaction_read_only = on"
    ))
    .await;
    bed.sql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{guest}'"
    ))
    .await;
    gate.release();
    sleep(Duration::from_secs(2)).await;
    bed.sql(&format!("alter role {guest} reset default_transaction_read_only"))
        .await;
    ended(run.wait_with_output()).await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_session_that_began_in_such_a_moment_is_not_used_again() {
    let database = TestDatabase::create().await;
    let (url, guest) = database.create_guest().await;
    database
        .execute(&format!(
            "create table written (n int); grant insert on written to {guest}; \
             alter role {guest} set default_transaction_read_only = on"
        ))
        .await;
    let address = Address::parse(&url).unwrap();
    let patience = Patience::new(Duration::from_secs(10));
    let pool = Pool::new(address, "tests".to_owned(), 1, &patience, "select 1".to_owned());
    assert!(pool.execute("insert into written values (1)").await.is_err());
    database
        .execute(&format!("alter role {guest} reset default_transaction_read_only"))
        .await;
    pool.execute("insert into written values (1)").await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn a_database_that_forbids_new_tables_is_named_as_what_it_is() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let (url, _) = ledger_role(&bed).await;
    bed.sql(
        "create function forbid() returns event_trigger language plpgsql as \
         $$ begin raise exception 'changes go through the change board'; end $$; \
         create event trigger forbid on ddl_command_start execute function forbid()",
    )
    .await;
    let mut command = bed.command(&["migrate"]);
    command.env("TOKENFERRY__LEDGER__URL", &url);
    let ran = ended(command.output()).await.ended_with(6);
    assert!(ran.stderr.contains("event trigger"), "{}", ran.stderr);
}
