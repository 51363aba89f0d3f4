//! One migration, in a process of its own.

use std::{ffi::OsString, io::Write};

use crate::{
    database::{Database, TABLE},
    measured::Measured,
};

/// The target of a migration, and its limits.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) base_url: String,
    pub(crate) project_id: String,
    pub(crate) management_key: String,
    pub(crate) max_tokens: u32,
    /// Within a second.
    pub(crate) requests: u32,
    /// The greatest key that is read.
    pub(crate) up_to: Option<u64>,
}

impl Target {
    /// An API without credentials, and no quota to speak of.
    pub(crate) fn open(base_url: &str) -> Self {
        Self {
            base_url: base_url.to_owned(),
            project_id: "Pbench".to_owned(),
            management_key: "Kbench".to_owned(),
            max_tokens: 500,
            requests: 1_000_000,
            up_to: None,
        }
    }

    fn config(&self, database: &Database, schema: &str) -> String {
        let condition = self
            .up_to
            .map(|key| format!("where = \"id <= {key}\""))
            .unwrap_or_default();
        format!(
            r#"
            migration = "bench"

            [source]
            url = "{url}"
            table = "{TABLE}"
            key = "id"
            page_size = 5000
            {condition}

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
            google = "google-calendar"
            slack = "slack-bot"

            [ledger]
            schema = "{schema}"

            [api]
            base_url = "{base_url}"
            project_id = "{project_id}"
            management_key = "{management_key}"

            [api.rate_limit]
            requests = {requests}
            per = "1s"

            [batch]
            max_tokens = {max_tokens}
            concurrency = 8
            "#,
            url = database.url(),
            base_url = self.base_url,
            project_id = self.project_id,
            management_key = self.management_key,
            requests = self.requests,
            max_tokens = self.max_tokens,
        )
    }
}

/// Migrates with a new ledger in `schema`.
pub(crate) async fn run(database: &Database, schema: &str, target: &Target) -> anyhow::Result<Measured> {
    database.without_ledger(schema).await?;
    let mut config = tempfile::Builder::new().suffix(".toml").tempfile()?;
    config.write_all(target.config(database, schema).as_bytes())?;
    let command: [OsString; 6] = [
        env!("CARGO_BIN_EXE_tokenferry").into(),
        "--config".into(),
        config.path().into(),
        "--quiet".into(),
        "migrate".into(),
        "--json".into(),
    ];
    Measured::run(&command).await
}
