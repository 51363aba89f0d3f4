//! A parser for the lists of scopes that programs write. An ambiguous text is rejected: a token with wrong
//! scopes is not found by a request for the right ones.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::domain::Scopes;

/// Parses the value of a text column.
pub(super) fn of_text(text: &str) -> Scopes {
    read(text, NESTED)
}

/// Parses a list with this separator and no other.
pub(super) fn separated_by(text: &str, separator: char) -> Scopes {
    let pieces: Vec<String> = text
        .split(separator)
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect();
    if pieces.iter().all(|piece| is_scope(piece)) {
        listed(pieces)
    } else {
        Scopes::Unreadable
    }
}

/// Parses the value of a JSON column, or of an array as JSON.
pub(super) fn of_json(text: &str) -> Scopes {
    json(text, NESTED)
}

/// The most times that a list may be nested as text within text.
const NESTED: u8 = 3;

/// Texts that programs write for "no scopes".
const NOTHING: [&str; 8] = [
    "null",
    "none",
    "nil",
    "undefined",
    "(null)",
    "<null>",
    "(none)",
    "<none>",
];

fn read(text: &str, depth: u8) -> Scopes {
    let text = text.trim();
    if NOTHING.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Scopes::Absent;
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Scopes::Unreadable;
    };
    match text.as_bytes() {
        [b'[', .., b']'] => match json(text, depth) {
            Scopes::Unreadable => quoted_list(&text[1..text.len() - 1]),
            read => read,
        },
        [b'(', .., b')'] => quoted_list(&text[1..text.len() - 1]),
        [b'"', .., b'"'] => json(text, depth),
        [quote @ (b'\'' | b'`'), inner @ .., last] if quote == last && !inner.contains(quote) => {
            read(&text[1..text.len() - 1], depth)
        }
        [b's' | b'a', b':', b'0'..=b'9', ..] if text.contains(":\"") || text.contains(":{") => {
            php(text, depth).unwrap_or(Scopes::Unreadable)
        }
        // An object, an array as Postgres writes it, YAML, or half of something: split, its marks would
        // become scopes.
        [b'{' | b'[' | b'(', ..] | [b'-', b'-', b'-', ..] => Scopes::Unreadable,
        _ => separated(text),
    }
}

fn json(text: &str, depth: u8) -> Scopes {
    match serde_json::from_str(text) {
        Ok(Value::Null) => Scopes::Absent,
        Ok(Value::String(list)) => read(&list, depth),
        Ok(array) => serde_json::from_value(array).map_or(Scopes::Unreadable, listed),
        Err(_) => Scopes::Unreadable,
    }
}

/// As Python prints a list: each item in quotes, single ones mostly, and maybe with a `u` before them.
fn quoted_list(inner: &str) -> Scopes {
    let items = inner.trim().trim_end_matches(',');
    if items.is_empty() {
        return Scopes::Absent;
    }
    let unquoted = |item: &str| {
        let item = item.trim();
        let item = item.strip_prefix('u').unwrap_or(item);
        let inner = ['\'', '"']
            .iter()
            .find_map(|&quote| item.strip_prefix(quote)?.strip_suffix(quote))?;
        is_scope(inner).then(|| inner.to_owned())
    };
    let items: Option<Vec<String>> = items.split(',').map(unquoted).collect();
    items.map_or(Scopes::Unreadable, listed)
}

/// As PHP's `serialize` writes a text (`s:5:"email";`) or an array of them (`a:1:{i:0;s:5:"email";}`).
fn php(text: &str, depth: u8) -> Option<Scopes> {
    if text.starts_with('s') {
        let (list, rest) = php_text(text)?;
        return rest.is_empty().then(|| read(list, depth));
    }
    let (_, inner) = text.split_once(":{")?;
    let mut rest = inner.strip_suffix('}')?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        // The item's number.
        let (_, item) = rest.strip_prefix("i:")?.split_once(';')?;
        let (item, behind) = php_text(item)?;
        items.push(item.to_owned());
        rest = behind;
    }
    Some(listed(items))
}

/// A text and what stands behind it; its length is in bytes.
fn php_text(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.strip_prefix("s:")?.split_once(":\"")?;
    let (inner, rest) = rest.split_at_checked(length.parse().ok()?)?;
    Some((inner, rest.strip_prefix("\";")?))
}

/// Words with white space, commas, semicolons or bars between them, maybe percent-encoded as in a URL.
fn separated(text: &str) -> Scopes {
    if text.contains('%') {
        return decoded(text).map_or(Scopes::Unreadable, |text| split(&text));
    }
    split(text)
}

