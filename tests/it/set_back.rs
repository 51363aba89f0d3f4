//! A ledger that goes back in time while a run works with it: it is restored to an earlier state, or a
//! replica that lagged takes over. The run notices it and ends, and the next one finds out what is stored.

use serde_json::json;
use tokenferry::{
    domain::{Counters, Destination, Tally},
    ledger::{Checkpoint, LedgerError, Rows},
    simulator::Fault,
};
use tokio::time::{Duration, Instant, timeout};

use crate::support::{
    bed::{Bed, TOKEN, ended},
    database::TestDatabase,
    ledger::{access, batch, begin, item, open, open_batch, outcome},
};

/// Every table of the ledger whose rows come and go, those that others refer to first.
pub(crate) const TABLES: [&str; 17] = [
    "runs",
    "batches",
    "token_rows",
    "findings",
    "former_places",
    "known_users",
    "run_events",
    "verifications",
    "dry_run_rows",
    "rollbacks",
    "forgotten_tokens",
    "clean_ranges",
    "learned_sizes",
    "quotas",
    "acknowledgements",
    "run_failures",
    "fingerprint_key",
];

/// Puts a copy of the ledger aside.
async fn back_up(bed: &Bed) {
    let copies = TABLES.map(|table| format!("create table backup.{table} as table tokenferry.{table};"));
    bed.sql(&format!(
        "begin isolation level repeatable read; create schema backup; {} commit",
        copies.concat()
    ))
    .await;
}

/// Brings the ledger back to the copy, and its numbers with it.
async fn restore(bed: &Bed) {
    let contents = TABLES.map(|table| {
        format!("insert into tokenferry.{table} overriding system value select * from backup.{table};")
    });
    let sequences = ["runs", "batches"].map(|table| {
        format!(
            "select setval(pg_get_serial_sequence('tokenferry.{table}', 'id'), coalesce(max(id), 0) + 1, false) from backup.{table};"
        )
    });
    bed.sql(&format!(
        "begin; truncate {}; {} {} commit",
        TABLES.map(|table| format!("tokenferry.{table}")).join(", "),
        contents.concat(),
        sequences.concat()
    ))
    .await;
}

/// `migrate`, at a pace of 200 tokens a second.
fn slow_migrate(bed: &Bed) -> tokio::process::Child {
    bed.command(&["migrate", "--json", "-v"])
        .env("TOKENFERRY__BATCH__MAX_TOKENS", "10")
        .env("TOKENFERRY__BATCH__GROW_TO", "10")
        .env("TOKENFERRY__API__RATE_LIMIT__REQUESTS", "20")
        .env("TOKENFERRY__API__RATE_LIMIT__PER", "1s")
        .spawn()
        .unwrap()
}

/// The run has ended because of it, soon, and the next one makes everything true again.
async fn assert_noticed(bed: &Bed, run: tokio::process::Child, rows: i64) {
    let restored = Instant::now();
    let ran = ended(run.wait_with_output()).await.ended_with(6);
    assert!(
        restored.elapsed() < Duration::from_secs(8),
        "{:?}",
        restored.elapsed()
    );
    assert!(
        ran.stderr.contains("the ledger went back in time"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("`ledger.url`"), "{}", ran.stderr);
    assert_eq!(ran.json()["status"], "interrupted");
    assert!(
        bed.api.stored_count() < usize::try_from(rows).unwrap(),
        "it went on sending"
    );

    bed.migrate().await.ended_with(0);
    bed.assert_arrived().await;
    for (destination, count) in bed.api.writes() {
        assert!(count <= 2, "{destination:?} was written {count} times");
    }
    let committed = "select count(*) from tokenferry.tokens where state = 'committed'";
    assert_eq!(bed.number(committed).await, rows);
    let in_flight = "select count(*) from tokenferry.batches where state = 'in_flight'";
    assert_eq!(bed.number(in_flight).await, 0);
    let quiet = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&quiet["tokens"]["committed"], &quiet["tokens"]["unchanged"]),
        (&json!(0), &json!(rows))
    );
    // It began after the ledger was restored, and has looked at all.
    assert_eq!(bed.number(FORGOTTEN).await, 0);
}

