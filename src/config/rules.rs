//! The `[rules]` section: rules that are downgraded to warnings.

use config::ValueKind;

use super::{nearest::nearest, reader::Reader};
use crate::domain::{Rule, RuleSet};

const KEY: &str = "rules.tolerate";

/// Reads the listed rules: an array, or a text separated by commas, as in an environment variable.
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
                    None => format!("the codes are {}", tolerable().collect::<Vec<_>>().join(", ")),
                };
                // A known code is no secret, but any other text might be.
                let known = Rule::find(code).map_or("a code", Rule::code);
                reader.problem(KEY, format!("contains {known} that cannot be tolerated; {hint}"));
            }
            rule
        })
        .collect()
}
