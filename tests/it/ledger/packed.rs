//! Tokens of a batch that was stored stay in the batch's row, and get rows of their own when something about
//! them changes. Nobody may see a difference.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, migrate::Migrator};
use tokenferry::{
    config::LedgerAccess,
    domain::{Adopted, DestinationId, Item, LedgerState, Prior, SourceKey},
    ledger::{Ledger, LedgerReader, Rows, Run},
};

use crate::{
    set_back::TABLES,
    support::{
        bed::{Bed, MOVE_TO_ROWS},
        database::TestDatabase,
        ledger::{access, batch, begin, fingerprint, item, open, outcome},
    },
};

const SHOWN: &str = "select row_to_json(t)::text from tokenferry.tokens t order by source_key";
const PACKED: &str = "select (select count(*) from tokenferry.batches where key_range is not null)
                      || ' batches, ' || (select count(*) from tokenferry.token_rows) || ' rows'";

async fn places(database: &TestDatabase) -> String {
    database.texts(PACKED).await.remove(0)
}

/// A batch with these rows, sent and stored.
async fn stored(ledger: &Ledger, run: &Run, items: Vec<Item>) -> Vec<Item> {
    let batch = batch(items);
    let id = ledger.open_batch(run, &batch, &[]).await.unwrap();
    ledger.commit_batch(&outcome(id), Rows::of(&batch)).await.unwrap();
    batch.items
}

fn items(ledger: &Ledger, keys: &[&str]) -> Vec<Item> {
    keys.iter().map(|key| item(ledger, key)).collect()
}

/// A ledger of a process that packs.
async fn ledger() -> (TestDatabase, LedgerAccess, Ledger, Run) {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let ledger = open(&access).await.unwrap();
    let run = begin(&ledger).await;
    ledger.refresh_filters(&run).await.unwrap();
    (database, access, ledger, run)
}

/// Gives a token a row of its own, and changes nothing about it.
async fn moved(ledger: &Ledger, run: &Run, item: &Item) {
    let adopted = Adopted {
        key: item.key.clone(),
        destination: item.destination_id,
    };
    ledger.adopt(run, &[adopted]).await.unwrap();
}

async fn at(ledger: &Ledger, destinations: &[DestinationId]) -> LedgerState {
    let destinations = destinations.iter().copied();
    ledger.lookup(std::iter::empty(), destinations).await.unwrap()
}

async fn of(ledger: &Ledger, keys: &[&str]) -> LedgerState {
    let keys: Vec<SourceKey> = keys.iter().map(|&key| SourceKey::from(key)).collect();
    ledger.lookup(keys.iter(), std::iter::empty()).await.unwrap()
}

