//! What must hold after all of it.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgPool, Row};
use tokenferry::simulator::{Destination, StoredToken};

use crate::{
    legacy::{End, Expected, Legacy},
    world::World,
};

/// Enough to see a pattern.
const SHOWN: usize = 15;

/// Fails with all that is not as it must be.
pub(crate) async fn pass(world: &mut World, legacy: &Legacy) {
    let pool = &world.ledger.pool;
    let tokens = tokens(pool).await;
    let mut wrong = Vec::new();
    let uncertain = uncertain(world, pool).await;
    let left_over = arrived(world, legacy, &tokens, &uncertain, &mut wrong);
    recorded(legacy, &tokens, &mut wrong);
    books(world, legacy, pool, &uncertain, left_over, &mut wrong).await;
    assert!(
        wrong.is_empty(),
        "{} things are wrong (logs: {}), among them:\n{}",
        wrong.len(),
        world.keep().display(),
        spread(&wrong).join("\n")
    );
}

/// Some of them: what one batch did wrong fills many lines in a row.
fn spread(wrong: &[String]) -> Vec<&str> {
    let step = wrong.len().div_ceil(SHOWN);
    wrong.iter().step_by(step).map(String::as_str).collect()
}

/// What the ledger says of a row.
struct Recorded {
    state: String,
    refused_by: Option<String>,
    /// All of it, and of its batch, for whoever has to find out what went wrong.
    story: String,
}

async fn tokens(pool: &PgPool) -> BTreeMap<i64, Recorded> {
    let rows = sqlx::query(
        "select source_key::bigint, tokens.state, refused_by,
                concat(to_jsonb(tokens) - 'fingerprint' - 'destination' - 'migration', ' ',
                       jsonb_strip_nulls(to_jsonb(batches)))
         from tokenferry.tokens left join tokenferry.batches on batches.id = batch_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| {
            let recorded = Recorded {
                state: row.get(1),
                refused_by: row.get(2),
                story: row.get(3),
            };
            (row.get(0), recorded)
        })
        .collect()
}

/// Rows that may have been written once more, for each time that nothing could tell what became of their
/// batch: it was sent again by its process, or by the next one.
async fn uncertain(world: &World, pool: &PgPool) -> BTreeMap<i64, u64> {
    let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
    for batch in world.unprovable_batches() {
        let ids: Vec<i64> = sqlx::query_scalar(
            "select source_key::bigint from tokenferry.tokens where batch_id = $1
             union
             select source_key::bigint from public.unresolved where batch = $1",
        )
        .bind(batch)
        .fetch_all(pool)
        .await
        .unwrap();
        for id in ids {
            *rows.entry(id).or_default() += 1;
        }
    }
    rows
}

/// The API holds the newest row of each destination, and got it once. Returns the number of tokens that are
/// there though the ledger does not know: nothing could tell whether they were stored, and their rows went
/// before they were sent again.
fn arrived(
    world: &World,
    legacy: &Legacy,
    tokens: &BTreeMap<i64, Recorded>,
    uncertain: &BTreeMap<i64, u64>,
    wrong: &mut Vec<String>,
) -> usize {
    let mut left_over = 0;
    let mut stored: BTreeMap<Destination, StoredToken> = BTreeMap::new();
    for token in world.api.stored() {
        stored.insert(token.destination.clone(), token);
    }
    let writes = world.api.writes();
    let story = |id| {
        tokens
            .get(&id)
            .map_or("not in the ledger", |token| token.story.as_str())
    };
    for (destination, expected, values, rows) in legacy.destinations() {
        let found = stored.remove(destination);
        let written = writes.get(destination).copied().unwrap_or_default();
        let fits = match (&expected, &found) {
            (Expected::Token { access, refresh, .. }, Some(found)) => {
                access.as_deref() == found.exposed_access_token()
                    && refresh.as_deref() == found.exposed_refresh_token()
            }
            (Expected::Either { last_row }, found) => {
                let is_committed = tokens
                    .get(last_row)
                    .is_some_and(|token| token.state == "committed");
                let is_left_over = found.is_some() && !is_committed && uncertain.contains_key(last_row);
                left_over += usize::from(is_left_over);
                is_left_over || found.is_some() == is_committed
            }
            (Expected::Nothing, None) => true,
            _ => false,
        };
        let id = match expected {
            Expected::Token { row, .. } => row,
            Expected::Either { last_row } => last_row,
            Expected::Nothing => 0,
        };
        // The newest row, or one before it.
        let values = values + rows.iter().filter_map(|row| uncertain.get(row)).sum::<u64>();
        if !fits || written > values {
            let found = found.map(|found| format!("{:?}", found.exposed_access_token()));
            wrong.push(format!(
                "{destination:?}: {expected:?} expected, {found:?} found, written {written} times for {values} values; {}",
                story(id)
            ));
        }
    }
    for destination in stored.keys() {
        wrong.push(format!("{destination:?}: nobody asked for it"));
    }
    left_over
}

