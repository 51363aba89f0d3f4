//! Postgres: what source and ledger share, such as sessions with timeouts, quoting and error classes.

mod address;
mod failure;
mod no_answer;
mod outage;
mod parameters;
mod path;
mod patience;
mod pool;
mod pooling;
mod room;
mod server;
mod session;
mod unconnected;
mod url_text;

use std::fmt::Write as _;

pub use address::{Address, Line};
pub use failure::{Failure, FailureKind};
pub use outage::Outage;
pub use path::{CATALOG_FIRST, SharedSchema};
pub use patience::Patience;
pub use pool::{Bounded, Lease, Pool};
pub use room::{Limit, Room};
pub use server::{Server, Transport};
pub use session::Session;
pub use url_text::UnusableUrl;

/// Quotes an identifier, so that it means exactly the configured name.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text as a literal for any server setting. Control characters are escaped, so that it can be shown
/// on a terminal.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    if !text.contains(|c: char| c == '\\' || c.is_control()) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut literal = String::from("e'");
    for character in text.chars() {
        match character {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            _ if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(literal, "\\u{:04x}", u32::from(character));
            }
            _ => literal.push(character),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::{quote_identifier, quote_literal};

    #[test]
    fn literals_are_closed_by_nothing_they_hold() {
        for (text, expected) in [
            ("42", "'42'"),
            ("it's", "'it''s'"),
            ("a\\'; drop table x; --", "e'a\\\\''; drop table x; --'"),
            ("a\n\u{1b}[31m", "e'a\\u000a\\u001b[31m'"),
        ] {
            assert_eq!(quote_literal(text), expected);
        }
    }

    #[test]
    fn quotes_inside_of_names_are_doubled() {
        assert_eq!(quote_identifier("Order"), "\"Order\"");
        assert_eq!(
            quote_identifier("a\"; drop table x; --"),
            "\"a\"\"; drop table x; --\""
        );
    }
}
