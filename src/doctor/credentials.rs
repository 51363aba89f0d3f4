//! Secrets that are written in the configuration file itself.

use super::{Area, Check, paste};
use crate::config::{Origin, Value};

/// Keys of secrets, and the variables that should hold them.
const SECRETS: [(&str, &str); 4] = [
    ("api.management_key", "DESCOPE_MANAGEMENT_KEY"),
    ("ledger.pepper", "LEDGER_PEPPER"),
    ("source.url", "SOURCE_DATABASE_URL"),
    ("ledger.url", "LEDGER_DATABASE_URL"),
];

/// The two that a request needs.
const PROJECT: &str = "api.project_id";
const KEY: &str = "api.management_key";

/// Returns the variable that the value of a key comes from.
fn variable<'a>(values: &'a [Value], key: &str) -> Option<&'a str> {
    let value = values.iter().find(|value| value.key == key)?;
    match (&value.origin, value.pointer.as_deref()) {
        (_, Some(pointer)) => pointer.strip_prefix("env:"),
        (Origin::Environment(name), None) => Some(name),
        (_, None) => None,
    }
}

/// Returns the commands that set project ID and management key anew.
pub(super) fn renewed(values: &[Value]) -> Vec<String> {
    let names = [PROJECT, KEY].into_iter().filter_map(|key| variable(values, key));
    names.map(paste::export).collect()
}

/// Returns the command that exchanges project ID and management key; a shell expands both before it sets one.
pub(super) fn exchanged(values: &[Value]) -> Option<String> {
    let (id, key) = (variable(values, PROJECT)?, variable(values, KEY)?);
    Some(format!("export {id}=\"${key}\" {key}=\"${id}\""))
}

/// Warns about a secret in the file: whoever reads, copies or commits the file has it.
pub(super) fn written_in_file(value: &Value) -> Option<Check> {
    let (key, variable) = SECRETS.iter().find(|(key, _)| *key == value.key)?;
    let shown = value.shown.as_deref()?;
    let is_url = key.rsplit_once('.').is_some_and(|(_, name)| name == "url");
    let what = if !is_url {
        "the secret itself is written in the file"
    } else if shown.contains(":***@") || shown.contains("password=***") {
        "a password is written in the file"
    } else {
        return None;
    };
    if value.origin != Origin::File || value.pointer.is_some() {
        return None;
    }
    let (section, name) = key.split_once('.')?;
    Some(
        Check::warning(
            Area::Configuration,
            *key,
            format!("{what}: everybody who can read or copy the file has it"),
            format!(
                "set the variable {variable} to it, or keep it in a file of its own (\"file:/path\"), and replace it under \
                 [{section}]"
            ),
        )
        .with_fix([
            paste::export(variable),
            format!("{name} = \"env:{variable}\""),
        ]),
    )
}
