//! Lines to paste, quoted for a shell or for SQL.

use crate::{config::Relation, postgres::quote_identifier};

/// Quotes a word for a shell, if it needs quotes.
pub(super) fn shell(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "/._-+:@%".contains(each));
    if is_plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Returns the command that sets a variable; the value is for the user to write.
pub(super) fn export(name: &str) -> String {
    format!("export {name}=\u{2026}")
}

/// Returns the quoted name of the source's table; `None` for a query.
pub(super) fn table(relation: &Relation) -> Option<String> {
    match relation {
        Relation::Table(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| quote_identifier(part)).collect();
            Some(parts.join("."))
        }
        Relation::Query(_) => None,
    }
}

/// Quotes a string for TOML.
pub(super) fn toml(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(shell("/etc/tokenferry/key"), "/etc/tokenferry/key");
        assert_eq!(shell("/my keys/it's"), "'/my keys/it'\\''s'");
        assert_eq!(shell("$HOME"), "'$HOME'");
    }
}