const FORGOTTEN: &str = "select count(*) from tokenferry.forgotten_tokens where migration = 'test'";

#[tokio::test]
async fn a_run_notices_that_its_ledger_was_restored_to_an_earlier_state() {
    let bed = Bed::new().await;
    bed.rows(1, 3000).await;
    let run = slow_migrate(&bed);
    bed.arrived(200).await;
    back_up(&bed).await;
    // The books are written every two seconds at least.
    bed.arrived(900).await;
    restore(&bed).await;
    assert_noticed(&bed, run, 3000).await;
}

#[tokio::test]
async fn a_run_notices_that_its_ledger_knows_nothing_of_it() {
    let bed = Bed::new().await;
    bed.rows(1, 50).await;
    bed.migrate().await.ended_with(0);
    back_up(&bed).await;
    bed.rows(51, 2000).await;
    let run = slow_migrate(&bed);
    bed.arrived(300).await;
    restore(&bed).await;
    assert_noticed(&bed, run, 2000).await;
}

#[tokio::test]
async fn a_run_that_others_have_begun_since_under_the_same_number_is_not_taken_for_this_one() {
    let bed = Bed::new().await;
    bed.rows(1, 50).await;
    bed.migrate().await.ended_with(0);
    back_up(&bed).await;
    bed.rows(51, 2000).await;
    let run = slow_migrate(&bed);
    bed.arrived(300).await;
    restore(&bed).await;
    bed.sql(
        "insert into tokenferry.runs (migration, mode, holder) values ('another', 'migrate', 'somebody else')",
    )
    .await;
    assert_noticed(&bed, run, 2000).await;
    let others = "select tokens_selected from tokenferry.runs where migration = 'another'";
    assert_eq!(bed.number(others).await, 0, "its books are its own");
}

fn standing(committed: i64) -> Checkpoint<'static> {
    let tally = Tally {
        selected: committed,
        committed,
        ..Tally::default()
    };
    Checkpoint {
        cursor: None,
        up_to_cursor: tally,
        tally,
        counters: Counters::default(),
    }
}

