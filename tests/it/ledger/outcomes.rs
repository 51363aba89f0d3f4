//! Outcomes: each may be recorded twice, since an answer may be lost, and none may be changed into another.

use std::time::Duration;

use tokenferry::{
    domain::{
        Attributes, Counters, Decision, Evidence, Prior, Probe, Reason, RunStatus, SourceKey, Tally,
        TokenState, Unsent, Version, Witness,
    },
    ledger::{BatchOutcome, Checkpoint, Ledger, LedgerError, RemainingTokens, Rows, Run},
};

use crate::support::{
    database::TestDatabase,
    ledger::{access, batch, begin, fingerprint, item, open, open_batch, outcome},
};

async fn ledger() -> (TestDatabase, Ledger, Run) {
    let database = TestDatabase::create().await;
    let ledger = open(&access(&database)).await.unwrap();
    let run = begin(&ledger).await;
    ledger.refresh_filters(&run).await.unwrap();
    (database, ledger, run)
}

/// Every token with its state and how often it came to an outcome.
async fn tokens(database: &TestDatabase) -> Vec<String> {
    let sql = "select source_key || ' ' || state || coalesce(' ' || error_code, '') || ' ' || attempts \
               from tokenferry.tokens order by source_key";
    database.texts(sql).await
}

async fn batches(database: &TestDatabase) -> Vec<String> {
    let sql = "select id || ' ' || state || ' ' || attempts || coalesce(' ' || error_code, '') \
               from tokenferry.batches order by id";
    database.texts(sql).await
}

fn reason() -> Reason {
    Reason::api("E152110", "bad token")
}

#[tokio::test]
async fn a_commit_that_is_repeated_changes_nothing() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1", "2"]).await;
    assert_eq!(batches(&database).await, [format!("{} in_flight 1", batch.id)]);
    assert!(
        tokens(&database).await.is_empty(),
        "nothing is said before the answer"
    );
    let items = [item(&ledger, "1"), item(&ledger, "2")];
    for _ in 0..3 {
        ledger
            .commit_batch(&outcome(batch), Rows::New(&items))
            .await
            .unwrap();
        assert_eq!(tokens(&database).await, ["1 committed 1", "2 committed 1"]);
        assert_eq!(batches(&database).await, [format!("{} committed 1", batch.id)]);
    }
    assert!(ledger.unsettled().await.unwrap().is_empty());
    // By its place, since a row's own key is asked about once in a run, before there is anything to know.
    let known = ledger
        .lookup(
            [SourceKey::from("1")].iter(),
            [items[0].destination_id].into_iter(),
        )
        .await
        .unwrap();
    let settled = known.rows[&SourceKey::from("1")];
    assert_eq!((settled.state, settled.run), (TokenState::Committed, run.id));
    assert_eq!(settled.fingerprint, Some(fingerprint(&ledger, "1")));
}

