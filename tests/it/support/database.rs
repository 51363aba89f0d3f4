//! An empty database for each test.

use std::{thread, time::Duration};

use sqlx::{AssertSqlSafe, Executor, PgPool, postgres::PgPoolOptions};
use tokio::{runtime, time::timeout};
use url::Url;

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

    /// The URL with another user, password and database in it; `None` leaves the database as it is.
    pub(crate) fn url_for(&self, user: &str, password: &str, database: Option<&str>) -> String {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url.set_path(database.unwrap_or(&self.name));
        url.into()
    }

    /// The URL for a role that may connect and has no other right yet, and the role's name.
    pub(crate) async fn create_guest(&self) -> (String, String) {
        let guest = self.role("guest");
        self.execute(&format!("create role {guest} login password 'guest'"))
            .await;
        (self.url_for(&guest, "guest", None), guest)
    }

    /// Roles belong to the whole server, so each test needs names of its own. The role goes when the database
    /// goes.
    pub(crate) fn role(&self, of: &str) -> String {
        format!("{}_{of}", self.name)
    }

    /// The first column of every row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let pool = self.pool().await;
        let texts = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&pool)
            .await
            .unwrap();
        pool.close().await;
        texts
    }

    /// Runs one or several statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let pool = self.pool().await;
        pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        pool.close().await;
    }
}

impl Drop for TestDatabase {
    /// On a server that goes away with this process the database goes with it; on another one it must not
    /// stay.
    fn drop(&mut self) {
        if !self.server.kept {
            return;
        }
        let server = self.server;
        let statements = [
            format!("drop database if exists {} with (force)", self.name),
            format!(
                "do $$ declare role text; begin
                     for role in select rolname from pg_roles where starts_with(rolname, '{}_') loop
                         execute format('drop role %I', role);
                     end loop;
                 end $$",
                self.name
            ),
        ];
        // The test's runtime cannot be waited on from here.
        let dropped = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let drop = async {
                    let mut admin = server.connect().await?;
                    for statement in statements {
                        admin.execute(AssertSqlSafe(statement)).await?;
                    }
                    Ok::<(), sqlx::Error>(())
                };
                timeout(Duration::from_secs(10), drop)
                    .await
                    .map_err(std::io::Error::other)?
                    .map_err(std::io::Error::other)
            })
        });
        if !matches!(dropped.join(), Ok(Ok(()))) {
            eprintln!(
                "the database {} is left on the server of TEST_DATABASE_URL",
                self.name
            );
        }
    }
}
