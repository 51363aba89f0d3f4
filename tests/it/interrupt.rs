//! Runs that are ended from outside, and the runs that go on with them.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokenferry::simulator::{Barrier, Fault};
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use crate::support::bed::{Bed, Ran, ended};

fn send(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
}

/// Slow enough to be interrupted.
const SLOW: &str = "api.rate_limit.requests = 20\napi.rate_limit.per = \"1s\"\nbatch.max_tokens = 20\nsource.page_size = 100";

#[tokio::test]
async fn a_signal_lets_what_is_in_flight_finish_and_the_next_run_goes_on() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let bed = Bed::new().await;
        bed.user_rows(1, 1000).await;
        let bed = bed.set(SLOW);
        let child = bed.spawn_migrate();
        bed.arrived(300).await;
        // Twice, as `timeout` does: to the process, and to its group.
        send(&child, signal);
        send(&child, signal);
        let ran = ended(child.wait_with_output()).await.ended_with(code);
        assert!(
            !ran.stderr.contains("could be read"),
            "rows that nobody has looked at are not missing: {}",
            ran.stderr
        );
        let ran = ran.json();
        assert_eq!(ran["status"], "interrupted");
        assert_eq!(
            bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
                .await,
            0
        );
        let requests = bed.api.requests().all().len();

        let next = bed.migrate().await.ended_with(0).json();
        assert_eq!(
            (&next["resumed"], &next["run_id"]),
            (&json!(true), &ran["run_id"])
        );
        assert_eq!(next["tokens"]["committed"], 1000);
        assert_eq!(
            bed.api.requests().all().len(),
            requests.max(50),
            "no request for what had arrived"
        );
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_killed_run_is_settled_and_goes_on_without_writing_twice() {
    for committed in [true, false] {
        let bed = Bed::new().await;
        bed.user_rows(1, 400).await;
        let bed = bed.set("batch.concurrency = 1");
        // Killed while the second request is under way: before it is stored, or after.
        let gate = Barrier::new();
        let hold = if committed {
            Fault::Hold(gate.clone())
        } else {
            Fault::HoldBeforeCommit(gate.clone())
        };
        bed.api.script([Fault::None, hold]);
        let mut child = bed.spawn_migrate();
        timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
        child.kill().await.unwrap();
        assert_eq!(
            bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
                .await,
            1
        );
        if !committed {
            // The server goes on with a request whose client is gone; the next run must not believe "not
            // there" yet.
            tokio::spawn(async move {
                sleep(Duration::from_millis(400)).await;
                gate.release();
            });
        }
        let next = bed.migrate().await.ended_with(0).json();
        assert_eq!(
            (&next["resumed"], &next["tokens"]["committed"]),
            (&json!(true), &json!(400))
        );
        bed.assert_arrived_once().await;
    }
}

#[tokio::test]
async fn a_second_run_of_the_same_migration_is_turned_away_and_told_by_whom() {
    let bed = Bed::new().await;
    bed.user_rows(1, 200).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    let id = child.id().unwrap();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();

    let second = bed.migrate().await.ended_with(5);
    assert!(
        second.stderr.contains(&format!("process {id} on ")),
        "{}",
        second.stderr
    );
    assert!(second.stderr.contains("since 20"), "{}", second.stderr);
    let session = bed
        .texts("select 'PID ' || pid || ', role ' from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
        .await;
    assert!(second.stderr.contains(&session[0]), "{}", second.stderr);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        (&status["status"], &status["finished_at"]),
        (&json!("running"), &json!(null))
    );

    gate.release();
    ended(child.wait_with_output()).await.ended_with(0);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_second_signal_leaves_at_once_and_the_ledger_is_still_true() {
    let bed = Bed::new().await;
    bed.user_rows(1, 200).await;
    let bed = bed.set("api.timeout = \"20s\"");
    let gate = Barrier::new();
    bed.api
        .script([Fault::Hold(gate.clone()), Fault::Hold(gate.clone())]);
    let child = bed.spawn_migrate();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    send(&child, Signal::SIGTERM);
    sleep(Duration::from_millis(300)).await;
    send(&child, Signal::SIGTERM);
    let code = timeout(Duration::from_secs(5), child.wait_with_output())
        .await
        .unwrap()
        .unwrap()
        .status
        .code();
    assert_eq!(code, Some(143));
    assert!(
        bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
            .await
            > 0
    );
    gate.release();
    gate.release();
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn a_process_that_was_replaced_can_send_nothing_more() {
    let bed = Bed::new().await;
    bed.user_rows(1, 600).await;
    let bed = bed.set("batch.concurrency = 1");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let first = bed.spawn_migrate();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    // The server loses the session that holds the lock; before it is noticed, another process takes over.
    bed.sql(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'
         and database = (select oid from pg_database where datname = current_database())",
    )
    .await;
    let second = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&second["resumed"], &second["tokens"]["committed"]),
        (&json!(true), &json!(600))
    );
    gate.release();
    let first = ended(first.wait_with_output()).await;
    assert_eq!(first.code, 5, "{}", first.stderr);
    assert_eq!(
        bed.number("select count(*) from tokenferry.runs where status = 'completed'")
            .await,
        1
    );
    bed.assert_arrived_once().await;
}

/// A run that was killed after its only batch was stored, and before the answer came.
async fn killed_after_the_commit() -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 50).await;
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let mut child = bed.spawn_migrate();
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    child.kill().await.unwrap();
    bed
}

#[tokio::test]
async fn nothing_is_sent_while_nobody_tells_what_became_of_a_batch() {
    let bed = killed_after_the_commit().await;
    bed.api.script_reads(std::iter::repeat_n(Fault::Status(503), 8));
    let ran = bed.migrate().await.ended_with(4).json();
    assert!(
        ran["stop_reason"]
            .as_str()
            .unwrap()
            .contains("unknown whether batch"),
        "{ran}"
    );
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn credentials_that_are_refused_say_nothing_of_what_is_stored() {
    let bed = killed_after_the_commit().await;
    let mut command = bed.command(&["migrate", "--json"]);
    let output = command
        .env("DESCOPE_MANAGEMENT_KEY", "Kwrong")
        .output()
        .await
        .unwrap();
    Ran::from(output).ended_with(4);
    assert_eq!(
        bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
            .await,
        1
    );
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

/// Nobody could say whether the batch is stored when the run was interrupted.
#[tokio::test]
async fn an_interrupted_run_says_what_it_leaves_in_flight() {
    let bed = Bed::new()
        .await
        .set("batch.concurrency = 1\napi.retry.initial_interval = \"30s\"\napi.retry.max_interval = \"60s\"");
    bed.user_rows(1, 50).await;
    bed.api.script([Fault::CutAfterCommit]);
    bed.api.script_reads(std::iter::repeat_n(Fault::Status(503), 50));
    let child = bed.command(&["migrate", "--log-format", "text"]).spawn().unwrap();
    let read_back = async {
        // The upload, and the first attempt to read back.
        while bed.api.requests().all().len() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), read_back).await.unwrap();
    send(&child, Signal::SIGTERM);
    let ran = ended(child.wait_with_output()).await.ended_with(143);
    assert!(
        ran.stderr
            .contains("1 batch is in flight: the next run settles it before it sends anything"),
        "{}",
        ran.stderr
    );
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["batches_in_flight"], 1);
}
