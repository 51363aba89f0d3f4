//! The schema against what is read.

use std::path::Path;

use super::*;
use crate::config::{ConfigError, known_keys, load_text};

#[test]
fn the_schema_has_every_key_and_no_other() {
    fn leaves(schema: &Value, prefix: &str, found: &mut Vec<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match inner["properties"].as_object() {
                Some(_) => leaves(inner, &key, found),
                None => found.push(key),
            }
        }
    }
    let (mut found, mut known) = (Vec::new(), known_keys());
    leaves(&schema(), "", &mut found);
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn kinds_are_those_of_the_example() {
    let mut schema = schema();
    let mut form = |key: &str| find(&mut schema, key).unwrap().clone();
    for (key, expected) in [
        ("source.page_size", number(1)),
        ("live.enabled", flag()),
        ("api.timeout", duration()),
        ("batch.max_bytes", size()),
        ("api.base_url", text()),
        ("source.provider.revision", text()),
        ("metrics.listen", text()),
        ("source.decrypt.fernet", formats::named(Format::Fernet)),
    ] {
        assert_eq!(form(key)["anyOf"], expected["anyOf"], "{key}");
        assert_eq!(form(key)["pattern"], expected["pattern"], "{key}");
    }
    let presets = form("source.preset");
    assert!(
        presets["anyOf"][0]["enum"]
            .as_array()
            .unwrap()
            .contains(&json!("keycloak"))
    );
}

#[test]
fn the_words_are_those_that_are_read() {
    for (key, words) in WORDS {
        let must = |word: &str| {
            let value = if key == "notify.on" {
                format!("[\"{word}\"]")
            } else {
                format!("\"{word}\"")
            };
            let text = format!("notify.command = \"x\"\nsource.provider.provider = \"x\"\n{key} = {value}");
            let loaded = load_text(Path::new("tokenferry.toml"), &text).unwrap();
            let Err(error) = loaded.settings() else {
                return None;
            };
            let ConfigError::Invalid(problems) = error else {
                return None;
            };
            problems
                .into_iter()
                .find(|problem| problem.key == key)
                .map(|problem| problem.must)
        };
        for word in words {
            assert_eq!(must(word), None, "{key} = {word}");
        }
        let others = must("other").unwrap();
        let named = words.iter().filter(|word| others.contains(**word)).count();
        assert_eq!(named, words.len(), "{others}");
    }
}

#[test]
fn a_format_takes_its_own_settings_and_no_others() {
    let format = formats::named(Format::Rails);
    let names: Vec<&String> = format["anyOf"][1]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["digest", "format", "keys", "plain", "salts"]);
    let mapping = mapping(Field::AccessToken);
    let names: Vec<&String> = mapping["properties"].as_object().unwrap().keys().collect();
    assert!(
        names.iter().all(|name| *name != "since" && *name != "separator"),
        "{names:?}"
    );
    assert_eq!(formats::spellings(Format::Aes256Gcm), "^aes[-_]256[-_]gcm$");
}
