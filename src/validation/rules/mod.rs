//! The local rules, which run on every row before it is sent. A valid row costs no allocation, and each token
//! is scanned only once. [`Rule`] documents the rules.

mod encoded;
mod encrypted;
mod expiry;
mod ids;
mod jwt;
mod scopes;
mod tokens;

pub(super) use ids::destination;

use crate::domain::{
    DecryptError, DecryptFailure, Destination, LegacyToken, Reason, Rule, RuleSet, Severity, Unreadable,
    UnreadableCause,
};

/// Words that programs and dumps write for a missing or removed value.
const PLACEHOLDERS: [&str; 20] = [
    "null",
    "none",
    "nil",
    "undefined",
    "nan",
    "n/a",
    "-",
    "\\n",
    "(null)",
    "<null>",
    "[null]",
    "(none)",
    "<none>",
    "redacted",
    "[redacted]",
    "<redacted>",
    "(redacted)",
    "[filtered]",
    "masked",
    "removed",
];

/// The length of the longest placeholder.
const LONGEST_PLACEHOLDER: usize = 10;

/// The validated fields of a row that cannot be taken from the row itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sendable {
    /// Seconds since 1970 that fit into an int32; absent if unknown.
    pub(super) expiry: Option<i32>,
    pub(super) warnings: RuleSet,
}

/// Checks everything but the destination. Rules in `tolerated` only warn; `now` is in seconds since 1970.
///
/// A rule that depends on the current time never rejects: a token that was accepted yesterday would fail
/// today.
pub(super) fn sendable(
    token: &LegacyToken,
    destination: &Destination,
    tolerated: RuleSet,
    now: i64,
) -> Result<Sendable, Reason> {
    let mut found = Found {
        tolerated,
        warnings: RuleSet::default(),
    };
    if let Some(sealed) = token.sealed {
        return Err(not_decryptable(sealed));
    }
    if let Some(unreadable) = token.unreadable {
        return Err(not_readable(unreadable));
    }
    if token.access_token.is_none() && token.refresh_token.is_none() {
        return Err(reason(Rule::NoToken));
    }
    if token.is_plain {
        found.broken(Rule::ValuePlain, None)?;
    }
    scopes::check(&token.scopes, &mut found)?;
    let expiry = expiry::check(token, now, &mut found)?;
    ids::check(token, destination, &mut found)?;
    tokens::check(token, &mut found)?;
    if let Some(expiry) = expiry {
        jwt::check(token, expiry, &mut found)?;
    }
    Ok(Sendable {
        expiry,
        warnings: found.warnings,
    })
}

/// Checks whether a token should be fetched for a row, by the fields that are sent with it. `keeps_own` means
/// that the fetched token replaces nothing. Warnings follow after the fetch.
pub(super) fn worth_fetching_for(
    token: &LegacyToken,
    destination: &Destination,
    keeps_own: bool,
    tolerated: RuleSet,
) -> Result<(), Reason> {
    let mut found = Found {
        tolerated,
        warnings: RuleSet::default(),
    };
    if keeps_own {
        scopes::check(&token.scopes, &mut found)?;
        tokens::check(token, &mut found)?;
    }
    ids::check(token, destination, &mut found)
}

/// The problems of one row.
struct Found {
    tolerated: RuleSet,
    warnings: RuleSet,
}

impl Found {
    /// Records a broken rule; `part` names the field if the rule does not.
    fn broken(&mut self, rule: Rule, part: Option<&str>) -> Result<(), Reason> {
        if rule.severity() == Severity::Warning || self.tolerated.contains(rule) {
            self.warnings.add(rule);
            return Ok(());
        }
        Err(part.map_or_else(|| reason(rule), |part| in_part(rule, part)))
    }
}

pub(super) fn reason(rule: Rule) -> Reason {
    Reason::of(rule, rule.what())
}

fn not_decryptable(DecryptError { field, why }: DecryptError) -> Reason {
    let what = match why {
        DecryptFailure::NotEncrypted => {
            format!("the value of `{field}` does not have the format of the configured encryption")
        }
        DecryptFailure::NoKeyFits => format!(
            "no key decrypts the value of `{field}`: it was encrypted with another key, or changed since"
        ),
        DecryptFailure::OnlyEncoded => format!(
            "no key decrypts the value of `{field}`, and without its encoding it is readable text: it may only be encoded, \
             not encrypted"
        ),
        DecryptFailure::UnknownKey => {
            format!("the value of `{field}` names a key that is not configured")
        }
        DecryptFailure::Damaged => format!(
            "the value of `{field}` has the format of the configured encryption but is damaged or of an unknown version"
        ),
        DecryptFailure::ByDatabase => format!("the database could not decrypt the value of `{field}`"),
        DecryptFailure::NotText => format!("the value of `{field}` was decrypted but is not text"),
    };
    Reason::of(Rule::NotDecryptable, &what)
}

/// An unreadable value of the destination takes precedence over other problems.
fn not_readable(Unreadable { field, cause, .. }: Unreadable) -> Reason {
    let (rule, what) = match cause {
        UnreadableCause::DatabaseError => (
            Rule::UnreadableValue,
            format!("the database cannot read the value of `{field}`"),
        ),
        UnreadableCause::TooLarge => (
            Rule::ValueTooLarge,
            format!("the value of `{field}` is larger than 1 MiB"),
        ),
        UnreadableCause::NotJson => (
            Rule::UnreadableValue,
            format!("the value that holds `{field}` is not valid JSON"),
        ),
        UnreadableCause::NotForm => (
            Rule::UnreadableValue,
            format!("the value that holds `{field}` is not form-encoded text"),
        ),
        UnreadableCause::NotScalar => (
            Rule::UnreadableValue,
            format!("`{field}` is an array, an object, true or false in the JSON that holds it, not a text"),
        ),
        UnreadableCause::NotDecrypted(why) => return not_decryptable(DecryptError { field, why }),
    };
    Reason::of(rule, &what)
}

fn in_part(rule: Rule, part: &str) -> Reason {
    Reason::of(rule, &format!("{} ({part})", rule.what()))
}

/// Returns true if a text is printable ASCII without spaces, as most IDs and tokens are. Written so that the
/// compiler can vectorize it.
fn is_plain(text: &str) -> bool {
    let any_odd = |bytes: &[u8]| {
        bytes.iter().fold(0_u8, |odd, byte| {
            odd | u8::from(byte.wrapping_sub(b'!') > b'~' - b'!')
        })
    };
    let (strides, rest) = text.as_bytes().as_chunks::<64>();
    strides.iter().all(|stride| any_odd(stride) == 0) && any_odd(rest) == 0
}

/// Returns true if a text starts with one of `heads`. Usually the first letter rules them out.
fn begins_with_one(text: &str, heads: &[&str]) -> bool {
    let first = text.as_bytes().first();
    heads
        .iter()
        .any(|head| head.as_bytes().first() == first && text.starts_with(head))
}

fn is_placeholder(text: &str) -> bool {
    text.len() <= LONGEST_PLACEHOLDER && PLACEHOLDERS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn is_padded(text: &str) -> bool {
    text.trim().len() != text.len()
}

#[cfg(test)]
mod tests;