#[tokio::test]
async fn packed_or_in_a_row_a_token_looks_the_same() {
    let (database, access, ledger, run) = ledger().await;
    let mut tenant = item(&ledger, "2");
    tenant.destination.user_id = None;
    tenant.destination.tenant_id = Some("acme".to_owned());
    tenant.destination.app_id = "other".to_owned();
    let mut sent = stored(&ledger, &run, vec![item(&ledger, "1"), tenant]).await;
    sent.extend(stored(&ledger, &run, items(&ledger, &["3"])).await);
    assert_eq!(places(&database).await, "2 batches, 0 rows");
    let shown = database.texts(SHOWN).await;
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown[0].contains(r#""app_id":"google","user_id":"1""#),
        "{shown:?}"
    );
    assert!(
        shown[1].contains(r#""app_id":"other","user_id":null,"tenant_id":"acme""#),
        "{shown:?}"
    );
    let mut reports = LedgerReader::open(&access).await.unwrap();
    let mut before = Vec::new();
    for of in ["1", "acme", "3"] {
        before.extend(reports.history(of, 5).await.unwrap().0);
    }
    assert_eq!(before[1].source_key, "2");
    assert_eq!(before[2].outcome.as_ref().unwrap().state, "committed");
    assert_eq!(before[2].batches.len(), 1);
    let (apps, _) = reports.outcomes_by_app(run.id).await.unwrap();
    assert_eq!(apps.iter().map(|app| app.committed).sum::<i64>(), 3);
    let before = serde_json::to_value(&before).unwrap();

    for (item, expected) in sent
        .iter()
        .zip(["2 batches, 1 rows", "1 batches, 2 rows", "0 batches, 3 rows"])
    {
        moved(&ledger, &run, item).await;
        assert_eq!(places(&database).await, expected);
        assert_eq!(database.texts(SHOWN).await, shown);
        let mut after = Vec::new();
        for of in ["1", "acme", "3"] {
            after.extend(reports.history(of, 5).await.unwrap().0);
        }
        assert_eq!(serde_json::to_value(&after).unwrap(), before);
        let known = of_all(&ledger, &sent).await;
        for item in &sent {
            assert_eq!(known.rows[&item.key].fingerprint, Some(item.fingerprint));
            assert_eq!(known.incumbents[&item.destination_id].key, item.key);
            let prior = known.prior(&item.destination, &item.destination_id);
            assert_eq!(prior, Prior::Token(item.parts));
        }
    }
}

async fn of_all(ledger: &Ledger, items: &[Item]) -> LedgerState {
    let keys = items.iter().map(|item| &item.key);
    let destinations = items.iter().map(|item| item.destination_id);
    ledger.lookup(keys, destinations).await.unwrap()
}

/// By the process that packed it, by the next one, and by one that has loaded no filters.
#[tokio::test]
async fn what_is_packed_is_found_by_its_key_and_by_its_destination() {
    let (_database, access, ledger, run) = ledger().await;
    let keys: Vec<String> = (95..300).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut sent = Vec::new();
    for keys in keys.chunks(50) {
        sent.extend(stored(&ledger, &run, items(&ledger, keys)).await);
    }
    sent.extend(stored(&ledger, &run, items(&ledger, &["a", "b"])).await);
    let (next, without) = (open(&access).await.unwrap(), open(&access).await.unwrap());
    let next_run = begin(&next).await;
    next.refresh_filters(&next_run).await.unwrap();
    let strangers = [
        item(&ledger, "94"),
        item(&ledger, "9"),
        item(&ledger, "aa"),
        item(&ledger, "c"),
    ];
    for ledger in [&ledger, &next, &without] {
        let stranger = of_all(ledger, &strangers).await;
        assert!(
            stranger.rows.is_empty() && stranger.incumbents.is_empty() && stranger.prior_tokens.is_empty()
        );
        let destinations: Vec<_> = sent.iter().map(|item| item.destination_id).collect();
        for known in [of_all(ledger, &sent).await, at(ledger, &destinations).await] {
            assert_eq!(known.incumbents.len(), sent.len());
            assert_eq!(known.prior_tokens.len(), sent.len());
        }
        let known = of(ledger, &["299", "b", "95"]).await;
        assert_eq!(known.rows.len(), 3);
        let key = SourceKey::from("299");
        assert_eq!(known.rows[&key].fingerprint, Some(fingerprint(ledger, "299")));
        let one = at(ledger, &destinations[7..8]).await;
        assert_eq!(one.incumbents[&destinations[7]].key, sent[7].key);
    }
}

/// Otherwise each lookup would have to read all of them.
#[tokio::test]
async fn batches_whose_keys_come_in_no_order_get_rows() {
    let (database, _, ledger, run) = ledger().await;
    let mut sent = Vec::new();
    for number in 0..12 {
        let keys = [format!("{}", 100 + number), format!("{}", 900 - number)];
        sent.extend(stored(&ledger, &run, items(&ledger, &[&keys[0], &keys[1]])).await);
    }
    assert_eq!(places(&database).await, "9 batches, 6 rows");
    // What lies elsewhere is none of theirs.
    sent.extend(stored(&ledger, &run, items(&ledger, &["2000", "2001"])).await);
    assert_eq!(places(&database).await, "10 batches, 6 rows");
    let known = of_all(&ledger, &sent).await;
    assert_eq!((known.rows.len(), known.incumbents.len()), (26, 26));
    assert_eq!(database.texts(SHOWN).await.len(), 26);
}

#[tokio::test]
async fn two_tokens_at_one_destination_are_both_found_and_their_content_is_unknown() {
    let (_database, access, ledger, run) = ledger().await;
    let there = stored(&ledger, &run, items(&ledger, &["1", "2"])).await;
    let mut access = access.clone();
    access.migration = "others".to_owned();
    let other = open(&access).await.unwrap();
    let others_run = begin(&other).await;
    other.refresh_filters(&others_run).await.unwrap();
    // Packed by another migration after the filters were loaded.
    stored(&other, &others_run, items(&other, &["1"])).await;
    ledger.refresh_filters(&run).await.unwrap();
    let known = of_all(&ledger, &there).await;
    let (shared, alone) = (&there[0], &there[1]);
    assert_eq!(known.incumbents[&shared.destination_id].key, shared.key);
    assert_eq!(
        known.prior(&shared.destination, &shared.destination_id),
        Prior::Unknown
    );
    assert_eq!(
        known.prior(&alone.destination, &alone.destination_id),
        Prior::Token(alone.parts)
    );
    // And a row of the other migration.
    moved(&other, &others_run, &item(&other, "1")).await;
    stored(&other, &others_run, items(&other, &["2"])).await;
    moved(&other, &others_run, &item(&other, "2")).await;
    ledger.refresh_filters(&run).await.unwrap();
    let known = of_all(&ledger, &there).await;
    for item in &there {
        assert_eq!(
            known.prior(&item.destination, &item.destination_id),
            Prior::Unknown
        );
    }
}

/// Packed tokens are read first and rows second. The second part waits here, while the token moves and
/// changes.
#[tokio::test]
async fn a_token_that_becomes_a_row_while_it_is_looked_for_is_found_once() {
    let (database, _, ledger, run) = ledger().await;
    let sent = stored(&ledger, &run, items(&ledger, &["1", "2"])).await;
    let pool = database.pool().await;
    let mut moving = pool.begin().await.unwrap();
    moving
        .execute("lock table tokenferry.token_rows in access exclusive mode")
        .await
        .unwrap();
    let others = open(&access(&database)).await.unwrap();
    let looked_up = of_all(&others, &sent);
    let meanwhile = async {
        let waiting = "select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        while database.texts(waiting).await != ["1"] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        moving.execute(MOVE_TO_ROWS).await.unwrap();
        moving
            .execute(
                "update tokenferry.token_rows set fingerprint = sha256('renewed') where source_key = '2'",
            )
            .await
            .unwrap();
        moving.commit().await.unwrap();
    };
    let (known, ()) = tokio::join!(looked_up, meanwhile);
    assert_eq!(places(&database).await, "0 batches, 2 rows");
    for item in &sent {
        assert_eq!(known.incumbents[&item.destination_id].key, item.key);
        let prior = known.prior(&item.destination, &item.destination_id);
        assert_eq!(prior, Prior::Token(item.parts), "once");
    }
    let is_old = |item: &Item| known.rows[&item.key].fingerprint == Some(item.fingerprint);
    assert!(is_old(&sent[0]) && !is_old(&sent[1]), "the row counts");
}

#[tokio::test]
async fn two_who_move_the_same_move_it_once() {
    let (database, access, ledger, run) = ledger().await;
    let keys: Vec<String> = (0..60).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let sent = stored(&ledger, &run, items(&ledger, &keys)).await;
    let shown = database.texts(SHOWN).await;
    let other = open(&access).await.unwrap();
    let adopted = |range: std::ops::Range<usize>| -> Vec<Adopted> {
        let adopted = |item: &Item| Adopted {
            key: item.key.clone(),
            destination: item.destination_id,
        };
        sent[range].iter().map(adopted).collect()
    };
    let (one, two) = (adopted(0..40), adopted(20..60));
    let (mine, theirs) = tokio::join!(ledger.adopt(&run, &one), other.adopt(&run, &two));
    mine.unwrap();
    theirs.unwrap();
    assert_eq!(places(&database).await, "0 batches, 60 rows");
    assert_eq!(database.texts(SHOWN).await, shown);
}

/// Puts the ledger of a bed back into the schema of the version before tokens stayed packed: those that are
/// packed, and those in flight, are arrays.
async fn put_back(bed: &Bed) {
    let mut connection = PgConnection::connect(bed.database.url()).await.unwrap();
    connection
        .execute(
            "alter schema tokenferry rename to present;
              alter table present.runs drop column estimated_at_most, drop column failures_by_code, drop column held_since;
              drop view present.acknowledged; alter table present.token_rows drop column row_digest;
             create schema tokenferry; set search_path to tokenferry",
        )
        .await
        .unwrap();
    let mut before = Migrator::new(std::path::Path::new("migrations")).await.unwrap();
    before
        .migrations
        .to_mut()
        .retain(|migration| migration.version < 20_261_129_110_000);
    before.run(&mut connection).await.unwrap();
    // Some came later.
    let unchanged = TABLES.into_iter().filter(|table| !{
        [
            "batches",
            "learned_sizes",
            "quotas",
            "acknowledgements",
            "run_failures",
        ]
        .contains(table)
    });
    let copies = unchanged.map(|table| {
        format!("insert into tokenferry.{table} overriding system value select * from present.{table};")
    });
    let (runs, others): (Vec<_>, Vec<_>) = copies.partition(|copy| copy.contains(".runs "));
    let columns = "id, run_id, parent_id, subject, state, token_count, attempts, http_status, error_code, reason, submitted_at, \
                   finished_at, nonce, replaces, witnesses";
    let sql = format!(
        "{}
         insert into tokenferry.batches ({columns}, source_keys, fingerprints, destinations, source_versions, app_ids, user_ids,
                tenant_ids, parts) overriding system value
         select {columns}, held.*
         from present.batches cross join lateral (
                select array_agg(source_key order by position), array_agg(fingerprint order by position),
                       array_agg(destination order by position), array_agg(source_version order by position),
                       array_agg(app_id order by position), array_agg(user_id order by position),
                       array_agg(tenant_id order by position), array_agg(parts order by position)
                from present.batch_tokens where batch_id = batches.id
         ) as held order by id;
         {}
         select setval(pg_get_serial_sequence('tokenferry.runs', 'id'), max(id)) from tokenferry.runs;
         select setval(pg_get_serial_sequence('tokenferry.batches', 'id'), max(id)) from tokenferry.batches;
         drop schema present cascade",
        runs.concat(),
        others.concat(),
    );
    bed.sql(&sql).await;
}

#[tokio::test]
async fn a_ledger_of_the_version_before_loses_nothing_and_sends_nothing_twice() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.user_rows(1, 250).await;
    bed.sql(
        "update legacy_tokens set provider = null where id in (20, 120);
         update legacy_tokens set user_id = 'user-31', updated_at = now() - interval '1 day' where id = 30;
         update legacy_tokens set user_id = null, tenant_id = 'acme' where id = 40",
    )
    .await;
    bed.migrate().await.ended_with(3);
    bed.user_rows(251, 600).await;
    let killed = bed.killed_at(&["migrate", "--json"], "answered", 2).await;
    assert_eq!(killed.code(), None);
    let held =
        "select state || ' ' || count(*) || ' ' || coalesce(sum(token_count), 0) from tokenferry.batches
                where source_keys is not null group by state order by state";
    assert_eq!(bed.texts(held).await, ["committed 5 347", "in_flight 1 100"]);
    put_back(&bed).await;
    let shown = bed.texts(SHOWN).await;
    assert_eq!(shown.len(), 350);

    let access = LedgerAccess {
        migration: "test".to_owned(),
        ..access(&bed.database)
    };
    open(&access).await.unwrap().close().await;
    assert_eq!(bed.texts(SHOWN).await, shown);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        ran["tokens"],
        json!({"selected": 600, "committed": 350, "failed": 2, "superseded": 1, "unchanged": 247})
    );
    let states = "select state || ' ' || count(*) from tokenferry.tokens group by state order by state";
    assert_eq!(
        bed.texts(states).await,
        ["committed 597", "failed 2", "superseded 1"]
    );
    bed.sql("delete from legacy_tokens where provider is null").await;
    bed.assert_arrived_once().await;
    // Rows stay rows, and what is changed later is found in either place.
    bed.sql(
        "update legacy_tokens set access_token = 'renewed-' || id, updated_at = now() where id in (50, 550)",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["unchanged"]),
        (&json!(2), &json!(595))
    );
    bed.assert_arrived().await;
}

/// The ledger as an early version knew it, with rows, a batch in flight and somebody who reads it.
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
    assert_eq!(places(&database).await, "0 batches, 2 rows");
    ledger.refresh_filters(&run).await.unwrap();
    stored(&ledger, &run, items(&ledger, &["3"])).await;
    assert_eq!(places(&database).await, "1 batches, 2 rows");
    assert_eq!(database.texts(SHOWN).await.len(), 3);
}
