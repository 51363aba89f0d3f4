//! The JSON Schema of a configuration file, for editors that complete and check TOML.
//!
//! Made from the example, which explains every key: the configuration is read key by key, so there are no
//! types from which a schema could be derived.

mod formats;
mod value_forms;

use serde_json::{Map, Value, json};

use super::{
    columns::Field,
    example::{ExampleKey, example_tables},
    mapping::KEYS,
    preset::presets,
};
use crate::{decrypt::Format, domain::Rule};
use value_forms::{duration, flag, list, number, size, text, texts, word, word_or_other};

/// Keys with words to choose from.
const WORDS: [(&str, &[&str]); 5] = [
    ("source.row_security", &["refuse", "allow"]),
    ("source.provider.prefer", &["columns", "provider"]),
    ("batch.on_failure", &["isolate", "reject"]),
    ("batch.on_unknown", &["ask", "ask_expired", "resend"]),
    ("notify.on", &["end", "stop", "first_failure"]),
];

/// Returns the schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut root = table("");
    for example in example_tables() {
        for group in &example.groups {
            for key in &group.keys {
                if !is_free(&example.name) {
                    insert(&mut root, &key.key, leaf(key, &group.about));
                }
            }
        }
        if is_free(&example.name) {
            let free = json!({
                "type": "object",
                "description": example.about,
                "additionalProperties": { "type": "string" },
            });
            insert(&mut root, &example.name, free);
        } else if !example.name.is_empty() {
            describe(&mut root, &example.name, &example.about);
        }
    }
    if let Some(Value::Object(decrypt)) = find(&mut root, "source.decrypt") {
        let named: Map<String, Value> = Format::ALL
            .into_iter()
            .map(|format| (formats::spellings(format), formats::named(format)))
            .collect();
        decrypt.insert("patternProperties".to_owned(), named.into());
        decrypt.insert("additionalProperties".to_owned(), formats::own());
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("tokenferry.toml");
    root
}

/// Tells whether the keys of a table are the user's.
fn is_free(table: &str) -> bool {
    matches!(table, "apps" | "source.session")
}

fn table(about: &str) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": false, "properties": {} })
}

/// A key with its meaning.
fn leaf(key: &ExampleKey, about: &str) -> Value {
    let mut schema = known(&key.key).unwrap_or_else(|| like_example(&key.line));
    schema["description"] = json!(about);
    schema
}

/// The form of a key that its example does not tell.
fn known(key: &str) -> Option<Value> {
    if let Some(field) = Field::COLUMNS.into_iter().find(|field| field.key() == key) {
        return Some(json!({ "anyOf": [text(), mapping(field)] }));
    }
    if let Some(name) = key.strip_prefix("source.decrypt.") {
        return Format::find(name).map(formats::named);
    }
    let words = WORDS
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, words)| *words);
    Some(match (key, words) {
        ("source.provider.provider", _) => json!({ "anyOf": [text(), mapping(Field::Provider)] }),
        ("source.key", _) => texts(),
        ("source.preset", _) => word(presets().iter().map(|preset| preset.name)),
        ("rules.tolerate", _) => {
            let tolerable = Rule::ALL.iter().filter(|rule| rule.is_tolerable());
            several(&word(tolerable.map(|rule| rule.code())))
        }
        ("notify.on", Some(words)) => several(&word(words.iter().copied())),
        (_, Some(words)) => word(words.iter().copied()),
        _ => return None,
    })
}

/// A list of these, or a text that lists them.
fn several(one: &Value) -> Value {
    json!({ "anyOf": [{ "type": "array", "items": one }, text()] })
}

fn like_example(line: &str) -> Value {
    let example: Option<toml::Table> = toml::from_str(line).ok();
    let value = example
        .and_then(|table| table.into_iter().next())
        .map(|(_, value)| value);
    match value {
        Some(toml::Value::Integer(_)) => number(1),
        Some(toml::Value::Boolean(_)) => flag(),
        Some(toml::Value::Array(_)) => json!({ "anyOf": [list(), text()] }),
        Some(toml::Value::String(text)) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            match text.trim_start_matches(|c: char| c.is_ascii_digit()) {
                "ms" | "s" | "m" | "h" | "d" => duration(),
                "KiB" | "MiB" => size(),
                _ => value_forms::text(),
            }
        }
        _ => text(),
    }
}

/// A table that says how a field is derived.
fn mapping(field: Field) -> Value {
    let mut table = parts(field);
    table["oneOf"] = json!([{ "required": ["column"] }, { "required": ["sql"] }]);
    table
}

fn parts(field: Field) -> Value {
    let is_available = |name: &&str| match *name {
        "since" => field == Field::AccessTokenExpiry,
        "separator" => field == Field::Scopes,
        "decrypt" | "keys" | "plain" | "nonce" | "tag" | "salt" | "context" | "form" => !field.is_compared(),
        _ => true,
    };
    let value = |name: &str| match name {
        "keys" | "json" => texts(),
        "nonce" | "tag" | "salt" | "context" => json!({ "anyOf": [text(), {
            "type": "object", "additionalProperties": false, "required": ["sql"], "properties": { "sql": text() },
        }] }),
        // Without a column of its own, it is another member of the same value.
        "since" => json!({ "anyOf": [text(), parts(Field::IdToken)] }),
        "plain" => word(["refuse", "accept"]),
        "decrypt" => word_or_other(Format::ALL.map(Format::name)),
        _ => text(),
    };
    let properties: Map<String, Value> = KEYS
        .into_iter()
        .filter(is_available)
        .map(|name| (name.to_owned(), value(name)))
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// Puts a schema in place, and tables on the way to it.
fn insert(root: &mut Value, key: &str, schema: Value) {
    let (way, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = root;
    for part in way.split('.').filter(|part| !part.is_empty()) {
        at = &mut at["properties"][part];
        if at.is_null() {
            *at = table("");
        }
    }
    at["properties"][name] = schema;
}

fn describe(root: &mut Value, key: &str, about: &str) {
    if let Some(Value::Object(table)) = find(root, key) {
        table.insert("description".to_owned(), json!(about));
    }
}

fn find<'a>(root: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.')
        .try_fold(root, |at, part| at.get_mut("properties")?.get_mut(part))
}

#[cfg(test)]
mod tests;
