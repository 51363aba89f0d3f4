//! The forms of single values. Any of them may also be a text that points elsewhere: `env:NAME` or
//! `file:/path`.

use serde_json::{Value, json};

const ELSEWHERE: &str = "(env|file):.+";

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn list() -> Value {
    json!({ "type": "array", "items": text() })
}

pub(super) fn texts() -> Value {
    json!({ "anyOf": [text(), list()] })
}

pub(super) fn number(least: u64) -> Value {
    json!({ "anyOf": [{ "type": "integer", "minimum": least }, matching("[0-9]+")] })
}

pub(super) fn flag() -> Value {
    json!({ "anyOf": [{ "type": "boolean" }, matching("true|false")] })
}

pub(super) fn duration() -> Value {
    matching("([0-9]+ *[a-z]+ *)+")
}

pub(super) fn size() -> Value {
    json!({ "anyOf": [{ "type": "integer", "minimum": 1024 }, matching("[0-9.]+ *[A-Za-z]*")] })
}

pub(super) fn word<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    json!({ "anyOf": [{ "enum": words }, elsewhere()] })
}

/// Words among others of one's own, for editors to offer.
pub(super) fn word_or_other<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    json!({ "anyOf": [{ "enum": words }, text()] })
}

fn elsewhere() -> Value {
    json!({ "type": "string", "pattern": format!("^{ELSEWHERE}$") })
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^ *({pattern}|{ELSEWHERE}) *$") })
}
