//! What `init` says at the end: what was written, what a role needs, and the next steps.

use std::env;

use super::{
    URL,
    draft::{Draft, Found},
};
use crate::{postgres::quote_identifier, reader::Table};

const ROLE: &str = "tokenferry_reader";
/// What marks a line that needs a decision.
const OPEN: &str = "OPEN";

/// Says where the tokens are.
pub(super) fn found(found: &Found) -> String {
    match found {
        Found::Preset(preset, None) => format!("Found: {}.\n{}", preset.title, preset.about),
        Found::Preset(preset, Some(table)) => {
            format!("Found: {}, in {}.\n{}", preset.title, table.sql(), preset.about)
        }
        Found::Table(guess) => {
            let fields: Vec<&str> = guess.columns.keys().map(|field| field.name()).collect();
            let fields = if fields.is_empty() {
                "no known column".to_owned()
            } else {
                fields.join(", ")
            };
            format!("No known store. Taken: {}, with {fields}.", guess.table.sql())
        }
    }
}

/// Says what was written, what a role needs and what comes next. `files` are those that were created;
/// `kept` one that was there before.
pub(super) fn summary(
    draft: &Draft,
    tables: &[Table],
    database: &str,
    files: &[String],
    kept: Option<&str>,
) -> String {
    let mut lines = Vec::new();
    let names: Vec<&str> = draft.apps.iter().map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        lines.push(format!("Apps: {}.", names.join(", ")));
    }
    if !draft.left_out.is_empty() {
        lines.push(format!("Left out: {}.", draft.left_out.join(", ")));
    }
    lines.push(format!("Written: {}.", files.join(", ")));
    let keys = draft.key_variables();
    let mut variables = vec![
        URL.to_owned(),
        "DESCOPE_PROJECT_ID".to_owned(),
        "DESCOPE_MANAGEMENT_KEY".to_owned(),
    ];
    variables.extend(keys.iter().cloned());
    if let Some(kept) = kept {
        lines.push(format!(
            "Left as it is: {kept}. The variables are {}.",
            variables.join(", ")
        ));
    }
    if draft.configuration().contains(OPEN) {
        let nobody = if draft.is_open {
            "Nobody was asked: look"
        } else {
            "Look"
        };
        lines.push(format!("{nobody} for {OPEN} in the file."));
    }
    if !keys.is_empty() {
        lines.push(format!(
            "The tokens are encrypted: the keys come from {}.",
            keys.join(", ")
        ));
    }
    let wanted = draft.tables();
    let unreadable: Vec<&String> = wanted
        .iter()
        .filter(|name| table_of(name, tables).is_some_and(|table| !table.is_readable))
        .collect();
    if !unreadable.is_empty() {
        let names: Vec<&str> = unreadable.into_iter().map(String::as_str).collect();
        lines.push(format!(
            "This role may not read {}, so no name of an app was found: grant it as below, delete {} and repeat the command.",
            names.join(", "),
            files.first().map_or("the file", String::as_str)
        ));
    }
    let mut schemas: Vec<String> = wanted.iter().map(|name| schema_of(name, tables)).collect();
    schemas.sort();
    schemas.dedup();
    lines.extend([
        String::new(),
        "A role that may read what is needed, and nothing else:".to_owned(),
        String::new(),
        format!("  create role {ROLE} login password '…';"),
        format!(
            "  grant connect on database {} to {ROLE};",
            quote_identifier(database)
        ),
        format!("  grant usage on schema {} to {ROLE};", schemas.join(", ")),
        format!("  grant select on {} to {ROLE};", wanted.join(", ")),
        String::new(),
    ]);
    variables.retain(|name| env::var_os(name).is_none());
    if !variables.is_empty() {
        lines.push(format!("Not set yet, and needed: {}", variables.join(", ")));
    }
    lines.extend([
        "Next: tokenferry doctor".to_owned(),
        "Then: tokenferry migrate --dry-run".to_owned(),
        String::new(),
    ]);
    lines.join("\n")
}

/// A table by its name as SQL writes it.
fn table_of<'a>(name: &str, tables: &'a [Table]) -> Option<&'a Table> {
    let (schema, plain) = name.split_once('.').unwrap_or(("", name));
    let plain = plain.replace('"', "");
    tables.iter().find(|table| table.sql() == name).or_else(|| {
        tables.iter().find(|table| {
            table.name == plain && (table.schema == schema || (schema.is_empty() && table.is_visible))
        })
    })
}

/// The schema of a table, as SQL writes it.
fn schema_of(name: &str, tables: &[Table]) -> String {
    let schema = name.split_once('.').map_or("public", |(schema, _)| schema);
    quote_identifier(table_of(name, tables).map_or(schema, |table| table.schema.as_str()))
}
