//! Presets: what the configuration of a known token store has in common with every other of that store.
//!
//! Each is a data file, whose settings lie below the configuration file: every key can be overridden. A key
//! under `[source.columns]` is replaced as a whole.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{nearest::nearest, reader::Reader};

/// The key that names a preset.
pub(super) const KEY: &str = "source.preset";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../config/presets/", $name, ".toml")))),+]
    };
}

/// The data files, by the names of their presets.
const FILES: [(&str, &str); 17] = files![
    "airflow",
    "authjs-drizzle",
    "authjs-pg",
    "authjs-prisma",
    "better-auth",
    "better-auth-encrypted",
    "calcom",
    "django-allauth",
    "grafana",
    "hasura",
    "keycloak",
    "kratos",
    "laravel",
    "n8n",
    "nango",
    "python-social-auth",
    "rails",
];

/// What is known about a token store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name in the configuration.
    #[serde(skip)]
    pub name: &'static str,
    /// The program, and its variant.
    pub title: String,
    /// Its tables, in a sentence.
    pub about: String,
    /// The tables that are read, as SQL writes them.
    pub tables: Vec<String>,
    /// What its users should know.
    pub notes: Vec<String>,
    /// The mapping of the store's own user ID, for users whose IDs at Descope are these.
    pub user_id: Option<toml::Value>,
    /// The words for both ways to find a user, if they are not those of most stores.
    users: Option<Users>,
    /// The columns by which its tables are recognised, by the names of these, with a schema if it is not
    /// `public`.
    pub recognise: BTreeMap<String, Vec<String>>,
    /// Other usual names of the table with the tokens.
    #[serde(default)]
    pub other_tables: Vec<String>,
    /// Beyond the columns, the form of a value.
    pub recognise_value: Option<RecognisedValue>,
    /// The settings.
    pub settings: toml::Table,
    /// Settings for a database of an earlier version, by the table that it lacks.
    #[serde(default)]
    pub without: BTreeMap<String, toml::Table>,
}

/// What users are found by at Descope.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// With `login_id`.
    pub login: String,
    /// With `user_id`.
    pub id: String,
}

/// A value that tells two variants of a store apart.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecognisedValue {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// The regular expression, as Postgres reads it.
    pub pattern: String,
}

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let parse = |&(name, text): &(&'static str, &str)| {
        // A test reads every file.
        let preset: Option<Preset> = toml::from_str(text).ok();
        preset.map(|preset| Preset { name, ..preset })
    };
    FILES.iter().filter_map(parse).collect()
});

/// Returns all presets, in the order of their names.
#[must_use]
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

impl Preset {
    /// Finds a preset by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        presets().iter().find(|preset| preset.name == name.trim())
    }

    /// Returns a setting under `[source]`.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<&toml::Value> {
        self.settings.get("source")?.get(key)
    }

    /// Returns the name of the table with the tokens; `None` if these come from a query.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.source("table")?.as_str()
    }

    /// Returns the words for both ways to find a user.
    #[must_use]
    pub fn users(&self) -> &Users {
        static USUAL: LazyLock<Users> = LazyLock::new(|| Users {
            login: "e-mail address".to_owned(),
            id: "the store's own ID".to_owned(),
        });
        self.users.as_ref().unwrap_or(&USUAL)
    }

    /// Returns the variables of the environment that its settings point to.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        fn collect(value: &toml::Value, found: &mut Vec<String>) {
            match value {
                toml::Value::Table(table) => table.values().for_each(|inner| collect(inner, found)),
                toml::Value::String(text) => {
                    found.extend(text.strip_prefix("env:").map(str::to_owned));
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        self.settings
            .values()
            .for_each(|value| collect(value, &mut found));
        found
    }
}

/// Reads the name of a preset, whose settings are already below the others.
pub(super) fn read(reader: &mut Reader<'_>) {
    let Some(name) = reader.text(KEY) else { return };
    if Preset::find(&name).is_some() {
        return;
    }
    let names = || presets().iter().map(|preset| preset.name);
    let hint = match nearest(name.trim(), names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the presets are {}", names().collect::<Vec<_>>().join(", ")),
    };
    reader.problem(KEY, format!("must be the name of a preset; {hint}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_preset_and_they_are_in_order() {
        for (name, text) in FILES {
            let preset: Result<Preset, _> = toml::from_str(text);
            assert!(preset.is_ok(), "{name}: {preset:?}");
        }
        let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
        assert_eq!(names, FILES.map(|(name, _)| name));
        assert!(names.is_sorted(), "{names:?}");
    }
}