/// What was taken for new may have come to an outcome meanwhile.
#[tokio::test]
async fn rows_that_are_not_new_after_all_are_recorded_all_the_same() {
    let (database, ledger, run) = ledger().await;
    let failed = open_batch(&ledger, &run, &["2"]).await;
    ledger
        .fail_batch(&outcome(failed), &reason(), &[(0, reason())])
        .await
        .unwrap();
    let batch = open_batch(&ledger, &run, &["1", "2"]).await;
    let items = [item(&ledger, "1"), item(&ledger, "2")];
    ledger
        .commit_batch(&outcome(batch), Rows::New(&items))
        .await
        .unwrap();
    assert_eq!(tokens(&database).await, ["1 committed 1", "2 committed 2"]);
    assert!(ledger.unsettled().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failure_that_is_repeated_changes_nothing() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1", "2", "3"]).await;
    for _ in 0..3 {
        ledger
            .fail_batch(&outcome(batch), &reason(), &[(1, reason())])
            .await
            .unwrap();
        assert_eq!(tokens(&database).await, ["2 failed E152110 1"]);
        assert_eq!(
            batches(&database).await,
            [format!("{} failed 1 E152110", batch.id)]
        );
    }
}

#[tokio::test]
async fn two_recordings_at_once_count_once() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1"]).await;
    let outcome = outcome(batch);
    let items = [item(&ledger, "1")];
    let (first, second) = tokio::join!(
        ledger.commit_batch(&outcome, Rows::New(&items)),
        ledger.commit_batch(&outcome, Rows::New(&items))
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(tokens(&database).await, ["1 committed 1"]);
}

#[tokio::test]
async fn an_outcome_that_contradicts_the_one_before_is_noticed() {
    let (database, ledger, run) = ledger().await;
    let committed = open_batch(&ledger, &run, &["1"]).await;
    ledger.commit_batch(&outcome(committed), Rows::Any).await.unwrap();
    let error = ledger
        .fail_batch(&outcome(committed), &reason(), &[(0, reason())])
        .await
        .unwrap_err();
    assert!(matches!(error, LedgerError::Contradiction(_)), "{error:?}");

    let failed = open_batch(&ledger, &run, &["2"]).await;
    ledger
        .fail_batch(&outcome(failed), &reason(), &[(0, reason())])
        .await
        .unwrap();
    let error = ledger
        .commit_batch(&outcome(failed), Rows::Any)
        .await
        .unwrap_err();
    assert!(matches!(error, LedgerError::Contradiction(_)), "{error:?}");
    assert_eq!(tokens(&database).await, ["1 committed 1", "2 failed E152110 1"]);
}

#[tokio::test]
async fn an_outcome_is_never_recorded_for_another_batch_of_the_same_id() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1"]).await;
    // As a ledger is that was restored to a moment before, and has used the same id again since.
    database
        .execute("update tokenferry.batches set nonce = gen_random_uuid()")
        .await;
    let committing = ledger.commit_batch(&outcome(batch), Rows::Any).await;
    assert!(matches!(committing, Err(LedgerError::WentBack)), "{committing:?}");
    let packing = ledger
        .commit_batch(&outcome(batch), Rows::New(&[item(&ledger, "1")]))
        .await;
    assert!(matches!(packing, Err(LedgerError::WentBack)), "{packing:?}");
    let failing = ledger.fail_batch(&outcome(batch), &reason(), &[]).await;
    assert!(matches!(failing, Err(LedgerError::WentBack)), "{failing:?}");
    assert!(ledger.reopen_batch(&run, batch, 2).await.is_err());
    assert_eq!(batches(&database).await, [format!("{} in_flight 1", batch.id)]);
}

#[tokio::test]
async fn a_batch_sent_again_counts_from_its_latest_attempt() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1"]).await;
    database
        .execute("update tokenferry.batches set submitted_at = now() - interval '1 hour'")
        .await;
    let before = ledger.unsettled().await.unwrap();
    assert!(before[0].age >= Duration::from_secs(3600));
    ledger.reopen_batch(&run, batch, 2).await.unwrap();
    let after = ledger.unsettled().await.unwrap();
    assert_eq!((after.len(), after[0].batch, after[0].attempts), (1, batch, 2));
    assert!(after[0].age < Duration::from_secs(3600));
    ledger.commit_batch(&outcome(batch), Rows::Any).await.unwrap();
    // Too late: what is settled stays so.
    assert!(ledger.reopen_batch(&run, batch, 3).await.is_err());
    assert_eq!(batches(&database).await, [format!("{} committed 1", batch.id)]);
}

#[tokio::test]
async fn a_batch_left_behind_says_how_to_find_out_about_it() {
    let (_database, ledger, run) = ledger().await;
    let mut second = item(&ledger, "2");
    second.destination.tenant_id = Some("t".to_owned());
    second.destination.external_identifier = Some("x".to_owned());
    let second = Witness {
        probe: Probe::new(&second.destination, true),
        access: None,
        refresh: Some(ledger.key().value_digest("the token")),
        attributes: Attributes {
            expiry: Some(17),
            ..Attributes::default()
        },
        evidence: Evidence {
            refresh: true,
            ..Evidence::default()
        },
    };
    let sent = batch(vec![item(&ledger, "1"), item(&ledger, "2")]);
    let opened = ledger
        .open_batch(&run, &sent, std::slice::from_ref(&second))
        .await
        .unwrap();
    let left = ledger.unsettled().await.unwrap();
    assert_eq!((left[0].batch, left[0].token_count), (opened, 2));
    assert_eq!(left[0].witnesses, [second]);
}

