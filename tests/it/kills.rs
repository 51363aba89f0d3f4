//! The process is killed at every place that matters, and the next run goes on: with the feature
//! `failpoints`, since the places are not in an ordinary build.

use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;
use tokenferry::{failpoints::PLACES, simulator::Fault};
use tokio::time::{Duration, sleep, timeout};

use crate::support::{
    bed::{Bed, ended},
    listings::FAST_LOOKUPS,
};

/// A table that makes a run come by every place: outdated rows, users known by login ID alone, tokens to be
/// fetched, refused ones, and lost answers.
async fn eventful_bed() -> Bed {
    let bed = Bed::new().await;
    bed.rows(1, 600).await;
    bed.sql(
        "update legacy_tokens set user_id = 'user-2', updated_at = now() - interval '1 day' where id in (1, 501);
         update legacy_tokens set access_token = null, refresh_token = null where id = 33;
         update legacy_tokens set user_id = null where tenant_id is null and id % 3 = 2 and id <> 2;
         update legacy_tokens set access_token = null, refresh_token = null where id in (35, 353)",
    )
    .await;
    bed.api.set_refused_users(["user-44", "user-345"]);
    bed.api
        .script([Fault::None, Fault::CutAfterCommit, Fault::Unreadable]);
    // The stand-in knows everybody; a login ID is the user's ID there.
    bed.set(&format!(
        "batch.max_tokens = 50
         batch.grow_to = 200
         source.page_size = 150
         source.columns.login_id = {{ sql = \"case when tenant_id is null then 'user-' || id end\" }}
         source.provider.provider = {{ sql = \"case when id <> 33 then 'google' end\" }}
         {FAST_LOOKUPS}"
    ))
}

async fn killed_at(bed: &Bed, place: &str, nth: u32) -> bool {
    killed_within(bed, &["migrate", "--json"], place, nth).await
}

async fn killed_within(bed: &Bed, arguments: &[&str], place: &str, nth: u32) -> bool {
    bed.killed_at(arguments, place, nth).await.signal() == Some(Signal::SIGKILL as i32)
}

/// What must hold after the run that completes, however many processes it took.
async fn assert_true_ledger(bed: &Bed) {
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["status"], "completed_with_failures");
    assert_eq!(
        ran["tokens"],
        json!({"selected": 600, "committed": 595, "failed": 3, "superseded": 2, "unchanged": 0})
    );
    for (destination, count) in bed.api.writes() {
        assert_eq!(count, 1, "{destination:?} was written {count} times");
    }
    assert_eq!(bed.api.stored_count(), 595);
    let states = bed
        .texts("select state || ' ' || count(*) from tokenferry.tokens group by state order by state")
        .await;
    assert_eq!(states, ["committed 595", "failed 3", "superseded 2"]);
    assert_eq!(
        bed.number("select count(*) from tokenferry.batches where state = 'in_flight'")
            .await,
        0
    );
    let sent = bed
        .number("select sum(token_count) from tokenferry.batches where state = 'committed'")
        .await;
    assert_eq!(sent, 595);
}

/// A test for each place, so that they run side by side.
macro_rules! at_each_place {
    ($($place:ident),+ $(,)?) => {
        mod a_process_killed_there_loses_nothing_and_repeats_nothing {
            $(
                #[tokio::test]
                async fn $place() {
                    super::loses_nothing_and_repeats_nothing(stringify!($place)).await;
                }
            )+
        }

        #[test]
        fn every_place_has_its_test() {
            assert_eq!([$(stringify!($place)),+], PLACES);
        }
    };
}

at_each_place!(
    outdated, resolved, fetched, intent, departing, sent, answered, settling, isolating, committed, cursor,
);

async fn loses_nothing_and_repeats_nothing(place: &str) {
    for nth in [1, 3] {
        let bed = eventful_bed().await;
        let killed = killed_at(&bed, place, nth).await;
        assert!(killed || nth > 1, "nothing came by {place}");
        if killed {
            assert_true_ledger(&bed).await;
        }
    }
}

#[tokio::test]
async fn a_canary_killed_at_any_place_loses_nothing_and_repeats_nothing() {
    for place in ["intent", "sent", "answered", "settling", "isolating", "committed"] {
        let bed = Bed::new().await;
        bed.rows(1, 100).await;
        bed.sql("update legacy_tokens set refresh_token = 'dead' where id = 2")
            .await;
        bed.api
            .change_rules(|rules| rules.dead_refresh_prefix = Some("dead".to_owned()));
        bed.api.script([Fault::CutAfterCommit]);
        let canary = ["migrate", "--json", "--canary", "9", "--canary-failures", "1"];
        let nth = if ["settling", "isolating"].contains(&place) {
            1
        } else {
            3
        };
        assert!(killed_within(&bed, &canary, place, nth).await, "{place}");
        let ran = bed.run(&canary).await.ended_with(3).json();
        assert_eq!(
            (
                &ran["resumed"],
                &ran["tokens"]["committed"],
                &ran["tokens"]["failed"]
            ),
            (&json!(true), &json!(99), &json!(1)),
            "{place}"
        );
        assert!(bed.api.writes().values().all(|&count| count == 1), "{place}");
        assert_eq!(bed.api.stored_count(), 99);
    }
}

#[tokio::test]
async fn a_process_killed_again_and_again_gets_there() {
    let bed = eventful_bed().await;
    for place in [
        "outdated",
        "intent",
        "sent",
        "cursor",
        "answered",
        "intent",
        "settling",
        "committed",
    ] {
        killed_at(&bed, place, 2).await;
    }
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["tokens"]["selected"], 600);
    assert!(bed.api.writes().values().all(|&count| count == 1));
    assert_eq!(bed.api.stored_count(), 595);
}

/// New tokens stay in their batch, tokens that were there before get rows: a statement for each, and a place
/// to wait in it.
#[tokio::test]
async fn a_process_killed_inside_of_the_statement_that_records_the_outcome() {
    for (rows, hold, release) in [
        (
            "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
             select id, 'google', 'user-' || id, 'access-' || id, now() from generate_series(111, 210) as id",
            "create function tokenferry.hold() returns trigger language plpgsql as $$ begin
                 perform pg_advisory_xact_lock(4711);
                 return new;
             end $$;
             create trigger hold before update on tokenferry.batches for each row
                 when (new.state = 'committed') execute function tokenferry.hold()",
            "drop trigger hold on tokenferry.batches",
        ),
        (
            "update legacy_tokens set access_token = 'changed-' || id where id > 10",
            "create function tokenferry.hold() returns trigger language plpgsql as $$ begin
                 perform pg_advisory_xact_lock(4711);
                 return new;
             end $$;
             create trigger hold before insert or update on tokenferry.token_rows for each row
                 when (new.state = 'committed') execute function tokenferry.hold()",
            "drop trigger hold on tokenferry.token_rows",
        ),
    ] {
        let bed = Bed::new().await;
        bed.user_rows(1, 110).await;
        bed.migrate().await.ended_with(0);
        bed.sql(rows).await;
        bed.sql(hold).await;
        let mut transaction = bed.pool.begin().await.unwrap();
        sqlx::query("select pg_advisory_xact_lock(4711)")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let mut child = bed.spawn_migrate();
        let waiting =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and wait_event = 'advisory'
                       and datname = current_database()";
        timeout(Duration::from_secs(30), async {
            while bed.number(waiting).await == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        child.kill().await.unwrap();
        // The server goes on with what it was asked, and ends it while the next process settles what is in
        // flight.
        let mut next = bed.spawn_migrate();
        timeout(Duration::from_secs(30), async {
            while bed
                .number("select count(*) from tokenferry.runs where resumed")
                .await
                == 0
            {
                sleep(Duration::from_millis(5)).await;
            }
            sleep(Duration::from_millis(200)).await;
        })
        .await
        .unwrap();
        transaction.rollback().await.unwrap();
        next.wait().await.unwrap();
        bed.sql(release).await;
        let ran = bed.migrate().await.ended_with(0).json();
        let all = bed.number("select count(*) from legacy_tokens").await;
        assert_eq!(
            ran["tokens"],
            json!({"selected": all, "committed": 0, "failed": 0, "superseded": 0, "unchanged": all})
        );
        assert_eq!(bed.number("select count(*) from tokenferry.tokens").await, all);
        let in_flight = "select count(*) from tokenferry.batches where state = 'in_flight'";
        assert_eq!(bed.number(in_flight).await, 0);
        bed.assert_arrived().await;
        let most = bed.api.writes().into_values().max();
        assert_eq!(most, Some(if rows.starts_with("insert") { 1 } else { 2 }));
    }
}

/// Some change, some fail, some are replaced: before that they get rows, and the process ends right after.
#[tokio::test]
async fn a_process_killed_after_it_moved_packed_tokens_leaves_each_in_one_place() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.migrate().await.ended_with(0);
    let packed = "select count(*) from tokenferry.batches where key_range is not null";
    assert_eq!(bed.number(packed).await, 3);
    bed.sql(
        "update legacy_tokens set access_token = 'renewed-' || id, updated_at = now() where id between 1 and 110;
         update legacy_tokens set provider = null where id in (120, 250);
         insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         select 1000 + id, 'google', 'user-' || id, 'access-' || id, now() + interval '1 minute' from generate_series(201, 210) as id",
    )
    .await;
    let one_place = "select (select count(*) from tokenferry.tokens) - (select count(distinct source_key) from tokenferry.tokens)";
    let mut kills = 0;
    while killed_at(&bed, "moved", 1).await {
        kills += 1;
        assert_eq!(bed.number(one_place).await, 0);
        assert!(bed.number("select count(*) from tokenferry.tokens").await >= 300);
    }
    assert!(kills > 1, "{kills}");
    let states = "select state || ' ' || count(*) from tokenferry.tokens group by state order by state";
    assert_eq!(
        bed.texts(states).await,
        ["committed 298", "failed 2", "superseded 10"]
    );
    assert_eq!(bed.number(one_place).await, 0);
    assert!(bed.api.writes().values().all(|&count| count <= 2));
}

#[tokio::test]
async fn books_that_do_not_close_are_a_bug_that_is_reported_as_one() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let mut command = bed.command(&["migrate", "--json"]);
    command.env("TOKENFERRY_MISCOUNT", "1");
    let ran = ended(command.output()).await.ended_with(1);
    assert!(
        ran.stderr
            .contains("the counts do not add up: 300 rows were read and 200 have an outcome"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("This is a bug"), "{}", ran.stderr);
    assert_eq!(ran.json()["status"], "interrupted");
    // Nothing that is recorded as committed is in doubt: the next run goes on, and sends nothing again.
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}
