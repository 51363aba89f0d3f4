//! One migration, in a process of its own.

use std::{ffi::OsString, io::Write};

use crate::{
    cost::Cost,
    database::{Database, TABLE},
    migration_config::migration_config,
};

/// The target of a migration, and its limits.
#[derive(Debug, Clone)]
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
            .map(|key| format!("source.where = \"id <= {key}\""))
            .unwrap_or_default();
        let lines = format!(
            r#"
            migration = "bench"
            source.url = "{url}"
            source.table = "{TABLE}"
            source.page_size = 5000
            {condition}
            source.columns.access_token_type = "token_type"
            apps.google = "google-calendar"
            apps.slack = "slack-bot"
            ledger.schema = "{schema}"
            api.project_id = "{project_id}"
            api.management_key = "{management_key}"
            api.rate_limit.requests = {requests}
            batch.max_tokens = {max_tokens}
            batch.grow_to = {max_tokens}
            batch.concurrency = 8
            "#,
            url = database.url(),
            project_id = self.project_id,
            management_key = self.management_key,
            requests = self.requests,
            max_tokens = self.max_tokens,
        );
        migration_config(&self.base_url, &lines)
    }
}

/// Migrates with the ledger in `schema`; returns the cost and the run's report.
pub(crate) async fn run(
    database: &Database,
    schema: &str,
    target: &Target,
) -> anyhow::Result<(Cost, serde_json::Value)> {
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
    Cost::measure(database, &command).await
}
