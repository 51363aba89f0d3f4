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
    arrived(world, legacy, &tokens, &mut wrong);
    recorded(legacy, &tokens, &mut wrong);
    books(world, legacy, pool, &mut wrong).await;
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

/// The API holds the newest row of each destination, and got it once.
fn arrived(world: &World, legacy: &Legacy, tokens: &BTreeMap<i64, Recorded>, wrong: &mut Vec<String>) {
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
    for (destination, expected, values) in legacy.destinations() {
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
                found.is_some() == is_committed
            }
            (Expected::Nothing, None) => true,
            _ => false,
        };
        if !fits || written > values {
            let id = match expected {
                Expected::Token { row, .. } => row,
                Expected::Either { last_row } => last_row,
                Expected::Nothing => 0,
            };
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
async fn books(world: &World, legacy: &Legacy, pool: &PgPool, wrong: &mut Vec<String>) {
    let stored = world.api.stored_count().to_string();
    let rows = legacy.ends().count().to_string();
    let questions = [
        (
            "batches in flight",
            "select count(*) from tokenferry.batches where state = 'in_flight'",
            "0".to_owned(),
        ),
        (
            "tokens in committed batches",
            "select sum(token_count) from tokenferry.batches where state = 'committed'",
            world.writes().to_string(),
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
    for (what, sql, expected) in questions {
        let found: String = sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::text")))
            .fetch_one(pool)
            .await
            .unwrap();
        if found != expected {
            wrong.push(format!("{what}: {found}, and it should be {expected}"));
        }
    }
}
