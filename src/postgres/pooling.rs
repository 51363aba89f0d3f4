//! Detection of a pooler that assigns each transaction to a different session.
//!
//! Session settings and prepared statements stay with the server process, so behind such a pooler the next
//! application would inherit them. The check therefore runs before anything is set.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions, raw_sql};
use tokio::time::timeout;

use super::Failure;

/// A session that does not respond in this time is waiting for a server process.
const ANSWER: Duration = Duration::from_secs(1);

const ROUNDS: usize = 3;

/// Fails if two sessions share a process, or one session uses several. Leaves nothing behind, not even a
/// prepared statement.
pub(super) async fn turn_down(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), sqlx::Error> {
    // A role with a single session has it to itself: a pooler would queue the second one.
    let Ok(Ok(mut other)) = timeout(ANSWER, PgConnection::connect_with(options)).await else {
        return Ok(());
    };
    let is_pooled = is_pooled(connection, &mut other).await;
    // If this fails, the connection is gone anyway.
    let _ = timeout(ANSWER, other.close()).await;
    if is_pooled? {
        return Err(Failure::pooled().into());
    }
    Ok(())
}

async fn is_pooled(connection: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let ours = process(connection).await?;
    for _ in 0..ROUNDS {
        if process(connection).await? != ours {
            return Ok(true);
        }
        match timeout(ANSWER, process(other)).await {
            Ok(Ok(theirs)) if theirs == ours => return Ok(true),
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Ok(false),
        }
    }
    Ok(false)
}

/// Returns the server process that currently serves the connection.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = raw_sql("select pg_catalog.pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
