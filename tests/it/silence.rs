//! Databases that say nothing any more, and do not end their connections either.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokenferry::{
    ledger::LockKind,
    simulator::{Barrier, Fault},
    temp_postgres::{Options, StopMode, TempPostgres},
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::support::{
    bed::{Bed, ended},
    database::TestDatabase,
    ledger,
    proxy::Proxy,
};

/// About ten seconds of work.
const SLOW: &str = "api.rate_limit.requests = 10\napi.rate_limit.per = \"1s\"\nbatch.max_tokens = 10\nsource.page_size = 100";

fn send(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
}

/// `migrate`, with the ledger behind a proxy.
fn behind(bed: &Bed, ledger: &Proxy) -> Command {
    let mut command = bed.command(&["migrate", "--json", "-v"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url());
    command
}

#[tokio::test]
async fn two_silent_databases_end_a_run_soon_after_patience_ends() {
    let bed = Bed::new()
        .await
        .set(&format!("{SLOW}\nstop.after_unreachable = \"10s\""));
    bed.user_rows(1, 1000).await;
    let (source, ledger) = (
        Proxy::before(bed.database.url()).await,
        Proxy::before(bed.database.url()).await,
    );
    let mut command = behind(&bed, &ledger);
    command.env("SOURCE_DATABASE_URL", source.url());
    let running = tokio::spawn(async move { ended(command.output()).await });
    bed.arrived(200).await;
    source.fall_silent();
    ledger.fall_silent();
    let begin = Instant::now();
    let ran = running.await.unwrap().ended_with(6);
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
    assert!(ran.stderr.contains("did not answer within"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the next run reconciles"), "{}", ran.stderr);
    assert_eq!(ran.json()["status"], "interrupted");

    drop((source, ledger));
    bed.set("").assert_gone_on_with(1000).await;
}

#[tokio::test]
async fn connections_that_carry_nothing_any_more_are_replaced() {
    let bed = Bed::new()
        .await
        .set(&format!("{SLOW}\nstop.after_unreachable = \"20s\""));
    bed.user_rows(1, 1000).await;
    let ledger = Proxy::before(bed.database.url()).await;
    let mut command = behind(&bed, &ledger);
    let running = tokio::spawn(async move { ended(command.output()).await });
    bed.arrived(200).await;
    // Among them the lock's: the server does not know that it has to give it up.
    ledger.forget_connections();
    let ran = running.await.unwrap().ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["resumed"]),
        (&json!(1000), &json!(false))
    );
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_ledger() {
    let bed = Bed::new()
        .await
        .set(&format!("{SLOW}\nstop.after_unreachable = \"5m\""));
    bed.user_rows(1, 1000).await;
    let ledger = Proxy::before(bed.database.url()).await;
    let child = behind(&bed, &ledger).spawn().unwrap();
    bed.arrived(200).await;
    ledger.fall_silent();
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    send(&child, Signal::SIGTERM);
    let ran = ended(child.wait_with_output()).await.ended_with(6);
    assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
    assert!(ran.stderr.contains("the next run reconciles"), "{}", ran.stderr);
    drop(ledger);
    bed.set("").assert_gone_on_with(1000).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_ledger_that_is_down() {
    let mut ledger = TempPostgres::start(Options::default()).await.unwrap();
    let bed = Bed::new()
        .await
        .set(&format!("{SLOW}\nstop.after_unreachable = \"5m\""));
    bed.user_rows(1, 1000).await;
    let mut command = bed.command(&["migrate", "--json", "-v"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
    let child = command.spawn().unwrap();
    bed.arrived(200).await;
    ledger.shut_down(StopMode::Fast).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    send(&child, Signal::SIGTERM);
    ended(child.wait_with_output()).await.ended_with(6);
    assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
    ledger.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_has_a_deadline_whatever_the_api_does() {
    let bed = Bed::new()
        .await
        .set("api.timeout = \"5m\"\nbatch.concurrency = 1");
    bed.user_rows(1, 300).await;
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let begin = Instant::now();
    send(&child, Signal::SIGTERM);
    let output = timeout(Duration::from_secs(75), child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    assert!(
        begin.elapsed() > Duration::from_secs(30),
        "it waits for what is in flight"
    );
    assert_eq!(output.status.code(), Some(143));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("stay in flight"), "{stderr}");
    let in_flight = "select count(*) from tokenferry.batches where state = 'in_flight'";
    assert_eq!(bed.number(in_flight).await, 1);
    gate.release();
    bed.set("").assert_gone_on_with(300).await;
}

/// The process is gone, and nobody told the server: its sessions are open, and nothing comes from them.
#[tokio::test]
async fn a_lost_machine_gives_up_its_lock() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.user_rows(1, 300).await;
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let ledger = Proxy::before(bed.database.url()).await;
    let mut lost = behind(&bed, &ledger).spawn().unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    ledger.fall_silent();
    lost.kill().await.unwrap();
    gate.release();
    bed.migrate().await.ended_with(5);
    let held = "select count(*) from pg_locks where locktype = 'advisory'
                and database = (select oid from pg_database where datname = current_database())";
    timeout(Duration::from_secs(100), async {
        while bed.number(held).await > 0 {
            sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("the lock should have expired by now");
    bed.set("").assert_gone_on_with(300).await;
}

#[tokio::test]
async fn a_lock_is_kept_while_its_process_has_no_time_for_it() {
    let database = TestDatabase::create().await;
    let access = ledger::access(&database);
    let ledger = ledger::open(&access).await.unwrap();
    let lock = ledger.lock(&access, LockKind::Migration).await.unwrap();
    // All of this test's runtime is one thread.
    #[allow(clippy::disallowed_methods, reason = "it is to be blocked")]
    std::thread::sleep(Duration::from_secs(13));
    let silent = database
        .texts(
            "select extract(epoch from now() - state_change)::int::text from pg_stat_activity join pg_locks using (pid)
             where locktype = 'advisory' and datname = current_database() and state = 'idle in transaction'",
        )
        .await;
    let [silent] = &silent[..] else {
        panic!("{silent:?}")
    };
    assert!(
        silent.parse::<i32>().unwrap() < 10,
        "{silent} s without a sign of life"
    );
    lock.release().await;
    ledger.close().await;
}
