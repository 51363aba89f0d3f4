//! The configuration layers: the file, overridden by the environment.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat, Source, Value};

use super::{
    ConfigError, Preset, mistakes, preset,
    reader::{find, follow},
};

/// The prefix of the variables that override keys: `TOKENFERRY__BATCH__MAX_TOKENS` is `batch.max_tokens`.
const PREFIX: &str = "TOKENFERRY";
const SEPARATOR: &str = "__";

/// Returns the variable that overrides a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR)).to_uppercase()
}

/// The merged layers, not yet validated.
#[derive(Debug)]
pub struct Loaded {
    pub(super) root: HashMap<String, Value>,
    /// The same without the layer of the preset.
    own: HashMap<String, Value>,
    path: PathBuf,
    /// Variables that were meant to override a key, perhaps.
    pub(super) single_underscores: Vec<String>,
}

impl Loaded {
    /// Returns true if the value of a key is the preset's.
    pub(super) fn is_of_preset(&self, key: &str) -> bool {
        find(&self.own, key).is_none() && find(&self.root, key).is_some()
    }

    /// Returns the path of the file, which need not exist if the environment provides everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads `path` and applies the environment on top.
///
/// # Errors
/// Fails if the file is unreadable or not TOML, or if it is missing, unless it is the default and the
/// environment provides a configuration.
pub fn load(path: &Path, named_by_user: bool) -> Result<Loaded, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if named_by_user || !environment_holds_some() {
                return Err(ConfigError::Missing {
                    path: path.to_owned(),
                });
            }
            String::new()
        }
        Err(source) => {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    merge(path, &text, None)
}

/// Reads a configuration that is not in a file; `path` is where it would be.
///
/// # Errors
/// Fails if the text is not TOML.
pub fn load_text(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    merge(path, text, None)
}

fn environment_holds_some() -> bool {
    let prefix = format!("{PREFIX}{SEPARATOR}");
    std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(&prefix))
}

/// Merges the layers; tests pass their own `environment`.
pub(super) fn merge(
    path: &Path,
    text: &str,
    environment: Option<HashMap<String, String>>,
) -> Result<Loaded, ConfigError> {
    // Parsed here first: the library's own error would quote the line, which may contain a secret.
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..start).unwrap_or_default();
        return Err(ConfigError::Syntax {
            path: PathBuf::from(path),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            message: error.message().lines().next().unwrap_or("not TOML").to_owned(),
        });
    }
    let single_underscores = mistakes::single_underscores(environment.as_ref());
    let variables = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(environment);
    let layers = |preset: &str| {
        Config::builder()
            .add_source(File::from_str(preset, FileFormat::Toml))
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(variables.clone())
            .build()
            // Collected, not deserialized: deserializing would lose the origin of the values.
            .and_then(|merged| merged.collect())
            .map_err(|error| ConfigError::Environment {
                message: match error {
                    config::ConfigError::PathParse { .. } => "its name is not a valid key".to_owned(),
                    _ => "it conflicts with the structure of the file".to_owned(),
                },
            })
    };
    let own = layers("")?;
    let root = match preset(&own) {
        Some(preset) => layers(&below(preset, &own))?,
        None => own.clone(),
    };
    Ok(Loaded {
        root,
        own,
        path: path.to_owned(),
        single_underscores,
    })
}

/// The preset that the other layers name; another name is a problem of its key.
fn preset(own: &HashMap<String, Value>) -> Option<&'static Preset> {
    let name = find(own, preset::KEY)?.clone().into_string().ok()?;
    Preset::find(&follow(name).ok()?)
}

/// The settings of a preset that the other layers leave alone. A column is mapped by one layer alone, and a
/// table and a query exclude each other.
fn below(preset: &Preset, own: &HashMap<String, Value>) -> String {
    let mut settings = preset.settings.clone();
    let source = settings.get_mut("source").and_then(toml::Value::as_table_mut);
    if let Some(source) = source {
        if find(own, "source.table").is_some() || find(own, "source.query").is_some() {
            source.remove("table");
            source.remove("query");
        }
        if let Some(columns) = source.get_mut("columns").and_then(toml::Value::as_table_mut) {
            columns.retain(|field, _| find(own, &format!("source.columns.{field}")).is_none());
        }
    }
    // What was read as TOML can be written as such.
    toml::to_string(&settings).unwrap_or_default()
}
