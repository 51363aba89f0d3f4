//! Column profiles: statistics over the tokens of many rows. A single value may be a random token or random
//! text; a column shows which. The results are only suspicions, as some providers' tokens look similar.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    hash::BuildHasher,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use foldhash::fast::RandomState;
use zeroize::Zeroizing;

use crate::{
    domain::{Expiry, LegacyToken, LoginId},
    secret::Secret,
};

/// Fewer rows per app are not enough to judge a column.
const FEWEST: usize = 20;

/// Further rows would show no more, and each value is kept as a digest.
const MOST: usize = 10_000;

/// No provider's tokens are all shorter than this.
const SHORT: usize = 12;

/// Prefixes of providers whose tokens are base64 with all its special characters: Microsoft, Facebook,
/// `LinkedIn`.
const BASE64_TOKENS: [&str; 5] = ["EwA", "EwB", "EwC", "EAA", "AQ"];

/// 2005-01-01: see `rules::expiry`.
const PLAUSIBLE_FROM: i64 = 1_104_537_600;

/// The profile of some rows. Keeps digests of tokens while it exists, but no token.
#[derive(Debug, Default)]
pub struct ColumnProfile {
    seen: BTreeMap<(Arc<str>, &'static str), Seen>,
    hasher: RandomState,
    expiries: usize,
    durations: usize,
}

/// The profile of one field in the rows of one app.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    in_hex: usize,
    in_base64: usize,
    /// The values with a character that other alphabets lack.
    marked: usize,
    longest: usize,
    /// The owners of each value, both as digests.
    owners: HashMap<u64, HashSet<u64, RandomState>, RandomState>,
}

/// A finding about a column that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The last part of the field's key.
    pub field: &'static str,
    /// The legacy name of the app.
    pub app: Arc<str>,
    /// The finding, with counts.
    pub what: String,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app: String = self.app.chars().filter(|c| !c.is_control()).take(80).collect();
        write!(f, "`{}` of \"{app}\": {}", self.field, self.what)
    }
}

impl ColumnProfile {
    /// Adds a row.
    pub fn add(&mut self, token: &LegacyToken) {
        if let Expiry::At(seconds) = token.expiry {
            self.expiries += 1;
            self.durations += usize::from((1..PLAUSIBLE_FROM).contains(&seconds));
        }
        let app = token.app.clone().unwrap_or_default();
        let user = token.user_id.as_deref();
        let login = token.login.id().map(LoginId::reveal);
        let owner = self.hasher.hash_one((user.or(login), token.tenant_id.as_deref()));
        for (field, value) in [
            ("access_token", &token.access_token),
            ("refresh_token", &token.refresh_token),
        ] {
            let Some(text) = value.as_ref().map(Secret::reveal) else {
                continue;
            };
            let seen = self.seen.entry((Arc::clone(&app), field)).or_default();
            if seen.rows == MOST {
                continue;
            }
            let digest = self.hasher.hash_one(text);
            seen.add(text);
            seen.owners.entry(digest).or_default().insert(owner);
        }
    }

    /// Returns the number of expiries that are implausibly early, and the number of all expiries.
    #[must_use]
    pub fn durations(&self) -> (usize, usize) {
        (self.durations, self.expiries)
    }

    /// Returns true if the expiries are mostly durations.
    #[must_use]
    pub fn holds_durations(&self) -> bool {
        self.durations * 2 > self.expiries
    }

    /// Returns the findings, column by column.
    #[must_use]
    pub fn suspicions(&self) -> Vec<Suspicion> {
        let of = |((app, field), seen): (&(Arc<str>, &'static str), &Seen)| {
            seen.oddities()
                .into_iter()
                .map(|what| Suspicion {
                    field,
                    app: Arc::clone(app),
                    what,
                })
                .collect::<Vec<_>>()
        };
        self.seen.iter().flat_map(of).collect()
    }
}

impl Seen {
    fn add(&mut self, text: &str) {
        self.rows += 1;
        self.longest = self.longest.max(text.len());
        if text.len() > SHORT && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.in_hex += 1;
        } else if !BASE64_TOKENS.iter().any(|head| text.starts_with(head))
            && BASE64_STANDARD.decode(text).map(Zeroizing::new).is_ok()
        {
            self.in_base64 += 1;
            self.marked += usize::from(text.contains(['+', '/', '=']));
        }
    }

    fn oddities(&self) -> Vec<String> {
        let rows = self.rows;
        if rows < FEWEST {
            return Vec::new();
        }
        let mut odd = Vec::new();
        if self.in_hex == rows {
            odd.push(format!(
                "all {rows} values are hex digits, as encrypted ones often are"
            ));
        }
        // Random values have a special character in at least every second value.
        if self.in_base64 == rows && self.marked * 2 >= rows {
            odd.push(format!(
                "all {rows} values are plain base64, as encrypted ones often are"
            ));
        }
        if self.longest <= SHORT {
            odd.push(format!(
                "none of the {rows} values is longer than {} characters, which is too short for most tokens",
                self.longest
            ));
        }
        let shared: Vec<usize> = self
            .owners
            .values()
            .map(HashSet::len)
            .filter(|owners| *owners > 1)
            .collect();
        let held: usize = shared.iter().sum();
        let most = shared.iter().copied().max().unwrap_or_default();
        if most > 2 || held * 20 > rows {
            odd.push(format!(
                "{held} of {rows} rows share their value with others ({} distinct values; one is shared by {most} users)",
                self.owners.len()
            ));
        }
        odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SourceKey;

    fn profile(tokens: impl Fn(usize) -> String) -> Vec<String> {
        let mut profile = ColumnProfile::default();
        for number in 0..40 {
            profile.add(&LegacyToken {
                app: Some("google".into()),
                user_id: Some(format!("user-{number}")),
                access_token: Some(Secret::new(tokens(number))),
                expiry: Expiry::At(3599),
                ..LegacyToken::empty(SourceKey::from(number.to_string()))
            });
        }
        assert!(profile.holds_durations());
        let found = profile.suspicions();
        found.iter().map(ToString::to_string).collect()
    }

    fn random(number: usize) -> Vec<u8> {
        use sha2::Digest;
        sha2::Sha256::digest(number.to_string()).to_vec()
    }

    #[test]
    fn a_column_of_something_else_is_told_from_one_of_tokens() {
        assert_eq!(profile(|number| format!("ya29.a0-{number:030}")), [""; 0]);
        assert_eq!(
            profile(|number| format!("EAA{}", BASE64_STANDARD.encode(random(number)))),
            [""; 0]
        );
        for (found, part) in [
            (
                profile(|number| {
                    random(number)
                        .iter()
                        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
                }),
                "`access_token` of \"google\": all 40 values are hex digits",
            ),
            (
                profile(|number| BASE64_STANDARD.encode(random(number))),
                "all 40 values are plain base64",
            ),
            (
                profile(|number| format!("wo{number:03}")),
                "none of the 40 values is longer than 5 characters",
            ),
            (
                profile(|number| format!("ya29.a0-{:030}", number.max(30))),
                "31 of 40 rows share their value with others (10 distinct values; one is shared by 31 users)",
            ),
        ] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(part), "{found:?}");
        }
    }
}
