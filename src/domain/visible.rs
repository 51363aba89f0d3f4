//! Escaping of foreign text for a terminal, a log, a page or a spreadsheet.
//!
//! Keys and IDs come from the source, reasons from the API. They must not move a terminal's cursor, reorder
//! or add lines, or run as a formula.

use std::{borrow::Cow, fmt::Write as _};

/// Escapes every character that would not be visible.
#[must_use]
pub fn visible(text: &str) -> String {
    spelt_out(text, |_| false, Spelling::OfRust).into_owned()
}

/// Escapes our own multi-line text; line breaks stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    spelt_out(text, |character| character == '\n', Spelling::OfRust)
}

/// Escapes JSON with JSON escapes, which keeps its meaning.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    spelt_out(json, |character| character == '\n', Spelling::OfJson)
}

/// Escapes a cell of a CSV file. An apostrophe precedes text that a spreadsheet would read as a formula,
/// except numbers.
#[must_use]
pub fn visible_cell(text: &str) -> String {
    let begins_like_one = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    let shown = visible(text);
    if begins_like_one && text.parse::<i64>().is_err() {
        format!("'{shown}")
    } else {
        shown
    }
}

/// The form of an escape.
#[derive(Clone, Copy)]
enum Spelling {
    /// `\u{1b}`
    OfRust,
    /// `\u001b`
    OfJson,
}

fn spelt_out(text: &str, stays: impl Fn(char) -> bool, spelling: Spelling) -> Cow<'_, str> {
    let is_foreign = |character| is_unseen(character) && !stays(character);
    if !text.contains(is_foreign) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if !is_foreign(character) {
            shown.push(character);
        } else if matches!(spelling, Spelling::OfRust) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown.into()
}

/// Returns true for controls, line ends, characters that change the text direction, and zero-width characters
/// that no script needs.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_a_line_is_spelt_out() {
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\u{a}");
        assert_eq!(visible("\u{61c}\u{2028}\u{9b}1m"), "\\u{61c}\\u{2028}\\u{9b}1m");
        assert_eq!(visible("Größe 電話 <b>"), "Größe 電話 <b>");
        assert_eq!(
            visible_lines("a\nb\r\u{1b}]0;x\u{7}\n"),
            "a\nb\\u{d}\\u{1b}]0;x\\u{7}\n"
        );
    }

    #[test]
    fn json_means_what_it_meant() {
        let value = serde_json::json!({"key": "a\u{1b}[2J\u{202e}\u{2028}\u{9b}\u{e0041}\u{7f}"});
        let shown = visible_json(&value.to_string()).into_owned();
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1"] {
            assert!(visible_cell(formula).starts_with('\''), "{formula}");
        }
        for plain in ["a=1", "-17", "42", "", "'=1"] {
            assert_eq!(visible_cell(plain), plain);
        }
    }
}
