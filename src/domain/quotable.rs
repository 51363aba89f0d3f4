//! A filter for the values that a message may repeat. A wrongly mapped column may hold tokens where a name is
//! expected.

use std::borrow::Cow;

/// The longest name that is repeated, in characters.
const LONGEST_NAME: usize = 64;

/// Shorter words contain too little to be distinguished from names.
const SHORTEST_SECRET: usize = 16;

/// No name has this many letters and digits in a row.
const LONGEST_WORD: usize = 32;

/// Prefixes of JWTs and of the tokens of well-known providers.
const PREFIXES: [&str; 17] = [
    "ya29.",
    "1//",
    "eyJ",
    "xoxa-",
    "xoxb-",
    "xoxe",
    "xoxp-",
    "xoxr-",
    "gho_",
    "ghp_",
    "ghr_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "sk_live_",
    "AIzaSy",
];

/// Returns the name as a message may repeat it. A name that is too long or looks like a secret is only
/// described.
#[must_use]
pub fn quotable(name: &str) -> Cow<'_, str> {
    let length = name.chars().count();
    if length > LONGEST_NAME || looks_like_a_secret(name) {
        return format!("[{length} characters that do not look like a name, not shown]").into();
    }
    if name.contains(char::is_control) {
        return name
            .chars()
            .filter(|c| !c.is_control())
            .collect::<String>()
            .into();
    }
    name.into()
}

/// Returns true if a text has the prefix of a well-known token.
#[must_use]
pub fn begins_like_a_token(text: &str) -> bool {
    text.len() >= SHORTEST_SECRET && PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Returns true if a word of the text looks randomly generated: upper case, lower case and digits alternate
/// as in no natural word, or the word is very long.
#[must_use]
pub fn looks_like_a_secret(text: &str) -> bool {
    begins_like_a_token(text) || text.split_whitespace().any(is_random)
}

fn is_random(word: &str) -> bool {
    if word.len() < SHORTEST_SECRET {
        return false;
    }
    let longest = word
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::len)
        .max()
        .unwrap_or_default();
    if longest >= LONGEST_WORD {
        return true;
    }
    let kinds: Vec<u8> = word
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| match byte {
            b'0'..=b'9' => 0,
            b'A'..=b'Z' => 1,
            _ => 2,
        })
        .collect();
    let turns = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // CamelCase words followed by a number stay below a third.
    kinds.len() >= SHORTEST_SECRET && 3 * turns > kinds.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_repeated() {
        for name in [
            "google",
            "Google Calendar (EU, production)",
            "google-calendar-2024-production",
            "SalesforceMarketingCloudV2",
            "電話",
            "crm_oauth2_sandbox_01",
        ] {
            assert_eq!(quotable(name), name);
        }
        assert_eq!(quotable("a\u{1b}b"), "ab");
    }

    #[test]
    fn tokens_are_not() {
        for token in [
            "ya29.a0AfB_byC3xQeW7",
            "1//0gRefreshToken-abc",
            "eyJhbGciOiJub25lIn0.eyJleHAiOjE2MDAwMDAwMDB9.c2ln",
            "7f9c24e8-3b1a-4d5e-9f60-1a2b3c4d5e6f",
            "7f9c24e83b1a4d5e",
            "fQ7zR2mK9xW4bN8v",
            "Bearer fQ7zR2mK9xW4bN8vT1",
            "abcdefghijklmnopqrstuvwxyzabcdefgh",
            &"word ".repeat(20),
        ] {
            let shown = quotable(token);
            assert!(shown.starts_with('['), "{token} -> {shown}");
            assert!(!shown.contains(&token[..8]), "{shown}");
        }
    }
}
