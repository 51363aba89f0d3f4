//! Settings, made as a user makes them: from a TOML file.

use std::io::Write;

use tempfile::NamedTempFile;
use tokenferry::config::{ConfigError, Settings, load};

/// Returns the settings of a configuration file with this text.
pub(crate) fn try_settings(text: &str) -> Result<Settings, ConfigError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(file.path(), true)?.settings()
}

/// Settings for a database that is source and ledger at once. `source` continues `[source]`; its own tables
/// may follow.
pub(crate) fn settings(url: &str, source: &str) -> Settings {
    let text = format!(
        r#"
        migration = "tests"
        [api]
        project_id = "P1"
        management_key = "K1"
        [source]
        url = "{url}"
        {source}
        "#
    );
    try_settings(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
