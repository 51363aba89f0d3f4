//! Tokens of a batch that arrived stay in the batch for a while, and get rows of their own later. Nobody may
//! see a difference.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, migrate::Migrator};
use tokenferry::{
    config::LedgerAccess,
    domain::{Item, SourceKey},
    ledger::{Ledger, LedgerReader, Rows, Run},
};

use crate::support::{
    database::TestDatabase,
    ledger::{access, batch, begin, fingerprint, item, open, outcome},
};

const SHOWN: &str = "select row_to_json(t)::text from tokenferry.tokens t order by source_key";
const PACKED: &str =
    "select count(*)::text from tokenferry.batches where state = 'committed' and source_keys is not null";
const FILED: &str = "select count(*)::text from tokenferry.token_rows";

async fn counts(database: &TestDatabase) -> (String, String) {
    let (packed, filed) = (database.texts(PACKED).await, database.texts(FILED).await);
    (packed[0].clone(), filed[0].clone())
}

fn counted(packed: &str, filed: &str) -> (String, String) {
    (packed.to_owned(), filed.to_owned())
}

/// A batch with these rows, sent and stored.
async fn packed(ledger: &Ledger, run: &Run, items: Vec<Item>) -> Vec<Item> {
    let batch = batch(items);
    let id = ledger.open_batch(run, &batch, &[]).await.unwrap();
    ledger.commit_batch(&outcome(id), Rows::of(&batch)).await.unwrap();
    batch.items
}

fn items(ledger: &Ledger, keys: &[&str]) -> Vec<Item> {
    keys.iter().map(|key| item(ledger, key)).collect()
}

async fn ledger() -> (TestDatabase, LedgerAccess, Ledger, Run) {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let ledger = open(&access).await.unwrap();
    let run = begin(&ledger).await;
    (database, access, ledger, run)
}

