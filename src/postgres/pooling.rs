//! Detects a pooler that hands each transaction to another session.
//!
//! What a session is told stays with the server's process, and so does a statement that was prepared: behind such a pooler the next
//! application would have both. So this is found out before a session is told anything.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions, raw_sql};
use tokio::time::timeout;

use super::Failure;

/// A session that does not answer by then is waiting for a process of its own.
const ANSWER: Duration = Duration::from_secs(1);

const ROUNDS: usize = 3;

/// Fails if two sessions are served by one process, or one by several. Nothing is left behind, not even a prepared statement.
pub(super) async fn turn_down(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), sqlx::Error> {
    // Whoever may have one session only has it for himself: a pooler would let the second one wait.
    let Ok(Ok(mut other)) = timeout(ANSWER, PgConnection::connect_with(options)).await else {
        return Ok(());
    };
    let is_pooled = is_pooled(connection, &mut other).await;
    // If the goodbye fails, the connection is gone.
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

/// The server's process that is at the other end now.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = raw_sql("select pg_catalog.pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
