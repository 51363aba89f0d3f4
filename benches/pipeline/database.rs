//! The legacy table, and what is asked about it.

use std::process::Stdio;

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokenferry::temp_postgres::{self, TempServer};
use tokio::{process::Command, time::Instant};

pub(crate) const TABLE: &str = "bench_source.legacy_oauth_tokens";

/// A database with a legacy table in it.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    server: Option<TempServer>,
}

impl Database {
    /// The database of `url`, or of the environment, or one on a scratch server.
    pub(crate) async fn start(url: Option<String>) -> anyhow::Result<Self> {
        let url = url.or_else(|| std::env::var("TOKENFERRY_BENCH_DATABASE_URL").ok());
        if let Some(url) = url {
            return Ok(Self { url, server: None });
        }
        let server = temp_postgres::any(temp_postgres::Options::default()).await?;
        eprintln!("{}", server.describe());
        server.create_database("crm").await?;
        Ok(Self {
            url: server.url("crm"),
            server: Some(server),
        })
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
        self.execute(&format!("vacuum analyze {TABLE}")).await?;
        self.execute("checkpoint").await?;
        // Into the caches.
        self.copy_out().await.map(drop)
    }

    /// Has `psql` read the whole table with `COPY` to nowhere; how many seconds that takes.
    pub(crate) async fn copy_out(&self) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let status = Command::new("psql")
            .arg(&self.url)
            .args(["--no-psqlrc", "--command", &format!("COPY {TABLE} TO STDOUT")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await
            .context("the bench holds itself against `psql`, which is not to be started")?;
        ensure!(status.success(), "`psql` ended with {status}");
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Removes a ledger, and lets Postgres write out what is due, so that no run pays for the one before.
    pub(crate) async fn without_ledger(&self, schema: &str) -> anyhow::Result<()> {
        self.execute(&format!(
            "set client_min_messages = warning; drop schema if exists {schema} cascade"
        ))
        .await?;
        self.execute("checkpoint").await
    }

    /// Counts the committed tokens of a ledger.
    pub(crate) async fn committed(&self, schema: &str) -> anyhow::Result<u64> {
        self.number(&format!(
            "select count(*) from {schema}.tokens where state = 'committed'"
        ))
        .await
    }

    /// The size of the table and of the first ledger.
    pub(crate) async fn disk_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let table = format!("select pg_total_relation_size('{TABLE}')");
        let ledger = "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class
                      where relnamespace = 'bench_ledger_0'::regnamespace and relkind = 'r'";
        Ok((self.number(&table).await?, self.number(ledger).await?))
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
