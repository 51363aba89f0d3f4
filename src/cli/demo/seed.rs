//! The legacy table of the demo: realistic rows, a few of them broken, and the fixes for those.

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, Executor, FromRow, PgConnection};

use crate::secret::Secret;

/// The demo's legacy table.
#[derive(Debug)]
pub(super) struct LegacyTable<'a> {
    url: &'a Secret,
    schema: &'static str,
    ledger_schema: &'static str,
}

/// A row as the application that owns the table knows it.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) provider: String,
    pub(super) user_id: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) token_type: String,
    pub(super) scope: String,
}

/// The outbound app of each legacy provider, as in the configuration.
pub(super) const APPS: [(&str, &str); 4] = [
    ("google", "google-calendar"),
    ("hubspot", "hubspot-crm"),
    ("salesforce", "salesforce-crm"),
    ("slack", "slack-workspace"),
];

/// Users that the stand-in does not know: their IDs have typos.
pub(super) fn unknown_users() -> [String; 3] {
    [41, 4_041, 8_041].map(|number| format!("U2typo{number}"))
}

impl<'a> LegacyTable<'a> {
    /// In a server of the demo's own the names are those of a real setup; in one that was brought along they
    /// are ours to drop.
    pub(super) fn new(url: &'a Secret, own_server: bool) -> Self {
        let (schema, ledger_schema) = if own_server {
            ("crm", "tokenferry")
        } else {
            ("tokenferry_demo_crm", "tokenferry_demo_ledger")
        };
        Self {
            url,
            schema,
            ledger_schema,
        }
    }

    pub(super) fn table(&self) -> String {
        format!("{}.legacy_oauth_tokens", self.schema)
    }

    /// Makes and fills the table.
    pub(super) async fn create(&self, tokens: u32) -> anyhow::Result<()> {
        let table = self.table();
        let last = unknown_users().map(|user| format!("'{user}'"));
        let statements = [
            format!("create schema {}", self.schema),
            format!(
                "create table {table} (id bigint generated always as identity primary key, provider text not null, \
                 user_id text, tenant_id text, access_token text, refresh_token text, expires_at timestamptz, \
                 token_type text not null default 'Bearer', scope text not null, updated_at timestamptz not null)"
            ),
            // One in ten is a tenant's. The random texts are as long as the providers' are.
            format!(
                "insert into {table} (provider, user_id, tenant_id, access_token, refresh_token, expires_at, scope, updated_at)
                 select (array['google', 'slack', 'salesforce', 'hubspot'])[1 + n % 4],
                        case when n % 10 > 0 then 'U2' || md5('user' || n) end,
                        case when n % 10 = 0 then 'T2' || md5('tenant' || n) end,
                        'ya29.a0' || random.text, '1//0g' || left(md5(random.text) || md5('r' || random.text), 50),
                        now() + n % 5000 * interval '1 minute',
                        (array['calendar.readonly email', 'chat:write,users:read', 'api refresh_token', 'crm.read crm.write'])[1 + n % 4],
                        now() - n * interval '1 second'
                 from generate_series(1, {tokens}) n,
                      lateral (select string_agg(md5(n::text || i || random()), '') as text from generate_series(1, 7) i) random"
            ),
            // Three users connected twice; the older row is the outdated one.
            format!(
                "insert into {table} (provider, user_id, access_token, refresh_token, expires_at, scope, updated_at)
                 select provider, user_id, 'outdated ' || id, null, expires_at, scope, updated_at - interval '90 days'
                 from {table} where id in (11, 12, 13)"
            ),
            // Rows that cannot be uploaded as they are.
            format!("update {table} set access_token = null, refresh_token = null where id in (21, 22, 23)"),
            format!("update {table} set provider = 'gogle' where id in (31, 32)"),
            format!("update {table} set user_id = null where id in (51, 52)"),
            format!("update {table} set expires_at = '2040-01-01' where id in (61, 62)"),
            format!("update {table} set access_token = '\"' || access_token || '\"' where id in (81, 82)"),
            format!("update {table} set user_id = (array[{}])[id - 70] where id in (71, 72, 73)", last.join(", ")),
            // As autovacuum would in a while; the progress lines need the number of rows.
            format!("analyze {table}"),
        ];
        let mut connection = self.connect().await?;
        for statement in statements {
            connection
                .execute(AssertSqlSafe(statement))
                .await
                .context("the legacy table cannot be made")?;
        }
        Ok(connection.close().await?)
    }

