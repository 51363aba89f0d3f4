//! The legacy table, and what is asked about it.

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokenferry::temp_postgres::{self, Durability, TempServer};

use crate::postgres_cpu::Postmaster;

pub(crate) const TABLE: &str = "bench_source.legacy_oauth_tokens";

/// A database with a legacy table in it.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    postmaster: Option<Postmaster>,
    server: Option<TempServer>,
}

impl Database {
    /// The database of `url`, or of the environment, or one on a scratch server.
    pub(crate) async fn start(url: Option<String>) -> anyhow::Result<Self> {
        let url = url.or_else(|| std::env::var("TOKENFERRY_BENCH_DATABASE_URL").ok());
        let (url, server) = match url {
            Some(url) => (url, None),
            None => {
                // Commits wait for the disk, as they do in earnest.
                let options = temp_postgres::Options {
                    durability: Durability::Disk,
                    ..temp_postgres::Options::default()
                };
                let server = temp_postgres::any(options).await?;
                eprintln!("{}", server.describe());
                server.create_database("crm").await?;
                (server.url("crm"), Some(server))
            }
        };
        let mut database = Self {
            url,
            postmaster: None,
            server,
        };
        let backend = database.number("select pg_backend_pid()::bigint").await?;
        database.postmaster = Postmaster::of_backend(backend.try_into()?);
        Ok(database)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Makes the table anew. Its tokens are random, so that no storage or network makes them smaller, and a
    /// row stays below the size at which Postgres would try.
    pub(crate) async fn fill(&self, rows: u64) -> anyhow::Result<()> {
        // Not logged: the table is not needed after a crash, and it is filled in half the time.
        self.execute(&format!(
            "set client_min_messages = warning;
             drop schema if exists bench_source cascade;
             create schema bench_source;
             create unlogged table {TABLE} (
                 id bigint primary key,
                 provider text not null,
                 user_id text not null,
                 tenant_id text,
                 access_token text not null,
                 refresh_token text,
                 token_type text,
                 scope text,
                 expires_at timestamptz,
                 updated_at timestamptz not null
             );
             insert into {TABLE}
             select id, (array['google', 'slack'])[1 + id % 2], 'U2' || translate(left(encode(sha256(id::text::bytea), 'base64'), 25), '+/', 'xy'),
                    case when id % 3 = 0 then 'T' || id % 500 end,
                    'eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.' || left(random.text, 987), right(random.text, 200), 'Bearer',
                    'openid email https://www.googleapis.com/auth/calendar', now() + interval '1 hour' * (id % 48),
                    now() - interval '1 second' * (id % 1000000)
             from generate_series(1, {rows}) as id, lateral (
                 select translate(encode(string_agg(sha512((id || ':' || part)::text::bytea), ''), 'base64'), E'+/=\\n', '-_') as text
                 from generate_series(1, 14) as part
             ) as random"
        ))
        .await?;
        self.execute(&format!("vacuum analyze {TABLE}")).await
    }

    /// Changes the tokens of so many rows, picked at random but the same ones for the same `seed`.
    pub(crate) async fn change_rows(&self, rows: u64, seed: u32) -> anyhow::Result<()> {
        self.execute(&format!(
            "update {TABLE} set access_token = left(access_token, 37) || reverse(substr(access_token, 38)), updated_at = now()
             where id in (select id from {TABLE} order by hashint8extended(id, {seed}) limit {rows});
             analyze {TABLE}"
        ))
        .await
    }

    pub(crate) async fn drop_ledger(&self, schema: &str) -> anyhow::Result<()> {
        self.execute(&format!(
            "set client_min_messages = warning; drop schema if exists {schema} cascade"
        ))
        .await
    }

    pub(crate) async fn checkpoint(&self) -> anyhow::Result<()> {
        self.execute("checkpoint").await
    }

    /// Counts the committed tokens of a ledger.
    pub(crate) async fn committed(&self, schema: &str) -> anyhow::Result<u64> {
        self.number(&format!(
            "select count(*) from {schema}.tokens where state = 'committed'"
        ))
        .await
    }

    /// The size of a ledger's tables with their indexes.
    pub(crate) async fn ledger_bytes(&self, schema: &str) -> anyhow::Result<u64> {
        self.number(&format!(
            "select sum(pg_total_relation_size(oid))::bigint from pg_class
             where relnamespace = '{schema}'::regnamespace and relkind = 'r'"
        ))
        .await
    }

    /// All WAL that the server ever wrote.
    pub(crate) async fn wal_bytes(&self) -> anyhow::Result<u64> {
        self.number("select (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .await
    }

    /// The CPU that the server has used so far.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        self.postmaster.as_ref()?.cpu_seconds()
    }

    async fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let number: i64 = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await?;
        Ok(number.try_into()?)
    }

    async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        connection
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .map(drop)
            .context("the database refuses a statement of the bench")
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        if let Some(server) = self.server {
            server.stop().await?;
        }
        Ok(())
    }
}
