//! `config`: prints an example configuration, its schema, or the effective settings; checks a configuration.

use super::{
    Exit,
    args::{ConfigArgs, ConfigCommand, Global},
    load, print, print_lines,
};
use crate::config::{ConfigError, EXAMPLE, Origin, Value, schema};

pub(super) fn run(global: &Global, args: &ConfigArgs) -> anyhow::Result<Exit> {
    match args.what {
        ConfigCommand::Example => print(EXAMPLE)?,
        ConfigCommand::Schema => print(&(serde_json::to_string_pretty(&schema())? + "\n"))?,
        ConfigCommand::Show => show(global)?,
        ConfigCommand::Check => {
            let loaded = load(global)?;
            let settings = loaded.settings()?;
            let about = format!(
                "{} is valid: migration \"{}\", {} columns. `tokenferry doctor` holds it against the databases and the API\n",
                loaded.path().display(),
                settings.migration,
                settings.source.columns.len()
            );
            print_lines(&about)?;
        }
    }
    Ok(Exit::Done)
}

/// Prints every key that is set or has a default, with its origin. Secrets are hidden.
fn show(global: &Global) -> anyhow::Result<()> {
    let report = load(global)?.inspect();
    let line = |value: &Value| {
        let shown = value.shown.as_deref()?;
        let origin = match &value.origin {
            Origin::File => "file".to_owned(),
            Origin::Preset => "preset".to_owned(),
            Origin::Environment(name) => name.clone(),
            Origin::Default => "default".to_owned(),
        };
        let pointer = value
            .pointer
            .as_ref()
            .map_or_else(String::new, |from| format!(", {from}"));
        Some(format!("{} = {shown}    # {origin}{pointer}\n", value.key))
    };
    let text: String = report.values.iter().filter_map(line).collect();
    print_lines(&text)?;
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Invalid(report.problems).into())
}
