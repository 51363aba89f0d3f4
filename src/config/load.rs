//! The layers: the file, then the environment over it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat, Source, Value};

use super::ConfigError;

/// Every variable that overrides a key begins so: `TOKENFERRY__BATCH__MAX_TOKENS` is `batch.max_tokens`.
const PREFIX: &str = "TOKENFERRY";
const SEPARATOR: &str = "__";

/// The variable that overrides a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR)).to_uppercase()
}

/// The merged layers, not yet judged.
#[derive(Debug)]
pub struct Loaded {
    pub(super) root: HashMap<String, Value>,
    path: PathBuf,
}

impl Loaded {
    /// The file; there may be none, where the environment holds everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads `path` and lays the environment over it.
///
/// # Errors
/// If the file is missing (unless it is only the default and the environment holds a configuration), unreadable or
/// not TOML.
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

/// `environment` stands in for the process's own in tests.
pub(super) fn merge(
    path: &Path,
    text: &str,
    environment: Option<HashMap<String, String>>,
) -> Result<Loaded, ConfigError> {
    // Parsed here first: the parser's own report would quote the line, and with it perhaps a secret.
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
        // Deserialized, the values would lose where they are from.
        .and_then(|merged| merged.collect())
        .map(|root| Loaded {
            root,
            path: path.to_owned(),
        })
        .map_err(|error| ConfigError::Environment {
            message: match error {
                config::ConfigError::PathParse { .. } => "its name is not a key".to_owned(),
                _ => "it contradicts the shape of the file".to_owned(),
            },
        })
}
