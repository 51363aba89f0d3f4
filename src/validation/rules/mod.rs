//! The local rules: what is looked at in a row before it is sent. They run for every row, so the good path neither
//! allocates nor looks at a token more than once; what each of them means stands in [`Rule`].

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

/// What programs and dumps write where there is nothing, or nothing any more.
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

/// No placeholder is longer.
const LONGEST_PLACEHOLDER: usize = 10;

/// What may be sent of a row, beside what the row holds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sendable {
    /// Seconds since 1970 that fit the API's int32, or nothing where the source knows none.
    pub(super) expiry: Option<i32>,
    /// What somebody should look at.
    pub(super) warnings: RuleSet,
}

/// Returns true if the rest of a row may be sent. `tolerated` suspicions are warnings; `now` is in seconds since 1970.
///
/// A rule that depends on the time is never an error: a token that arrived yesterday would fail today.
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

/// Returns true if a row is worth fetching a token for, as far as what it holds goes up beside that: `keeps_own` says that the
/// fetched token replaces nothing. Warnings come later, once it is known what goes up.
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

/// Collects what is wrong with one row.
struct Found {
    tolerated: RuleSet,
    warnings: RuleSet,
}

impl Found {
    /// A rule is broken; `part` says by what, where the rule's own words leave that open.
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
        DecryptFailure::NotEncrypted => format!(
            "the value of `{field}` does not look as if it were encrypted in the way that is configured"
        ),
        DecryptFailure::NoKeyFits => format!(
            "no key opens the value of `{field}`: it was encrypted with another one, or changed since"
        ),
        DecryptFailure::ByDatabase => format!("the database could not decrypt the value of `{field}`"),
        DecryptFailure::NotText => format!("the value of `{field}` was decrypted, and is no text"),
    };
    Reason::of(Rule::NotDecryptable, &what)
}

/// Beside a value that decides the row's place nothing else matters.
fn not_readable(Unreadable { field, cause, .. }: Unreadable) -> Reason {
    let (rule, what) = match cause {
        UnreadableCause::DatabaseError => (
            Rule::UnreadableValue,
            format!("the database fails on the value of `{field}`"),
        ),
        UnreadableCause::TooLarge => (
            Rule::ValueTooLarge,
            format!("the value of `{field}` is larger than 1 MiB"),
        ),
    };
    Reason::of(rule, &what)
}

fn in_part(rule: Rule, part: &str) -> Reason {
    Reason::of(rule, &format!("{} ({part})", rule.what()))
}

/// Returns true if a text is printable ASCII without spaces, as IDs and tokens mostly are. Written so that the compiler looks at
/// many bytes at once.
fn is_plain(text: &str) -> bool {
    let any_odd = |bytes: &[u8]| {
        bytes.iter().fold(0_u8, |odd, byte| {
            odd | u8::from(byte.wrapping_sub(b'!') > b'~' - b'!')
        })
    };
    let (strides, rest) = text.as_bytes().as_chunks::<64>();
    strides.iter().all(|stride| any_odd(stride) == 0) && any_odd(rest) == 0
}

/// Mostly the first letter tells that it does not.
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
