//! Mistakes that would otherwise show up elsewhere: unexpanded placeholders, exchanged credentials and
//! variables whose names have no effect.

use std::collections::HashMap;

use super::Problem;

/// The prefix of variables that override keys, as it is mistyped.
const SINGLE: &str = "TOKENFERRY_";
const DOUBLE: &str = "TOKENFERRY__";

/// Returns a placeholder such as `${NAME}` that was left in a value. Its name is not repeated if it may be
/// part of a password.
pub(super) fn placeholder(text: &str) -> Option<String> {
    if let Some(name) = text.strip_prefix('$').filter(|name| is_variable(name)) {
        return Some(format!("${name}"));
    }
    text.match_indices("${").find_map(|(start, _)| {
        let (name, _) = text[start + 2..].split_once('}')?;
        let is_name = name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
        if is_variable(name) {
            Some(format!("${{{name}}}"))
        } else {
            (is_name && !name.is_empty()).then(|| "${…}".to_owned())
        }
    })
}

/// Returns the name in a placeholder, or an example.
fn variable_in(placeholder: &str) -> &str {
    let name = placeholder.trim_matches(['$', '{', '}']);
    if is_variable(name) { name } else { "NAME" }
}

/// Returns the requirement for the value of `key` with this placeholder.
pub(super) fn unexpanded(key: &str, text: &str, placeholder: &str) -> String {
    let name = match key {
        // A part of an address: the variable needs a name for all of it.
        "source.url" if text != placeholder => "SOURCE_DATABASE_URL",
        "ledger.url" if text != placeholder => "LEDGER_DATABASE_URL",
        _ => variable_in(placeholder),
    };
    format!(
        "contains `{placeholder}`, which nothing replaces: set the variable {name} to the whole value, and write \"env:{name}\""
    )
}

/// Returns true for a name in capitals, as environment variables have. Another one is not repeated: it may be
/// part of a password.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name
            .chars()
            .all(|each| each.is_ascii_uppercase() || each.is_ascii_digit() || each == '_')
}

/// Returns true if the project ID begins as management keys do. It must not be shown then.
pub(super) fn looks_like_a_key(project_id: &str) -> bool {
    project_id.starts_with('K')
}

/// Returns true if each of the two begins as the other one should.
pub(super) fn are_exchanged(project_id: &str, management_key: &str) -> bool {
    looks_like_a_key(project_id) && management_key.starts_with('P')
}

/// Returns the names of variables that look like overrides but have single underscores.
pub(super) fn single_underscores(environment: Option<&HashMap<String, String>>) -> Vec<String> {
    let is_meant = |name: &String| name.starts_with(SINGLE) && !name.starts_with(DOUBLE);
    let mut names: Vec<String> = match environment {
        Some(variables) => variables.keys().filter(|name| is_meant(name)).cloned().collect(),
        None => std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(is_meant)
            .collect(),
    };
    names.sort();
    names
}

/// Returns a problem for each of these variables that resembles one of the right names.
pub(super) fn without_effect(
    variables: &[String],
    right_names: impl Iterator<Item = String>,
) -> Vec<Problem> {
    let right: Vec<String> = right_names.collect();
    let problem = |name: &String| {
        let meant = right.iter().find(|right| right.replace("__", "_") == *name)?;
        Some(Problem {
            key: name.clone(),
            must: format!("has no effect: the variable's name is {meant}, with two underscores"),
        })
    };
    variables.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_named_only_if_they_cannot_be_a_password() {
        for (text, found) in [
            ("${DESCOPE_MANAGEMENT_KEY}", Some("${DESCOPE_MANAGEMENT_KEY}")),
            ("postgres://u:${DB_PASSWORD}@db/crm", Some("${DB_PASSWORD}")),
            ("$DESCOPE_PROJECT_ID", Some("$DESCOPE_PROJECT_ID")),
            ("a${hunter2}b", Some("${…}")),
            ("pa$$word", None),
            ("$1", None),
            ("a$DB", None),
            ("${", None),
            ("${}", None),
            ("^\\${2,3}", None),
        ] {
            assert_eq!(placeholder(text).as_deref(), found, "{text}");
        }
        let said = unexpanded;
        assert!(said("a.b", "${DB}", "${DB}").contains("\"env:DB\""));
        assert!(said("a.b", "x${…}", "${…}").contains("\"env:NAME\""));
        assert!(said("source.url", "x${DB}", "${DB}").contains("\"env:SOURCE_DATABASE_URL\""));
    }

    #[test]
    fn only_names_of_known_keys_are_meant() {
        let variables = ["TOKENFERRY_BATCH_MAX_TOKENS", "TOKENFERRY_DEMO_DATABASE_URL"].map(str::to_owned);
        let right = ["TOKENFERRY__BATCH__MAX_TOKENS", "TOKENFERRY__API__TIMEOUT"].map(str::to_owned);
        let found = without_effect(&variables, right.into_iter());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "`TOKENFERRY_BATCH_MAX_TOKENS` has no effect: the variable's name is TOKENFERRY__BATCH__MAX_TOKENS, with two underscores"
        );
    }
}
