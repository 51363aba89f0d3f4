//! The configuration that `init` writes: a draft with the decisions of a person, or with marks where these
//! are open.

use std::fmt::Write as _;

use super::{guess::Guess, sealed::SealedForm};
use crate::{
    config::Preset,
    postgres::{quote_identifier, quote_literal},
    reader::Table,
};

/// Where the tokens are.
#[derive(Debug)]
pub(super) enum Found {
    /// Tables of a known store, and the table with the tokens if it is not the preset's.
    Preset(&'static Preset, Option<Table>),
    /// Another table.
    Table(Box<Guess>),
}

/// All that goes into the file.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) found: Found,
    pub(super) migration: String,
    /// The form of encrypted tokens, if their values look like one.
    pub(super) sealed: Option<&'static SealedForm>,
    /// Users have the store's own IDs at Descope.
    pub(super) has_user_ids: bool,
    /// Legacy names of apps and the outbound apps that they stand for.
    pub(super) apps: Vec<(String, String)>,
    /// Legacy names of apps whose tokens are left out.
    pub(super) left_out: Vec<String>,
    /// Tables of the preset that the database lacks, as it may.
    pub(super) absent: Vec<&'static str>,
    /// Nobody was asked.
    pub(super) is_open: bool,
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Draft {
    /// Returns the text of the configuration file.
    pub(super) fn configuration(&self) -> String {
        let mut text = format!(
            "#:schema ./tokenferry.schema.json\n\
             # Written by `tokenferry init`. `tokenferry config example` explains every key, `tokenferry config show` prints what\n\
             # is in effect.{}\n\n\
             # The name of the migration in the ledger. Do not change it: under another name, no row counts as migrated.\n\
             migration = {}\n\n[source]\nurl = \"env:SOURCE_DATABASE_URL\"\n",
            if self.is_open {
                " Lines with OPEN need a decision."
            } else {
                ""
            },
            quoted(&self.migration)
        );
        match &self.found {
            Found::Preset(preset, table) => self.write_preset(&mut text, preset, table.as_ref()),
            Found::Table(guess) => self.write_table(&mut text, guess),
        }
        self.write_absent(&mut text);
        self.write_apps(&mut text);
        text.push_str(
            "\n[ledger]\n# Without a URL, the ledger is in the source's database, in the schema `tokenferry`.\n\
             #url = \"env:LEDGER_DATABASE_URL\"\n\n\
             [api]\nproject_id = \"env:DESCOPE_PROJECT_ID\"\nmanagement_key = \"env:DESCOPE_MANAGEMENT_KEY\"\n",
        );
        text
    }

    fn write_preset(&self, text: &mut String, preset: &Preset, table: Option<&Table>) {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# {}.", preset.title);
        for note in &preset.notes {
            let _ = writeln!(text, "# - {note}");
        }
        let _ = writeln!(text, "preset = {}", quoted(preset.name));
        if let Some(table) = table {
            let _ = writeln!(text, "table = {}", quoted(&configured_name(table)));
        }
        let app = preset.source("columns").and_then(|columns| columns.get("app"));
        let app = app.and_then(|app| match app {
            toml::Value::String(column) => Some(quote_identifier(column)),
            expression => Some(format!("({})", expression.get("sql")?.as_str()?)),
        });
        let condition = preset.source("where").and_then(toml::Value::as_str);
        self.write_condition(text, app, condition);
        let Some(user_id) = &preset.user_id else { return };
        text.push_str("\n[source.columns]\n");
        if self.is_open {
            let users = preset.users();
            let _ = writeln!(
                text,
                "# OPEN: users are found at Descope by {}. If their ID there is {}, use:",
                users.login, users.id
            );
        }
        let mark = if self.has_user_ids { "" } else { "#" };
        let _ = writeln!(text, "{mark}user_id = {}", inline(user_id));
    }

    /// Settings for the tables that are absent.
    fn write_absent(&self, text: &mut String) {
        let Found::Preset(preset, _) = &self.found else {
            return;
        };
        for name in &self.absent {
            let settings = preset.without.get(*name).map(toml::to_string);
            if let Some(Ok(settings)) = settings {
                let _ = write!(
                    text,
                    "\n# The database has no table `{name}`. Remove these lines once it has one.\n{settings}"
                );
            }
        }
    }

    /// The rows that are read: those of the preset, without the tokens of apps that are left out. `app` is
    /// SQL.
    pub(super) fn write_condition(&self, text: &mut String, app: Option<String>, condition: Option<&str>) {
        let Some(app) = app.filter(|_| !self.left_out.is_empty()) else {
            return;
        };
        let names: Vec<String> = self.left_out.iter().map(|name| quote_literal(name)).collect();
        let others = format!("coalesce({app}::text, '') not in ({})", names.join(", "));
        let all = match condition {
            Some(condition) => format!("({}) and {others}", condition.trim()),
            None => others,
        };
        let _ = writeln!(text, "where = {}", quoted(&all));
    }

    fn write_apps(&self, text: &mut String) {
        text.push_str("\n# Legacy app name = ID of the outbound app.\n[apps]\n");
        if self.is_open {
            text.push_str("# OPEN: these are the names in the source. Replace the IDs by those of your outbound apps.\n");
        }
        if self.apps.is_empty() {
            text.push_str("# OPEN: no name was found. Without entries every row fails; remove the table if names are IDs.\n");
        }
        for (name, id) in &self.apps {
            let _ = writeln!(text, "{} = {}", quoted(name), quoted(id));
        }
    }

    /// Returns the text of the file that names the variables.
    pub(super) fn environment(&self) -> String {
        let mut text = String::from(
            "# The variables that tokenferry.toml points to. Fill in a copy, and keep it out of version control.\n\
             SOURCE_DATABASE_URL=postgres://tokenferry_reader:PASSWORD@HOST:5432/DATABASE\n\
             #LEDGER_DATABASE_URL=postgres://tokenferry_ledger:PASSWORD@HOST:5432/DATABASE\n\
             DESCOPE_PROJECT_ID=\nDESCOPE_MANAGEMENT_KEY=\n",
        );
        for variable in self.key_variables() {
            let _ = writeln!(text, "{variable}=");
        }
        text
    }

    /// Returns the variables with keys of encrypted columns.
    pub(super) fn key_variables(&self) -> Vec<String> {
        match &self.found {
            Found::Preset(preset, _) => preset.variables(),
            Found::Table(_) => {
                let variables = self.sealed.iter().flat_map(|sealed| sealed.variables);
                variables.map(|&variable| variable.to_owned()).collect()
            }
        }
    }

    /// Returns the tables that a role has to read, as SQL writes them.
    pub(super) fn tables(&self) -> Vec<String> {
        match &self.found {
            Found::Preset(preset, table) => {
                let own = table.iter().map(Table::sql);
                // Another table takes the place of the preset's.
                let replaced = table.as_ref().and_then(|_| preset.table());
                let is_there = |name: &&String| {
                    !self.absent.contains(&name.as_str()) && Some(name.replace('"', "").as_str()) != replaced
                };
                preset
                    .tables
                    .iter()
                    .filter(is_there)
                    .cloned()
                    .chain(own)
                    .collect()
            }
            Found::Table(guess) => vec![guess.table.sql()],
        }
    }
}

/// A table's name in the configuration, with its schema if that is not on the search path.
pub(super) fn configured_name(table: &Table) -> String {
    if table.is_visible {
        part(&table.name)
    } else {
        format!("{}.{}", part(&table.schema), part(&table.name))
    }
}

/// A part of it: a dot stands between schema and table.
fn part(name: &str) -> String {
    if name.contains(['.', '"']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

/// A value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let entries: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{name} = {}", inline(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