    /// Returns the fixes for the rows that a dry run found.
    pub(super) fn fixes(&self) -> Vec<String> {
        let table = self.table();
        vec![
            format!("delete from {table} where access_token is null and refresh_token is null"),
            format!("update {table} set provider = 'google' where provider = 'gogle'"),
            format!(
                "update {table} set user_id = 'U2' || md5('user' || id) where user_id is null and tenant_id is null"
            ),
            format!("update {table} set expires_at = null where expires_at > '2038-01-19'"),
            format!(
                "update {table} set access_token = btrim(access_token, '\"') where access_token like '\"%\"'"
            ),
        ]
    }

    /// Returns the fixes for the rows that only the API could refuse.
    pub(super) fn later_fixes(&self) -> Vec<String> {
        let table = self.table();
        vec![format!(
            "update {table} set user_id = replace(user_id, 'typo', 'user') where user_id like 'U2typo%'"
        )]
    }

    pub(super) async fn fix(&self, statements: Vec<String>) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for statement in statements {
            connection
                .execute(AssertSqlSafe(statement))
                .await
                .context("the rows cannot be fixed")?;
        }
        Ok(connection.close().await?)
    }

    /// Returns the rows that should have arrived: the newest one of each destination.
    pub(super) async fn newest_rows(&self) -> anyhow::Result<Vec<Row>> {
        let mut connection = self.connect().await?;
        let sql = format!(
            "select distinct on (provider, user_id, tenant_id) provider, user_id, tenant_id, access_token, refresh_token,
                    expires_at, token_type, scope
             from {} order by provider, user_id, tenant_id, updated_at desc, id desc",
            self.table()
        );
        let rows = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await?;
        connection.close().await?;
        Ok(rows)
    }

    /// Drops what the demo made in a server that it did not start.
    pub(super) async fn drop(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for schema in [self.schema, self.ledger_schema] {
            let sql = format!("drop schema if exists {schema} cascade");
            connection
                .execute(AssertSqlSafe(sql))
                .await
                .with_context(|| format!("schema {schema} cannot be dropped"))?;
        }
        Ok(connection.close().await?)
    }

    /// Returns the configuration for this table.
    pub(super) fn configuration(&self, base_url: &str) -> String {
        let apps = APPS
            .map(|(name, app)| {
                format!(
                    "{name} = \"{app}\"
"
                )
            })
            .concat();
        format!(
            r#"migration = "crm-tokens"

[source]
url = "env:SOURCE_DATABASE_URL"
table = "{table}"
key = "id"

[source.columns]
app = "provider"
user_id = "user_id"
tenant_id = "tenant_id"
access_token = "access_token"
refresh_token = "refresh_token"
access_token_expiry = "expires_at"
access_token_type = "token_type"
scopes = "scope"
updated_at = "updated_at"

[apps]
{apps}
[ledger]
schema = "{ledger}"

[api]
base_url = "{base_url}"
project_id = "env:DESCOPE_PROJECT_ID"
management_key = "env:DESCOPE_MANAGEMENT_KEY"
timeout = "2s"

[api.rate_limit]
requests = {quota}
per = "10s"

[batch]
max_tokens = 100
concurrency = 4
"#,
            table = self.table(),
            ledger = self.ledger_schema,
            quota = super::QUOTA,
        )
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        // The driver's error may quote the URL's parts; its kind is enough to know what to do.
        PgConnection::connect(self.url.reveal())
            .await
            .map_err(crate::postgres::Failure::from)
            .context("the demo's database does not answer")
    }
}