#[tokio::test]
async fn packed_or_filed_a_token_looks_the_same() {
    let (database, access, ledger, run) = ledger().await;
    let mut tenant = item(&ledger, "2");
    tenant.destination.user_id = None;
    tenant.destination.tenant_id = Some("acme".to_owned());
    packed(&ledger, &run, vec![item(&ledger, "1"), tenant]).await;
    packed(&ledger, &run, items(&ledger, &["3"])).await;
    assert_eq!(counts(&database).await, counted("2", "0"));
    let shown = database.texts(SHOWN).await;
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown[1].contains(r#""tenant_id":"acme""#), "{shown:?}");
    let mut reports = LedgerReader::open(&access).await.unwrap();
    let (before, _) = reports.history("3", 5).await.unwrap();
    assert_eq!(before[0].outcome.as_ref().unwrap().state, "committed");
    assert_eq!(before[0].batches.len(), 1);
    let (apps, _) = reports.outcomes_by_app(run.id).await.unwrap();
    assert_eq!(apps[0].committed, 3);

    ledger.file_older().await.unwrap();
    assert_eq!(
        counts(&database).await,
        counted("2", "0"),
        "it is the turn of what is older"
    );
    ledger.file_older().await.unwrap();
    assert_eq!(counts(&database).await, counted("0", "3"));
    assert_eq!(database.texts(SHOWN).await, shown);
    let (after, _) = reports.history("3", 5).await.unwrap();
    assert_eq!(
        serde_json::to_value(&after).unwrap(),
        serde_json::to_value(&before).unwrap()
    );
    ledger.file_older().await.unwrap();
    assert_eq!(counts(&database).await, counted("0", "3"), "once is enough");
}

#[tokio::test]
async fn what_is_packed_is_found_by_its_place() {
    let (database, _, ledger, run) = ledger().await;
    packed(&ledger, &run, items(&ledger, &["1", "2"])).await;
    let there = packed(&ledger, &run, items(&ledger, &["3", "4"])).await;
    let known = ledger
        .lookup(
            std::iter::empty(),
            [item(&ledger, "9").destination_id].into_iter(),
        )
        .await
        .unwrap();
    assert!(known.incumbents.is_empty());
    assert_eq!(
        counts(&database).await,
        counted("2", "0"),
        "a stranger moves nothing"
    );

    let place = there[1].destination_id;
    let known = ledger
        .lookup(std::iter::empty(), [place].into_iter())
        .await
        .unwrap();
    assert_eq!(known.incumbents[&place].key.as_str(), "4");
    assert_eq!(
        counts(&database).await,
        counted("1", "2"),
        "the batch that holds it"
    );

    // Many places at once: everything.
    let keys: Vec<String> = (100..300).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let many = packed(&ledger, &run, items(&ledger, &keys)).await;
    let known = ledger
        .lookup(std::iter::empty(), many.iter().map(|item| item.destination_id))
        .await
        .unwrap();
    assert_eq!(known.incumbents.len(), 200);
    assert_eq!(counts(&database).await, counted("0", "204"));
}

#[tokio::test]
async fn what_a_process_left_packed_is_filed_before_the_next_one_asks() {
    let (database, access, first, run) = ledger().await;
    packed(&first, &run, items(&first, &["1", "2"])).await;
    let second = open(&access).await.unwrap();
    begin(&second).await;
    second.file_left_behind().await.unwrap();
    assert_eq!(counts(&database).await, counted("0", "2"));
    let keys = [SourceKey::from("2")];
    let known = second.lookup(keys.iter(), std::iter::empty()).await.unwrap();
    assert_eq!(known.rows[&keys[0]].fingerprint, Some(fingerprint(&second, "2")));
    // The first one does not know that, and goes on.
    first.file_older().await.unwrap();
    first.file_older().await.unwrap();
    assert_eq!(counts(&database).await, counted("0", "2"));
}

#[tokio::test]
async fn two_who_file_the_same_write_it_once() {
    let (database, access, first, run) = ledger().await;
    for number in 0..40 {
        packed(&first, &run, items(&first, &[&number.to_string()])).await;
    }
    first.file_older().await.unwrap();
    let shown = database.texts(SHOWN).await;
    let others = [open(&access).await.unwrap(), open(&access).await.unwrap()];
    let selection = tokenferry::domain::Selection::All;
    let (mine, theirs, again) = tokio::join!(
        first.file_older(),
        others[0].begin_dry_run(&selection, "one"),
        others[1].begin_dry_run(&selection, "another"),
    );
    mine.unwrap();
    theirs.unwrap();
    again.unwrap();
    assert_eq!(counts(&database).await, counted("0", "40"));
    assert_eq!(database.texts(SHOWN).await, shown);
}

/// A batch is remembered before it is recorded. If that takes long, it must not be forgotten meanwhile.
#[tokio::test]
async fn a_batch_whose_recording_takes_long_is_not_forgotten() {
    let (database, _, ledger, run) = ledger().await;
    let slow = batch(items(&ledger, &["1"]));
    let id = ledger.open_batch(&run, &slow, &[]).await.unwrap();
    let pool = database.pool().await;
    let mut holding = pool.begin().await.unwrap();
    sqlx::query("select from tokenferry.batches where id = $1 for update")
        .bind(id.id)
        .execute(&mut *holding)
        .await
        .unwrap();
    let outcome = outcome(id);
    let committing = ledger.commit_batch(&outcome, Rows::of(&slow));
    let meanwhile = async {
        while database
            .texts("select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")
            .await
            != ["1"]
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // By its own, since filing waits for the batch as well.
        packed(&ledger, &run, items(&ledger, &["2"])).await;
        let filing = async {
            for _ in 0..3 {
                ledger.file_older().await.unwrap();
            }
        };
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            holding.rollback().await.unwrap();
        };
        tokio::join!(filing, release);
    };
    let (committed, ()) = tokio::join!(committing, meanwhile);
    committed.unwrap();
    let place = slow.items[0].destination_id;
    let known = ledger
        .lookup(std::iter::empty(), [place].into_iter())
        .await
        .unwrap();
    assert_eq!(known.incumbents[&place].key.as_str(), "1");
}

