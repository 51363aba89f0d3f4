//! A report about a configuration, valid or not: every value with its origin, and every problem.

use config::ValueKind;
use url::Url;

use super::{
    AppMap, Loaded, NotifySettings, Problem,
    load::variable,
    reader::{KeySpec, Reader, Visibility, find, follow},
    settings::{self, ApiSettings, BatchSettings, LedgerAccess},
    source::SourceSettings,
};
use crate::domain::RuleSet;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File,
    /// This environment variable.
    Environment(String),
    /// The preset that the configuration names.
    Preset,
    /// The default.
    Default,
}

/// A key and its value, as far as it may be shown.
#[derive(Debug, Clone)]
pub struct Value {
    /// The key, dotted.
    pub key: String,
    /// The origin of the value.
    pub origin: Origin,
    /// The `env:NAME` or `file:/path` that the value comes from.
    pub pointer: Option<String>,
    /// The value without secrets; `None` if it is unset.
    pub shown: Option<String>,
}

/// A configuration in parts, each present if it is valid.
#[derive(Debug)]
pub struct ConfigReport {
    /// All keys.
    pub values: Vec<Value>,
    /// All problems.
    pub problems: Vec<Problem>,
    /// The settings of the source, if they are usable; invalid values are replaced by defaults.
    pub source: Option<SourceSettings>,
    /// The map from legacy apps to outbound apps.
    pub apps: AppMap,
    /// The rules that are downgraded to warnings.
    pub tolerated: RuleSet,
    /// The settings needed to read the ledger.
    pub ledger: Option<LedgerAccess>,
    /// The settings needed to call the API.
    pub api: Option<ApiSettings>,
    /// The settings for building and sending batches.
    pub batch: BatchSettings,
    /// The hook.
    pub notify: Option<NotifySettings>,
}

impl Loaded {
    /// Reads the configuration into parts, even if it is invalid.
    #[must_use]
    pub fn inspect(&self) -> ConfigReport {
        let mut reader = Reader::new(&self.root);
        let parts = settings::read(&mut reader);
        let values = reader
            .asked()
            .iter()
            .filter(|asked| !asked.is_alternative || find(&self.root, &asked.key).is_some())
            .map(|asked| self.value(asked))
            .collect();
        let mut problems = self.variables_without_effect(&reader);
        problems.extend(reader.finish());
        ConfigReport {
            values,
            problems,
            source: parts.source,
            apps: parts.apps,
            tolerated: parts.tolerated,
            ledger: parts.access,
            api: parts.api,
            batch: parts.batch,
            notify: parts.notify,
        }
    }

    /// Returns the origin of the value of any key, known or not.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        match find(&self.root, key).map(config::Value::origin) {
            None => Origin::Default,
            Some(_) if self.is_of_preset(key) => Origin::Preset,
            // Only values of the environment have an origin; the file was passed as a text.
            Some(Some(_)) => Origin::Environment(variable(key)),
            Some(None) => Origin::File,
        }
    }

    fn value(&self, asked: &KeySpec) -> Value {
        let kind = find(&self.root, &asked.key).map(|value| &value.kind);
        let text = match kind {
            Some(ValueKind::String(text)) => Some(text.clone()),
            Some(ValueKind::I64(number)) => Some(number.to_string()),
            Some(ValueKind::Boolean(flag)) => Some(flag.to_string()),
            _ => None,
        };
        let pointer = text
            .clone()
            .filter(|text| text.starts_with("env:") || text.starts_with("file:"));
        let shown = match (kind, text) {
            (None, _) => asked.default.clone(),
            // It is public, expressions included.
            (Some(kind), _) if self.is_of_preset(&asked.key) => Some(written(kind)),
            (Some(ValueKind::Array(list)), _) if asked.shown == Visibility::Names => {
                Some(written(&ValueKind::Array(list.clone())))
            }
            (Some(ValueKind::Table(table)), _) => Some(match table.len() {
                1 => "1 entry".to_owned(),
                count => format!("{count} entries"),
            }),
            (Some(ValueKind::Array(list)), _) => Some(format!("a list of {}", list.len())),
            (Some(_), None) => Some("not a text".to_owned()),
            (Some(_), Some(text)) => follow(text).ok().map(|text| match asked.shown {
                Visibility::Whole | Visibility::Names => text,
                Visibility::Hidden => "(hidden)".to_owned(),
                Visibility::Address => address(&text),
            }),
        };
        Value {
            key: asked.key.clone(),
            origin: self.origin(&asked.key),
            pointer,
            shown,
        }
    }
}

/// A text or a list of texts, as they were written.
fn written(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        ValueKind::Array(list) => {
            let items: Vec<String> = list.iter().map(|item| written(&item.kind)).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

/// Returns a database URL without its password and without parameters that may be secret.
fn address(text: &str) -> String {
    const HARMLESS: [&str; 6] = ["sslmode", "host", "port", "dbname", "user", "application_name"];
    let Ok(mut url) = Url::parse(text) else {
        return "(hidden: not a URL)".to_owned();
    };
    // Behind a character that ended the address too early is the rest of a password.
    let is_cut_short = url.path().contains('@')
        || url.fragment().is_some()
        || url.query_pairs().any(|(name, _)| name.contains('@'));
    if is_cut_short {
        return "(hidden)".to_owned();
    }
    // Neither call can fail for a URL with a host, and one without a host has no password.
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "(hidden)".to_owned();
    }
    let parameters: Vec<String> = url
        .query_pairs()
        .map(|(name, value)| {
            let is_harmless = HARMLESS.contains(&name.as_ref());
            format!("{name}={}", if is_harmless { &value } else { "***" })
        })
        .collect();
    url.set_query(None);
    url.set_fragment(None);
    if parameters.is_empty() {
        url.to_string()
    } else {
        format!("{url}?{}", parameters.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (url, shown) in [
            (
                "postgres://reader:hunter2@db.internal:5433/crm?sslmode=verify-full",
                "postgres://reader:***@db.internal:5433/crm?sslmode=verify-full",
            ),
            ("postgres://reader@db/crm", "postgres://reader@db/crm"),
            (
                "postgres://db/crm?user=u&password=hunter2&options=-c%20a.b%3Dhunter2",
                "postgres://db/crm?user=u&password=***&options=***",
            ),
            (
                "postgres://u@localhost/db?host=%2Frun%2Fpg",
                "postgres://u@localhost/db?host=/run/pg",
            ),
            ("postgres//u:hunter2@db", "(hidden: not a URL)"),
            ("postgres://u:p@hun/ter2@db/crm", "(hidden)"),
            ("postgres://u:p@hun?ter2@db/crm", "(hidden)"),
            ("postgres://u:p@hun#ter2@db/crm", "(hidden)"),
        ] {
            assert_eq!(address(url), shown);
        }
    }
}