#[tokio::test]
async fn nothing_leaves_on_the_word_of_a_ledger_that_went_back() {
    let database = TestDatabase::create().await;
    let ledger = open(&access(&database)).await.unwrap();
    let run = begin(&ledger).await;
    let open_one = open_batch(&ledger, &run, &["1"]).await;
    for _ in 0..3 {
        ledger.advance(&run, &standing(1)).await.unwrap();
    }
    for (change, is_taken_over) in [
        ("update tokenferry.runs set writes = writes - 1", false),
        ("update tokenferry.runs set writes = 17, epoch = 2", true),
        ("update tokenferry.runs set epoch = 1", false),
        ("update tokenferry.runs set epoch = 0", false),
        ("truncate tokenferry.runs cascade", false),
    ] {
        database.execute(change).await;
        let items = vec![item(&ledger, "2")];
        let opened = ledger.open_batch(&run, &batch(items), &[]).await.map(drop);
        let reopened = ledger.reopen_batch(&run, open_one, 2).await;
        let advanced = ledger.advance(&run, &standing(2)).await;
        for refused in [opened, reopened, advanced] {
            let as_expected = match refused {
                Err(LedgerError::TakenOver) => is_taken_over,
                Err(LedgerError::WentBack) => !is_taken_over,
                _ => false,
            };
            assert!(as_expected, "{change}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn an_outcome_that_is_lost_between_two_writings_of_the_books_is_missed() {
    let database = TestDatabase::create().await;
    let ledger = open(&access(&database)).await.unwrap();
    let run = begin(&ledger).await;
    let (kept, lost) = (
        open_batch(&ledger, &run, &["1"]).await,
        open_batch(&ledger, &run, &["2"]).await,
    );
    ledger.commit_batch(&outcome(kept), Rows::Any).await.unwrap();
    ledger.refresh_filters(&run).await.unwrap();
    ledger.advance(&run, &standing(1)).await.unwrap();
    // Found there once, it is not asked for again.
    database
        .execute("update tokenferry.batches set nonce = gen_random_uuid() where state = 'committed'")
        .await;
    ledger.advance(&run, &standing(1)).await.unwrap();
    let item = [item(&ledger, "2")];
    ledger
        .commit_batch(&outcome(lost), Rows::New(&item))
        .await
        .unwrap();
    database
        .execute(
            "update tokenferry.batches set state = 'in_flight', finished_at = null, key_range = null where key_range is not null",
        )
        .await;
    let advanced = timeout(Duration::from_secs(10), ledger.advance(&run, &standing(2))).await;
    assert!(matches!(advanced, Ok(Err(LedgerError::WentBack))), "{advanced:?}");
}

/// Forty rows that were sent, a change of some of them that was sent too, and a third run, during which the
/// ledger is restored to the state before that change.
async fn bed_with_a_forgotten_run(change: &str) -> Bed {
    let bed = Bed::new().await;
    bed.user_rows(1, 40).await;
    bed.migrate().await.ended_with(0);
    back_up(&bed).await;
    bed.sql(change).await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(41, 3000).await;
    let run = slow_migrate(&bed);
    bed.arrived(200).await;
    restore(&bed).await;
    ended(run.wait_with_output()).await.ended_with(6);
    assert_eq!(bed.number(FORGOTTEN).await, 1);
    bed
}

#[tokio::test]
async fn what_a_restored_ledger_has_forgotten_proves_nothing() {
    let bed = bed_with_a_forgotten_run(
        "update legacy_tokens set access_token = 'renewed-' || id, updated_at = now() where id < 40",
    )
    .await;
    // Nearly all that the next upload holds is at its destination already, and the ledger does not know it.
    bed.sql("update legacy_tokens set access_token = 'renewed-40', updated_at = now() where id = 40")
        .await;
    bed.api.script([Fault::CutBeforeCommit]);
    let ran = bed.migrate().await.ended_with(0);
    assert!(ran.stderr.contains("may not know all tokens"), "{}", ran.stderr);
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived().await;
}

/// Renewed and sent by a run that the ledger has forgotten, and changed back since: the ledger calls the old
/// token stored.
#[tokio::test]
async fn what_a_restored_ledger_calls_stored_is_sent_again() {
    let bed = bed_with_a_forgotten_run(
        "update legacy_tokens set access_token = 'renewed-' || id, updated_at = now() where id <= 10",
    )
    .await;
    bed.sql(&format!(
        "update legacy_tokens set access_token = '{TOKEN}-access-' || id, updated_at = now() where id <= 10"
    ))
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["resumed"], &ran["tokens"]["unchanged"]),
        (&json!(false), &json!(0))
    );
    bed.assert_arrived().await;
}

/// Before scopes were looked at, destinations had other IDs.
#[tokio::test]
async fn a_ledger_from_before_scopes_proves_nothing_by_what_it_sent_and_learns_where_it_is() {
    let bed = Bed::new().await;
    bed.user_rows(1, 40).await;
    bed.sql("update legacy_tokens set scope = 'calendar'").await;
    bed.migrate().await.ended_with(0);
    bed.move_to_rows().await;
    let destinations = "select encode(destination, 'hex') from tokenferry.tokens order by source_key::int";
    let now = bed.texts(destinations).await;
    for row in 1..=40 {
        let former = Destination::user("google", format!("user-{row}")).id();
        let hex = former
            .as_bytes()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        bed.sql(&format!(
            "update tokenferry.token_rows set destination = '\\x{hex}', parts = null where source_key = '{row}'"
        ))
        .await;
    }
    bed.sql("insert into tokenferry.forgotten_tokens (migration, extent) values ('test', 'scoped')")
        .await;
    // The same access token stays where only the expiry changes.
    bed.sql("update legacy_tokens set expires_at = expires_at + interval '1 day', updated_at = now() where id <= 20")
        .await;
    bed.api.script([Fault::CutBeforeCommit]);
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["unchanged"]),
        (&json!(20), &json!(20))
    );
    assert_eq!(bed.api.scripted(), 0);
    bed.assert_arrived().await;
    assert_eq!(bed.texts(destinations).await, now);
    assert_eq!(
        bed.number("select count(*) from tokenferry.forgotten_tokens")
            .await,
        0
    );
}
