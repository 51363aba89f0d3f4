//! The configuration that `init` writes: a draft with the decisions of a person, or with marks where these
//! are open.

use std::fmt::Write as _;

use super::guess::Guess;
use crate::{
    config::{Field, Preset},
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
    /// The format of encrypted tokens, if their values look like one.
    pub(super) format: Option<&'static str>,
    /// Users have the store's own IDs at Descope.
    pub(super) has_user_ids: bool,
    /// Legacy names of apps and the outbound apps that they stand for.
    pub(super) apps: Vec<(String, String)>,
    /// Tables of the preset that the database lacks, as it may.
    pub(super) absent: Vec<&'static str>,
    /// Nobody was asked.
    pub(super) is_open: bool,
}

/// The variable with the key of encrypted tokens of an unknown table.
const KEY_VARIABLE: &str = "SOURCE_TOKEN_KEY";

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(names: &[String]) -> String {
    match names {
        [name] => quoted(name),
        names => format!(
            "[{}]",
            names
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
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
        let Some(user_id) = &preset.user_id else { return };
        text.push_str("\n[source.columns]\n");
        if self.is_open {
            text.push_str(
                "# OPEN: users are found by their e-mail addresses. If their IDs at Descope are the store's own, use:\n",
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

    fn write_table(&self, text: &mut String, guess: &Guess) {
        let table = &guess.table;
        let _ = writeln!(text, "table = {}", quoted(&configured_name(table)));
        match table.keys.first() {
            Some(key) => {
                let _ = writeln!(text, "key = {}", list(key));
            }
            None => {
                let first = table.columns.first().map_or("id", |column| column.name.as_str());
                let _ = writeln!(
                    text,
                    "# OPEN: the table has no unique key without nulls. Name columns that are unique together.\nkey = {}",
                    quoted(first)
                );
            }
        }
        text.push_str("\n[source.columns]\n");
        if !guess.columns.contains_key(&Field::App) {
            text.push_str("# OPEN: no column looks like the name of an app. For a single app, name it here.\napp = { sql = \"'app'\" }\n");
        }
        let owners = [Field::UserId, Field::LoginId, Field::TenantId];
        if !owners.iter().any(|owner| guess.columns.contains_key(owner)) {
            text.push_str("# OPEN: no column looks like the owner of a token. Map `user_id`, `login_id` or `tenant_id`.\n");
        } else if self.is_open && guess.columns.contains_key(&Field::UserId) {
            text.push_str(
                "# OPEN: `user_id` must be the user's ID at Descope. If it is not, map `login_id` instead.\n",
            );
        }
        for field in Field::COLUMNS {
            self.write_column(text, guess, field);
        }
        if let Some(format) = self.format {
            let _ = write!(
                text,
                "\n[source.decrypt]\n# Values look encrypted. The guide \"Encrypted columns\" says what each format needs.\n{} = \"env:{KEY_VARIABLE}\"\n",
                format.replace('-', "_")
            );
        }
    }

    fn write_column(&self, text: &mut String, guess: &Guess, field: Field) {
        let name = field.name();
        let is_token = field.is_token();
        match (guess.columns.get(&field), self.format) {
            (Some(column), Some(format)) if is_token => {
                let _ = writeln!(
                    text,
                    "{name} = {{ column = {}, decrypt = {} }}",
                    quoted(column),
                    quoted(format)
                );
            }
            (Some(column), _) => {
                let is_json = guess.kind(field).is_some_and(|kind| kind.starts_with("json"));
                if is_token && is_json {
                    text.push_str("# OPEN: the column holds JSON. Name the member with the token.\n");
                    let _ = writeln!(
                        text,
                        "{name} = {{ column = {}, json = {} }}",
                        quoted(column),
                        quoted(name)
                    );
                } else {
                    let _ = writeln!(text, "{name} = {}", quoted(column));
                }
            }
            (None, _) if field == Field::AccessTokenExpiry => {
                if let Some(lifetime) = &guess.lifetime {
                    let since = guess
                        .columns
                        .get(&Field::UpdatedAt)
                        .map_or("updated_at", String::as_str);
                    text.push_str("# OPEN: a lifetime in seconds. `since` must be the time of issue.\n");
                    let _ = writeln!(
                        text,
                        "{name} = {{ column = {}, since = {} }}",
                        quoted(lifetime),
                        quoted(since)
                    );
                }
            }
            (None, _) => {}
        }
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
        match (&self.found, self.format) {
            (Found::Preset(preset, _), _) => preset.variables(),
            (Found::Table(_), Some(_)) => vec![KEY_VARIABLE.to_owned()],
            (Found::Table(_), None) => Vec::new(),
        }
    }

    /// Returns the tables that a role has to read, as SQL writes them.
    pub(super) fn tables(&self) -> Vec<String> {
        match &self.found {
            Found::Preset(preset, table) => {
                let own = table.iter().map(Table::sql);
                let is_there = |name: &&String| !self.absent.contains(&name.as_str());
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
fn configured_name(table: &Table) -> String {
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
