//! `[source.decrypt]`: each format's keys, or a table with its settings.

use serde_json::{Map, Value, json};

use super::{
    super::decrypt::{CIPHERS, DIGESTS, ENCODINGS, KEY_HASHES, PADDINGS},
    value_forms::{flag, number, text, texts, word},
};
use crate::decrypt::{Format, Setting};

/// A format by its name: keys, or a table.
pub(super) fn named(format: Format) -> Value {
    json!({ "anyOf": [texts(), settings(format.settings(), [format.name()])] })
}

/// A table with a name of the user's own, which has to say its format.
pub(super) fn own() -> Value {
    let all: Vec<Setting> = Format::ALL
        .iter()
        .flat_map(|format| format.settings())
        .copied()
        .collect();
    let mut table = settings(&all, Format::ALL.map(Format::name));
    table["required"] = json!(["format"]);
    table
}

/// The spellings of a format's name, as a pattern.
pub(super) fn spellings(format: Format) -> String {
    format!("^{}$", format.name().replace('-', "[-_]"))
}

fn settings<'a>(settings: &[Setting], formats: impl IntoIterator<Item = &'a str>) -> Value {
    let mut properties: Map<String, Value> = settings
        .iter()
        .map(|&setting| (setting.name().to_owned(), value(setting)))
        .collect();
    let formats: Vec<String> = formats
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.replace('-', "_")])
        .collect();
    properties.insert("format".to_owned(), word(formats.iter().map(String::as_str)));
    properties.insert("plain".to_owned(), word(["refuse", "accept"]));
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn value(setting: Setting) -> Value {
    match setting {
        Setting::Keys | Setting::OldKeys | Setting::Salts => texts(),
        Setting::NamedKeys => {
            json!({ "anyOf": [text(), { "type": "object", "additionalProperties": text() }] })
        }
        Setting::Digest => word(DIGESTS.map(|(name, _)| name)),
        Setting::Encoding => word(ENCODINGS.map(|(name, _)| name)),
        Setting::Cipher => word(CIPHERS.map(|(name, _)| name)),
        Setting::Padding => word(PADDINGS.map(|(name, _)| name)),
        Setting::KeyHash => word(KEY_HASHES.map(|(name, _)| name)),
        Setting::NonceBytes => number(8),
        Setting::Inflate => flag(),
        Setting::DataKeys | Setting::Table | Setting::Attribute | Setting::Layout => text(),
    }
}
