//! Documents inside values: JSON and form-encoded text, of which a field is one member. Members may be
//! tokens, so every copy is wiped when dropped.

use std::collections::HashMap;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::config::Pick;

/// The reason why a member cannot be taken out of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadDocument {
    NotJson,
    NotForm,
}

/// A member of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its text; JSON, if it is an array or object.
    pub(super) text: Zeroizing<String>,
    /// It may be a token: neither a document nor one of JSON's own words.
    pub(super) may_be_token: bool,
}

/// Returns the member; `None` if the document lacks it, or it is null.
pub(super) fn pick(document: &str, member: &Pick) -> Result<Option<Member>, BadDocument> {
    match member {
        Pick::Json(path) => json_member(document, path),
        Pick::JsonOrForm(path, _) if document.trim_start().starts_with('{') => json_member(document, path),
        Pick::Form(name) | Pick::JsonOrForm(_, name) => {
            let text = form_member(document, name)?;
            Ok(text.map(|text| Member {
                text,
                may_be_token: true,
            }))
        }
    }
}

fn json_member(document: &str, path: &[String]) -> Result<Option<Member>, BadDocument> {
    // Borrowed from the document: nothing of it is copied but the names.
    let mut value: &RawValue = serde_json::from_str(document).map_err(|_| BadDocument::NotJson)?;
    for name in path {
        if !value.get().starts_with('{') {
            // Of a value that is no object, there are no members.
            return Ok(None);
        }
        let members: HashMap<String, &RawValue> =
            serde_json::from_str(value.get()).map_err(|_| BadDocument::NotJson)?;
        let Some(&inner) = members.get(name) else {
            return Ok(None);
        };
        value = inner;
    }
    let json = value.get();
    if json == "null" {
        return Ok(None);
    }
    let text = match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(escaped) => unescape(escaped).ok_or(BadDocument::NotJson)?,
        None => Zeroizing::new(json.to_owned()),
    };
    // A document may stand in a text of its own.
    let may_be_token = !matches!(json, "true" | "false") && !text.starts_with(['{', '[']);
    Ok(Some(Member { text, may_be_token }))
}

/// The text of a JSON string. The library's own way would leave a copy in memory that is not wiped.
fn unescape(escaped: &str) -> Option<Zeroizing<String>> {
    // Never moves: no escape is shorter than what it stands for.
    let mut text = Zeroizing::new(String::with_capacity(escaped.len()));
    let mut rest = escaped;
    while let Some((before, behind)) = rest.split_once('\\') {
        text.push_str(before);
        let letter = behind.chars().next()?;
        rest = behind.get(letter.len_utf8()..)?;
        text.push(match letter {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '"' | '\\' | '/' => letter,
            'u' => {
                let (first, behind) = code_unit(rest)?;
                rest = behind;
                if (0xD800..0xDC00).contains(&first) {
                    let (second, behind) = code_unit(rest.strip_prefix("\\u")?)?;
                    rest = behind;
                    char::decode_utf16([first, second]).next()?.ok()?
                } else {
                    char::from_u32(u32::from(first))?
                }
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    Some(text)
}

/// Four hexadecimal digits, and what comes after them.
fn code_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

fn form_member(document: &str, name: &str) -> Result<Option<Zeroizing<String>>, BadDocument> {
    let mut found = None;
    for pair in document.trim().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(BadDocument::NotForm)?;
        let key = form_text(key).ok_or(BadDocument::NotForm)?;
        if found.is_none() && key.as_str() == name {
            found = Some(form_text(value).ok_or(BadDocument::NotForm)?);
        }
    }
    Ok(found)
}

/// A text with plus signs for spaces, and percent signs before encoded bytes.
fn form_text(encoded: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(encoded.len()));
    for (position, part) in encoded.split('%').enumerate() {
        let rest = if position == 0 {
            part
        } else {
            let (digits, rest) = part.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest
        };
        bytes.extend(rest.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }));
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(document: &str, path: &[&str]) -> Result<Option<String>, BadDocument> {
        let path = path.iter().map(|&name| name.to_owned()).collect();
        pick(document, &Pick::Json(path)).map(|member| member.map(|member| member.text.to_string()))
    }

    #[test]
    fn a_document_or_a_word_of_json_is_no_token() {
        let document = r#"{"text": "x", "false": "false", "number": 7, "word": false, "yes": true, "list": ["x"],
                           "object": {"a": "x"}, "inner": "{\"a\": 1}"}"#;
        let may_be_token = |name: &str| {
            let picked = pick(document, &Pick::Json(vec![name.to_owned()]));
            picked.unwrap().unwrap().may_be_token
        };
        for name in ["text", "false", "number"] {
            assert!(may_be_token(name), "{name}");
        }
        for name in ["word", "yes", "list", "object", "inner"] {
            assert!(!may_be_token(name), "{name}");
        }
    }

    #[test]
    fn a_member_of_a_json_is_its_text() {
        let document =
            r#" {"a": {"b": "\u00e9\ud83d\ude00\"\\\/\n", "c": [1, "x"]}, "n": 3599, "t": true, "z": null} "#;
        assert_eq!(json(document, &["a", "b"]), Ok(Some("é😀\"\\/\n".to_owned())));
        assert_eq!(json(document, &["a", "c"]), Ok(Some("[1, \"x\"]".to_owned())));
        assert_eq!(json(document, &["n"]), Ok(Some("3599".to_owned())));
        assert_eq!(json(document, &["t"]), Ok(Some("true".to_owned())));
        for absent in [&["z"][..], &["a", "x"], &["n", "x"], &["missing"]] {
            assert_eq!(json(document, absent), Ok(None), "{absent:?}");
        }
        assert_eq!(json("null", &["a"]), Ok(None));
        assert_eq!(json(r#"{"a": "1", "a": "2"}"#, &["a"]), Ok(Some("2".to_owned())));
        for broken in [
            "{",
            "{'a': 1}",
            "ya29.token",
            "{\"a\": 1} x",
            r#"{"a": "\ud800"}"#,
        ] {
            assert_eq!(json(broken, &["a"]), Err(BadDocument::NotJson), "{broken}");
        }
    }

    #[test]
    fn a_member_of_a_form_is_its_decoded_text() {
        let form = |document, name: &str| {
            let picked = pick(document, &Pick::Form(name.to_owned()));
            picked.map(|member| member.map(|member| member.text.to_string()))
        };
        let document = "access_token=gho%5F1%2Fx&scope=repo%2Cuser+email&token_type=bearer&empty=";
        assert_eq!(form(document, "access_token"), Ok(Some("gho_1/x".to_owned())));
        assert_eq!(form(document, "scope"), Ok(Some("repo,user email".to_owned())));
        assert_eq!(form(document, "empty"), Ok(Some(String::new())));
        assert_eq!(form(document, "refresh_token"), Ok(None));
        for broken in ["gho_1", "access_token=%zz", "access_token=%e", "access_token=%ff"] {
            assert_eq!(
                form(broken, "access_token"),
                Err(BadDocument::NotForm),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_document_of_either_kind_is_told_by_its_brace() {
        let either = Pick::JsonOrForm(vec!["access_token".to_owned()], "access_token".to_owned());
        for document in [" {\"access_token\": \"x\"}", "access_token=x"] {
            assert_eq!(pick(document, &either).unwrap().unwrap().text.as_str(), "x");
        }
        assert_eq!(pick("{broken", &either), Err(BadDocument::NotJson));
    }
}