/// `None` if it is not encoded from end to end.
fn decoded(text: &str) -> Option<String> {
    let is_encoded = text.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .get(..2)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    // A plus may be one, or a space as in a form.
    if !is_encoded || (text.contains('+') && !text.contains("%20")) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn split(text: &str) -> Scopes {
    // SMART on FHIR has scopes with queries in them, and bars in these.
    let marks: &[char] = if text.contains('?') {
        &[',']
    } else {
        &[',', ';', '|']
    };
    let mut found = marks.iter().filter(|&&mark| text.contains(mark));
    let mark = found.next().copied();
    if found.next().is_some() {
        return Scopes::Unreadable;
    }
    let pieces: Vec<&str> = match mark {
        // Between semicolons or bars a space stands beside them, or is one separator too many.
        Some(mark @ (';' | '|')) => text.split(mark).map(str::trim).collect(),
        _ => text.split(|c: char| c == ',' || c.is_whitespace()).collect(),
    };
    let pieces: Vec<String> = pieces
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect();
    if pieces.iter().all(|piece| is_scope(piece)) {
        listed(pieces)
    } else {
        Scopes::Unreadable
    }
}

/// RFC 6749 (3.3) has neither quotes nor backslashes in a scope; anything beyond ASCII is the provider's
/// business.
fn is_scope(text: &str) -> bool {
    !text.contains(|c: char| c == '"' || c == '\\' || c.is_whitespace())
}

/// White space at an end of a scope, as an array of `char(10)` has it, is none of it.
fn listed(mut scopes: Vec<String>) -> Scopes {
    for scope in &mut scopes {
        let trimmed = scope.trim();
        if trimmed.len() < scope.len() {
            *scope = trimmed.to_owned();
        }
    }
    if scopes.is_empty() {
        Scopes::Absent
    } else {
        Scopes::Listed(scopes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(scopes: &[&str]) -> Scopes {
        Scopes::Listed(scopes.iter().map(|&scope| scope.into()).collect())
    }

    #[test]
    fn every_form_of_a_list_in_a_text() {
        for text in [
            "a b",
            "a,b",
            "a, b ,,\n",
            "a;b",
            "a; b;",
            "a|b",
            "a%20b",
            "a%2Cb",
            "[\"a\",\"b\"]",
            "\"a b\"",
            "\"[\\\"a\\\", \\\"b\\\"]\"",
            "'a b'",
            "['a', 'b']",
            "[u'a', u'b',]",
            "('a', 'b')",
            "a:2:{i:0;s:1:\"a\";i:1;s:1:\"b\";}",
            "s:3:\"a b\";",
            "s:9:\"[\"a\",\"b\"]\";",
        ] {
            assert_eq!(of_text(text), list(&["a", "b"]), "{text}");
        }
        let calendar = "https://www.googleapis.com/auth/calendar";
        assert_eq!(
            of_text("https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcalendar%20email"),
            list(&[calendar, "email"])
        );
        let observation = "patient/Observation.rs?category=http://hl7.org/c|lab";
        assert_eq!(
            of_text(&format!("{observation} openid")),
            list(&[observation, "openid"])
        );
        for text in [
            "",
            " , ",
            "[]",
            "\"\"",
            "null",
            " None",
            "(NULL)",
            "'null'",
            "null-less",
        ] {
            let expected = if text == "null-less" {
                list(&[text])
            } else {
                Scopes::Absent
            };
            assert_eq!(of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn a_separator_of_ones_own_is_the_only_one() {
        assert_eq!(separated_by("a:x, b;c ,,", ','), list(&["a:x", "b;c"]));
        assert_eq!(separated_by(" , ", ','), Scopes::Absent);
        assert_eq!(separated_by("a b,c", ','), Scopes::Unreadable);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for text in [
            "[1]",
            "[broken",
            "{a,b}",
            "{\"a\": true}",
            "{'a', 'b'}",
            "a;b|c",
            "a,b;c",
            "a b;c",
            "a%2Fb+c",
            "100%",
            "\"a",
            "a\\ b",
            "['a' 'b']",
            "['a\\'b']",
            "a:1:{i:0;s:9:\"a\";}",
            "a:1:{i:0;i:1;}",
            "---\n- a\n- b\n",
            "\"\\\"\\\\\\\"\\\\\\\\\\\\\\\"a\\\\\\\\\\\\\\\"\\\\\\\"\\\"\"",
        ] {
            assert_eq!(of_text(text), Scopes::Unreadable, "{text}");
        }
    }

    #[test]
    fn every_form_of_a_list_in_json() {
        for (text, expected) in [
            ("[\"a b\"]", list(&["a b"])),
            ("[\"a \", \"\\tb\", \" \"]", list(&["a", "b", ""])),
            ("\"null\"", Scopes::Absent),
            ("\"a b\"", list(&["a", "b"])),
            ("\"[\\\"a\\\"]\"", list(&["a"])),
            ("[]", Scopes::Absent),
            ("null", Scopes::Absent),
            ("{\"a\":1}", Scopes::Unreadable),
            ("[null]", Scopes::Unreadable),
        ] {
            assert_eq!(of_json(text), expected, "{text}");
        }
    }
}
