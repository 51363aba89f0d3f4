//! What happens to a run beside its tokens is recorded, and on its page.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokenferry::{
    simulator::Fault,
    temp_postgres::{Options, StopMode, TempPostgres},
};
use tokio::time::sleep;

use crate::support::bed::{Bed, ended};

const SLOW: &str = "api.rate_limit.requests = 20\napi.rate_limit.per = \"1s\"\nbatch.max_tokens = 20\nsource.page_size = 100";

#[tokio::test]
async fn waits_restarts_and_ends_are_recorded_and_shown() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1000).await;
    let bed = bed.set(SLOW);
    let child = bed.spawn_migrate();
    bed.arrived(200).await;
    // Several requests are under way, and each is turned away.
    bed.api.script([Fault::Storm(Duration::from_secs(1))]);
    bed.arrived(400).await;
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    child.wait_with_output().await.unwrap();
    bed.migrate().await.ended_with(0);

    let events = bed
        .texts(
            "select format('%s %s', kind, times) from tokenferry.run_events
             where kind <> 'held' order by epoch, number",
        )
        .await;
    assert_eq!(events, ["started 1", "resumed 1", "ended 1"]);
    // One hold, however many requests ran into it; one more where another window was met.
    let held = bed
        .number(
            "select count(*) from tokenferry.run_events where kind = 'held' and epoch = 1 and seconds >= 1",
        )
        .await;
    assert!((1..=2).contains(&held), "{held}");
    assert_eq!(
        bed.number(
            "select count(*) from tokenferry.run_events join tokenferry.runs on runs.id = run_id
             where at < started_at - interval '1 s' or at > finished_at + interval '1 s'",
        )
        .await,
        0,
        "by the database's clock"
    );
    let page = bed.run(&["report", "--output", "-"]).await.ended_with(0).stdout;
    for text in [
        "A process started the run",
        "The API asked to wait",
        "A process resumed the run",
        "The process ended",
        "completed",
        // Their colours in the figure.
        "opacity=\"0.28\" fill=\"#C98A00\"",
        "stroke=\"#2F5FD0\"",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[tokio::test]
async fn a_ledger_that_was_away_says_so_when_it_is_back() {
    let mut ledger = TempPostgres::start(Options::default()).await.unwrap();
    let bed = Bed::new().await;
    bed.user_rows(1, 600).await;
    let bed = bed.set(SLOW);
    let mut command = bed.command(&["migrate", "--json", "-v"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
    let running = tokio::spawn(async move { ended(command.output()).await });
    bed.arrived(200).await;
    ledger.shut_down(StopMode::Immediate).await.unwrap();
    // An intent is recorded twenty times a second: some of them are not.
    sleep(Duration::from_millis(500)).await;
    ledger.start_again().await.unwrap();
    running.await.unwrap().ended_with(0);
    let mut command = bed.command(&["report", "--output", "-"]);
    command.env("TOKENFERRY__LEDGER__URL", ledger.url("postgres"));
    let page = ended(command.output()).await.ended_with(0).stdout;
    // Several statements noticed; it was away once.
    assert_eq!(page.matches("The ledger did not respond").count(), 1);
    ledger.stop().await.unwrap();
}

#[tokio::test]
async fn a_record_that_cannot_be_written_keeps_no_run_from_its_end() {
    let bed = Bed::new().await;
    bed.user_rows(1, 100).await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(101, 200).await;
    bed.sql("alter table tokenferry.run_events rename column detail to other")
        .await;
    let ran = bed.migrate().await.ended_with(0);
    assert_eq!(
        ran.stderr
            .matches("could not be written; a report may lack some of them")
            .count(),
        1,
        "{}",
        ran.stderr
    );
    bed.assert_arrived_once().await;
}
