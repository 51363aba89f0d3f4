//! The configuration layers: the file, overridden by the environment.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat, Source, Value};

use super::ConfigError;

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
    path: PathBuf,
}

impl Loaded {
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
    let variables = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(environment);
    Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(variables)
        .build()
        // Collected, not deserialized: deserializing would lose the origin of the values.
        .and_then(|merged| merged.collect())
        .map(|root| Loaded {
            root,
            path: path.to_owned(),
        })
        .map_err(|error| ConfigError::Environment {
            message: match error {
                config::ConfigError::PathParse { .. } => "its name is not a valid key".to_owned(),
                _ => "it conflicts with the structure of the file".to_owned(),
            },
        })
}
