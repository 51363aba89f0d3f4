//! Texts of others, made fit for a terminal, a log, a page or a spreadsheet.
//!
//! Keys and IDs come from the source and reasons from the API: what they hold must not move the cursor of a terminal, nor make a line
//! read otherwise than it is, nor begin another one, nor be run as a formula.

use std::{borrow::Cow, fmt::Write as _};

/// The text with whatever is not to be seen spelt out.
#[must_use]
pub fn visible(text: &str) -> String {
    spelt_out(text, |_| false, Spelling::OfRust).into_owned()
}

/// The same for a text of ours that has lines: they stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    spelt_out(text, |character| character == '\n', Spelling::OfRust)
}

/// The same for JSON, which means what it meant before: it is spelt out as JSON does it.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    spelt_out(json, |character| character == '\n', Spelling::OfJson)
}

/// The same for a cell of a CSV file: a spreadsheet takes what begins like a formula for one, so an apostrophe stands before it. A
/// number is none.
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

/// How a character is spelt out.
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
            // Writing to a text cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown.into()
}

/// Controls, line ends of any kind, characters that make the text around them run the other way, and those without a width that no
/// script needs.
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
