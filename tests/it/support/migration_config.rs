//! Configurations of migrations from a legacy table. The soak and the benchmarks use this file as well.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark or test that cannot go on should say so where it stands"
)]

/// Returns the settings that all migrations have in common, with `lines` laid over them: `section.key =
/// value` each.
pub(crate) fn migration_config(base_url: &str, lines: &str) -> String {
    let mut config: toml::Table = toml::from_str(&format!(
        r#"
        migration = "test"
        [source]
        url = "env:SOURCE_DATABASE_URL"
        table = "legacy_tokens"
        key = "id"
        [source.columns]
        app = "provider"
        user_id = "user_id"
        tenant_id = "tenant_id"
        access_token = "access_token"
        refresh_token = "refresh_token"
        access_token_expiry = "expires_at"
        scopes = "scope"
        updated_at = "updated_at"
        [api]
        base_url = "{base_url}"
        project_id = "env:DESCOPE_PROJECT_ID"
        management_key = "env:DESCOPE_MANAGEMENT_KEY"
        [api.rate_limit]
        per = "1s"
        "#
    ))
    .unwrap();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        let value: toml::Table = toml::from_str(&format!("value = {value}")).unwrap();
        let mut keys: Vec<&str> = key.trim().split('.').collect();
        let last = keys.pop().unwrap();
        let mut table = &mut config;
        for key in keys {
            table = table
                .entry(key)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .unwrap();
        }
        table.insert(last.to_owned(), value["value"].clone());
    }
    toml::to_string(&config).unwrap()
}
