//! Profiles of columns: what many rows' tokens look like together. Of one value nobody can tell whether it is a token that looks random or a random
//! text; of a column of them something can be told. Only suspicions: there are providers whose tokens look so.

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

/// Fewer rows of an app's say nothing of a column.
const FEWEST: usize = 20;

/// No provider's tokens are shorter than that, all of them.
const SHORT: usize = 12;

/// Providers whose tokens are base64 with all its marks, and begin so: Microsoft, Facebook, `LinkedIn`.
const BASE64_TOKENS: [&str; 5] = ["EwA", "EwB", "EwC", "EAA", "AQ"];

/// 2005-01-01: see `rules::expiry`.
const PLAUSIBLE_FROM: i64 = 1_104_537_600;

/// What was seen of some rows. Holds digests of tokens for as long as it lives, and no token.
#[derive(Debug, Default)]
pub struct ColumnProfile {
    seen: BTreeMap<(Arc<str>, &'static str), Seen>,
    hasher: RandomState,
    expiries: usize,
    durations: usize,
}

/// One field of one app's rows.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    in_hex: usize,
    in_base64: usize,
    /// Of these, those with a mark that other alphabets lack.
    marked: usize,
    longest: usize,
    /// Whose a value is, by the digests of both.
    owners: HashMap<u64, HashSet<u64, RandomState>, RandomState>,
}

/// Something about a column that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The last part of the field's key.
    pub field: &'static str,
    /// The legacy name of the app.
    pub app: Arc<str>,
    /// What is odd, with counts.
    pub what: String,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app: String = self.app.chars().filter(|c| !c.is_control()).take(80).collect();
        write!(f, "`{}` of \"{app}\": {}", self.field, self.what)
    }
}

impl ColumnProfile {
    /// Takes a row in.
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
            let digest = self.hasher.hash_one(text);
            let seen = self.seen.entry((Arc::clone(&app), field)).or_default();
            seen.add(text);
            seen.owners.entry(digest).or_default().insert(owner);
        }
    }

    /// So many of the expiries that are times are before there was OAuth, and so many there are.
    #[must_use]
    pub fn durations(&self) -> (usize, usize) {
        (self.durations, self.expiries)
    }

    /// Returns true if the expiries are durations, mostly.
    #[must_use]
    pub fn holds_durations(&self) -> bool {
        self.durations * 2 > self.expiries
    }

    /// What is odd, column by column.
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
        // What is random has a mark in every other value at the least.
        if self.in_base64 == rows && self.marked * 2 >= rows {
            odd.push(format!(
                "all {rows} values are plain base64, as encrypted ones often are"
            ));
        }
        if self.longest <= SHORT {
            odd.push(format!(
                "none of the {rows} values is longer than {} characters, and hardly any token is so short",
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
                "{held} of {rows} rows hold a value that others hold, too ({} different values; one is that of {most} users)",
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
                "31 of 40 rows hold a value that others hold, too (10 different values; one is that of 31 users)",
            ),
        ] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(part), "{found:?}");
        }
    }
}
