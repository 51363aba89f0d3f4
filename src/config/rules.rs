//! `[rules]`: which suspicions are not errors here.

use config::ValueKind;

use super::{nearest::nearest, reader::Reader};
use crate::domain::{Rule, RuleSet};

const KEY: &str = "rules.tolerate";

/// The rules whose codes are listed: an array, or, as in an environment variable, a text with commas.
pub(super) fn tolerated(reader: &mut Reader<'_>) -> RuleSet {
    let Some(value) = reader.value(KEY) else {
        return RuleSet::default();
    };
    let codes: Option<Vec<String>> = match &value.kind {
        ValueKind::Array(_) => value.clone().into_array().ok().and_then(|codes| {
            codes
                .into_iter()
                .map(|code| code.into_string().ok())
                .collect::<Option<_>>()
        }),
        ValueKind::String(codes) => Some(codes.split(',').map(|code| code.trim().to_owned()).collect()),
        _ => None,
    };
    let Some(codes) = codes else {
        reader.problem(KEY, "must be a list of codes, such as [\"token_encrypted\"]");
        return RuleSet::default();
    };
    codes
        .iter()
        .filter(|code| !code.is_empty())
        .filter_map(|code| {
            let rule = Rule::find(code).filter(|rule| rule.is_tolerable());
            if rule.is_none() {
                let tolerable = || {
                    Rule::ALL
                        .iter()
                        .filter(|rule| rule.is_tolerable())
                        .map(|rule| rule.code())
                };
                let hint = match nearest(code, tolerable()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there are {}", tolerable().collect::<Vec<_>>().join(", ")),
                };
                // A code is no secret, but what stands in its place might be.
                let known = Rule::find(code).map_or("a code", Rule::code);
                reader.problem(KEY, format!("holds {known} that cannot be tolerated; {hint}"));
            }
            rule
        })
        .collect()
}
