//! Keeps the API's own words from carrying a secret into a log or the ledger.

use super::wire::EncodedSecrets;
use crate::model::{EncodedToken, Secret};

/// The longest text that is kept of what the API says.
const LONGEST: usize = 300;

/// Shorter pieces of a secret tell nothing, and would redact ordinary words.
const SHORTEST_PIECE: usize = 8;

/// Knows the secrets that a request held, and takes them, and any piece of them, out of a text.
#[derive(Debug)]
pub struct Scrubber(Vec<Secret>);

impl Scrubber {
    /// For the answer to a request that held these tokens, sent with this management key.
    #[must_use]
    pub fn new<'a>(tokens: impl Iterator<Item = &'a EncodedToken>, management_key: &Secret) -> Self {
        let mut secrets = vec![management_key.clone()];
        for held in tokens.filter_map(EncodedSecrets::of) {
            secrets.extend([held.access, held.refresh, held.id].into_iter().flatten());
        }
        Self(secrets)
    }

    /// The text on one line, cut to a readable length, control characters and secrets taken out.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        for secret in &self.0 {
            if !secret.reveal().is_empty() {
                text = text.replace(secret.reveal(), "[redacted]");
            }
        }
        let words: Vec<_> = text
            .split_whitespace()
            .map(|word| self.clean_word(word))
            .collect();
        let text = words.join(" ");
        match text.char_indices().nth(LONGEST) {
            None => text,
            Some((end, _)) => format!("{}…", &text[..end]),
        }
    }

    /// A word is redacted as a whole if any stretch of it is a piece of a secret.
    fn clean_word<'a>(&self, word: &'a str) -> &'a str {
        let bytes = word.as_bytes();
        let leaks = bytes.windows(SHORTEST_PIECE).any(|piece| {
            self.0.iter().any(|secret| {
                secret
                    .reveal()
                    .as_bytes()
                    .windows(SHORTEST_PIECE)
                    .any(|held| held == piece)
            })
        });
        if leaks { "[redacted]" } else { word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber() -> Scrubber {
        let token = EncodedToken::new(
            br#"{"appId":"a","userId":"u","accessToken":"ya29.A0ARrda-secret","refreshToken":"1//0gRefresh"}"#.to_vec(),
        );
        Scrubber::new([token].iter(), &Secret::new("K2management"))
    }

    #[test]
    fn whole_secrets_pieces_and_the_key_are_taken_out() {
        for text in [
            "bad token ya29.A0ARrda-secret here",
            "token \"ya29.A0ARrda-secret\" is bad",
            "token 'ya29.A0AR...' is bad",
            "refresh=1//0gRefresh",
            "value:1//0gRefr",
            "token=ya29.A0ARr",
            "path/ya29.A0ARrda",
            "key K2management",
        ] {
            let clean = scrubber().clean(text);
            assert!(clean.contains("[redacted]"), "{text} -> {clean}");
            for piece in ["A0AR", "0gRef", "K2man"] {
                assert!(!clean.contains(piece), "{text} -> {clean}");
            }
        }
    }

    #[test]
    fn ordinary_words_stay_and_long_texts_are_cut() {
        assert_eq!(
            scrubber().clean("user not found: U2abc\x1b[31m\n"),
            "user not found: U2abc [31m"
        );
        assert_eq!(
            scrubber().clean(&"word ".repeat(200)).chars().count(),
            LONGEST + 1
        );
    }
}