/// The ledger tells of each row what became of it.
fn recorded(legacy: &Legacy, tokens: &BTreeMap<i64, Recorded>, wrong: &mut Vec<String>) {
    for (id, end) in legacy.ends() {
        let expected = match end {
            End::Committed => ("committed", None),
            End::Superseded => ("superseded", None),
            End::Refused => ("failed", Some("api")),
            End::Invalid => ("failed", Some("validation")),
        };
        match tokens.get(&id) {
            Some(found) if (found.state.as_str(), found.refused_by.as_deref()) == expected => {}
            Some(found) => wrong.push(format!("row {id} should be {expected:?}: {}", found.story)),
            None => wrong.push(format!(
                "row {id} should be {expected:?} and is not in the ledger"
            )),
        }
    }
}

/// Batches and runs add up, and to what the API counted.
async fn books(
    world: &World,
    legacy: &Legacy,
    pool: &PgPool,
    uncertain: &BTreeMap<i64, u64>,
    left_over: usize,
    wrong: &mut Vec<String>,
) {
    let stored = (world.api.stored_count() - left_over).to_string();
    let rows = legacy.ends().count().to_string();
    let questions = [
        (
            "batches in flight",
            "select count(*) from tokenferry.batches where state = 'in_flight'",
            "0".to_owned(),
        ),
        (
            "tokens committed",
            "select count(*) from tokenferry.tokens where state = 'committed'",
            stored,
        ),
        (
            "completed runs whose books do not close",
            "select count(*) from tokenferry.runs where status like 'completed%'
                    and tokens_selected <> tokens_committed + tokens_failed + tokens_superseded + tokens_unchanged",
            "0".to_owned(),
        ),
        (
            "rows in the books of the last run",
            "select tokens_selected from tokenferry.runs order by id desc limit 1",
            rows,
        ),
        (
            "runs not at their end",
            "select count(*) from tokenferry.runs where status not like 'completed%'",
            "0".to_owned(),
        ),
    ];
    let count = async |sql: &str| -> String {
        sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::text")))
            .fetch_one(pool)
            .await
            .unwrap()
    };
    // What nothing could tell of is written once more than the ledger knows.
    let committed = count("select sum(token_count) from tokenferry.batches where state = 'committed'").await;
    let committed: u64 = committed.parse().unwrap();
    let once_more: u64 = uncertain.values().sum();
    if !(committed..=committed + once_more).contains(&world.writes()) {
        wrong.push(format!(
            "tokens in committed batches: {committed}, {} were written, and {once_more} of them may be more",
            world.writes()
        ));
    }
    for (what, sql, expected) in questions {
        let found = count(sql).await;
        if found != expected {
            wrong.push(format!("{what}: {found}, and it should be {expected}"));
        }
    }
}