#[tokio::test]
async fn what_may_be_stored_and_nobody_can_tell_makes_its_destination_uncertain() {
    let (_database, ledger, run) = ledger().await;
    let item = item(&ledger, "1");
    let place = item.destination_id;
    let prior = async || {
        let known = ledger.lookup(std::iter::empty(), [place].into_iter()).await;
        known.unwrap().prior(&item.destination, &place)
    };
    assert_eq!(prior().await, Prior::Nothing);
    let refused = open_batch(&ledger, &run, &["1"]).await;
    ledger
        .fail_batch(&outcome(refused), &reason(), &[])
        .await
        .unwrap();
    assert_eq!(prior().await, Prior::Nothing, "nothing of it is stored");
    let committed = open_batch(&ledger, &run, &["1"]).await;
    ledger.commit_batch(&outcome(committed), Rows::Any).await.unwrap();
    assert_eq!(prior().await, Prior::Token(item.parts));
    let uncertain = open_batch(&ledger, &run, &["1"]).await;
    let possible = BatchOutcome {
        residue: RemainingTokens::Possible,
        ..outcome(uncertain)
    };
    for _ in 0..2 {
        ledger.fail_batch(&possible, &reason(), &[]).await.unwrap();
        assert_eq!(prior().await, Prior::Unresolved);
    }
    let again = open_batch(&ledger, &run, &["1"]).await;
    ledger.commit_batch(&outcome(again), Rows::Any).await.unwrap();
    assert_eq!(prior().await, Prior::Token(item.parts));
}

#[tokio::test]
async fn the_newer_row_supersedes_the_one_it_replaces_and_only_when_committed() {
    let (database, ledger, run) = ledger().await;
    let first = open_batch(&ledger, &run, &["1"]).await;
    ledger.commit_batch(&outcome(first), Rows::Any).await.unwrap();
    let place = item(&ledger, "1");
    let mut newer = item(&ledger, "9");
    newer.destination = place.destination.clone();
    newer.destination_id = place.destination_id;
    newer.version = Version::new(Some(2));
    newer.replaces = Some(SourceKey::from("1"));
    let second = ledger.open_batch(&run, &batch(vec![newer]), &[]).await.unwrap();
    assert_eq!(tokens(&database).await, ["1 committed 1"]);
    ledger.commit_batch(&outcome(second), Rows::Any).await.unwrap();
    assert_eq!(tokens(&database).await, ["1 superseded 1", "9 committed 1"]);
    let known = ledger
        .lookup(std::iter::empty(), [place.destination_id].into_iter())
        .await
        .unwrap();
    assert_eq!(known.incumbents[&place.destination_id].key, SourceKey::from("9"));
}

#[tokio::test]
async fn a_token_that_failed_may_be_committed_later() {
    let (database, ledger, run) = ledger().await;
    let failed = Decision {
        key: SourceKey::from("1"),
        destination: Some(item(&ledger, "1").destination),
        app: None,
        version: Version::new(Some(1)),
        row_digest: None,
        end: Unsent::Failed(Reason::validation("no_token", "the row has no token")),
    };
    ledger.record_outcomes(&run, &[failed]).await.unwrap();
    assert_eq!(tokens(&database).await, ["1 failed no_token 1"]);
    let batch = open_batch(&ledger, &run, &["1"]).await;
    ledger.commit_batch(&outcome(batch), Rows::Any).await.unwrap();
    assert_eq!(tokens(&database).await, ["1 committed 2"]);
}

#[tokio::test]
async fn another_migration_sees_none_of_it() {
    let (database, ledger, run) = ledger().await;
    let batch = open_batch(&ledger, &run, &["1"]).await;
    open_batch(&ledger, &run, &["2"]).await;
    ledger.commit_batch(&outcome(batch), Rows::Any).await.unwrap();
    let mut access = access(&database);
    access.migration = "others".to_owned();
    let other = open(&access).await.unwrap();
    assert!(other.unsettled().await.unwrap().is_empty());
    let place = item(&ledger, "1").destination_id;
    let known = other
        .lookup([SourceKey::from("1")].iter(), [place].into_iter())
        .await
        .unwrap();
    assert!(known.rows.is_empty() && known.incumbents.is_empty());
}

#[tokio::test]
async fn an_entry_that_comes_after_the_end_of_its_run_changes_nothing() {
    let (database, ledger, run) = ledger().await;
    let standing = |committed| {
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
    };
    ledger.advance(&run, &standing(5)).await.unwrap();
    // Recorded twice, as if the first answer had been lost.
    for _ in 0..2 {
        let finished = ledger
            .finish(&run, &standing(9), RunStatus::Completed, None)
            .await;
        finished.unwrap();
    }
    // Given up while it was under way, and carried out late.
    let late = ledger.advance(&run, &standing(7)).await;
    assert!(matches!(late, Err(LedgerError::TakenOver)), "{late:?}");
    let books = "select status || ' ' || tokens_committed || ' ' || tokens_selected || ' ' || cursor_committed from tokenferry.runs";
    assert_eq!(database.texts(books).await, ["completed 9 9 9"]);
}