/// It takes a defect elsewhere to come to this. It must not keep every other token from being filed.
#[tokio::test]
async fn a_key_that_is_packed_twice_is_filed_as_it_was_last() {
    let (database, access, ledger, run) = ledger().await;
    packed(&ledger, &run, items(&ledger, &["1", "2"])).await;
    packed(&ledger, &run, items(&ledger, &["2", "3"])).await;
    open(&access).await.unwrap().file_left_behind().await.unwrap();
    let shown = "select source_key || ' ' || batch_id from tokenferry.tokens order by source_key";
    assert_eq!(database.texts(shown).await, ["1 1", "2 2", "3 2"]);
}

/// A role's patience is meant for statements that hang.
#[tokio::test]
async fn filing_takes_as_long_as_it_takes() {
    let (database, access, ledger, run) = ledger().await;
    packed(&ledger, &run, items(&ledger, &["1"])).await;
    database
        .execute(
            "create function tokenferry.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$;
             create trigger slow before insert on tokenferry.token_rows for each row execute function tokenferry.slow();
             do $$ begin execute format('alter database %I set statement_timeout = 100', current_database()); end $$",
        )
        .await;
    open(&access).await.unwrap().file_left_behind().await.unwrap();
    assert_eq!(counts(&database).await, counted("0", "1"));
}

/// The ledger as the version before knew it, with rows, a batch in flight and somebody who reads it.
#[tokio::test]
async fn a_ledger_from_before_goes_on_as_it_was() {
    let database = TestDatabase::create().await;
    let reader = database.role("reader");
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute("create schema tokenferry; set search_path to tokenferry")
        .await
        .unwrap();
    let mut before = Migrator::new(std::path::Path::new("migrations")).await.unwrap();
    before
        .migrations
        .to_mut()
        .retain(|migration| migration.version < 20_261_126_020_000);
    before.run(&mut connection).await.unwrap();
    let former = format!(
        "create role {reader};
         grant select on tokens to {reader};
         insert into runs (migration, mode, holder) values ('tests', 'migrate', 'before');
         insert into batches (run_id, subject, token_count, nonce, state, finished_at)
         values (1, 'user', 1, gen_random_uuid(), 'committed', now());
         insert into tokens (migration, source_key, state, app_id, user_id, destination, fingerprint, batch_id, run_id)
         values ('tests', '1', 'committed', 'google', '1', '\\x01', sha256('1'), 1, 1);
         insert into batches (run_id, subject, token_count, nonce, source_keys, fingerprints, destinations, source_versions,
                app_ids, user_ids, tenant_ids, probe_position, probe_by_refresh_token, probe_digest)
         values (1, 'user', 1, gen_random_uuid(), '{{2}}', array[sha256('2')], array['\\x02'::bytea], '{{1}}', '{{google}}', '{{2}}',
                '{{null}}', 1, false, sha256('at'))"
    );
    connection.execute(AssertSqlSafe(former)).await.unwrap();
    let shown = database.texts(SHOWN).await;

    let ledger = open(&access(&database)).await.unwrap();
    // Columns that came later are null.
    let as_before: Vec<String> = database
        .texts(SHOWN)
        .await
        .into_iter()
        .map(|row| row.replace(r#","superseded_code":null,"superseded_by":null"#, ""))
        .collect();
    assert_eq!(as_before, shown);
    let readable = format!("select has_table_privilege('{reader}', 'tokenferry.tokens', 'select')::text");
    assert_eq!(database.texts(&readable).await, ["true"]);
    let run = begin(&ledger).await;
    let left = ledger.unsettled().await.unwrap();
    // Nothing was at its destination before: the one token to ask for still proves something.
    assert_eq!(left[0].witnesses.len(), 1);
    assert!(left[0].witnesses[0].evidence.access && left[0].witnesses[0].evidence.was_empty);
    ledger
        .commit_batch(&outcome(left[0].batch), Rows::Any)
        .await
        .unwrap();
    assert_eq!(counts(&database).await, counted("0", "2"));
    packed(&ledger, &run, items(&ledger, &["3"])).await;
    assert_eq!(database.texts(SHOWN).await.len(), 3);
}
