//! An empty database for each test.

use std::{thread, time::Duration};

use sqlx::{AssertSqlSafe, Executor, PgPool, postgres::PgPoolOptions};
use tokio::{runtime, time::timeout};

use crate::support::server::Server;

/// A database that no other test knows of.
pub(crate) struct TestDatabase {
    server: &'static Server,
    name: String,
    url: String,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        let server = Server::shared().await;
        let name = format!(
            "tokenferry_test_{}_{:016x}",
            std::process::id(),
            rand::random::<u64>()
        );
        let mut admin = server.connect().await.unwrap();
        admin
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await
            .unwrap();
        let url = server.url(&name);
        Self { server, name, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A pool of the calling test's own.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(10)
            .connect(&self.url)
            .await
            .unwrap()
    }

    /// Runs one or several statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let pool = self.pool().await;
        pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        pool.close().await;
    }
}

impl Drop for TestDatabase {
    /// On a server that goes away with this process the database goes with it; on another one it must not stay.
    fn drop(&mut self) {
        if !self.server.kept {
            return;
        }
        let server = self.server;
        let statement = format!("drop database if exists {} with (force)", self.name);
        // The test's runtime cannot be waited on from here.
        let dropped = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let drop = async { server.connect().await?.execute(AssertSqlSafe(statement)).await };
                timeout(Duration::from_secs(10), drop)
                    .await
                    .map_err(std::io::Error::other)?
                    .map_err(std::io::Error::other)
            })
        });
        if !matches!(dropped.join(), Ok(Ok(_))) {
            eprintln!(
                "the database {} is left on the server of TEST_DATABASE_URL",
                self.name
            );
        }
    }
}
