//! Keeps the API's own words from carrying a secret into a log or the ledger.

use std::collections::HashSet;

use super::{Answer, Refusal, wire::EncodedSecrets};
use crate::model::{EncodedToken, Secret};

/// The longest text that is kept of what the API says.
const LONGEST: usize = 300;

/// Bytes of it that are looked at: enough for [`LONGEST`] characters and the words that they end in.
const LOOKED_AT: usize = 8 * LONGEST;

/// Shorter pieces of a secret tell nothing, and would redact ordinary words.
const PIECE: usize = 8;

type Piece = [u8; PIECE];

/// Takes the secrets of a request, and any piece of them, out of everything that its answer says.
#[must_use]
pub fn scrub<'a>(
    mut answer: Answer,
    tokens: impl Iterator<Item = &'a EncodedToken>,
    management_key: &Secret,
) -> Answer {
    let mut refusals: Vec<&mut Refusal> = match &mut answer {
        Answer::Committed | Answer::RateLimited { .. } => return answer,
        Answer::Refused(named) => named.iter_mut().map(|named| &mut named.refusal).collect(),
        Answer::RefusedWhole(refusal)
        | Answer::TooLarge(refusal)
        | Answer::TryAgain(refusal)
        | Answer::Unknown { refusal, .. }
        | Answer::Hopeless(_, refusal) => vec![refusal],
    };
    let texts = refusals
        .iter()
        .flat_map(|refusal| [refusal.code.as_ref(), refusal.text.as_str()]);
    let mut scrubber = Scrubber::of_texts(texts);
    scrubber.meet(management_key);
    for held in tokens.filter_map(EncodedSecrets::of) {
        for secret in [held.access, held.refresh, held.id].iter().flatten() {
            scrubber.meet(secret);
        }
    }
    for refusal in &mut refusals {
        refusal.text = scrubber.clean(&refusal.text);
        if scrubber.leaks(&refusal.code) {
            refusal.code = "redacted".into();
        }
    }
    answer
}

/// Knows the pieces that the texts and the secrets have in common. The pieces are the texts', as those are few: a batch
/// holds a megabyte of secrets, which are passed over once.
#[derive(Default)]
struct Scrubber {
    pieces: HashSet<Piece>,
    leaking: HashSet<Piece>,
    /// Secrets that occur whole: those that are shorter than a piece, or hold a blank.
    whole: Vec<Secret>,
    texts: String,
}

impl Scrubber {
    fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut scrubber = Self::default();
        // The same words are often said of many tokens.
        for text in texts.map(beginning).collect::<HashSet<_>>() {
            scrubber.pieces.extend(pieces(text));
            scrubber.texts.push_str(text);
            scrubber.texts.push('\n');
        }
        scrubber
    }

    fn meet(&mut self, secret: &Secret) {
        let value = secret.reveal();
        let in_one_word = value.len() >= PIECE && !value.contains(char::is_whitespace);
        if !in_one_word && !value.is_empty() && self.texts.contains(value) {
            self.whole.push(secret.clone());
        }
        let known = pieces(value).filter(|piece| self.pieces.contains(piece));
        self.leaking.extend(known);
    }

    fn leaks(&self, word: &str) -> bool {
        pieces(word).any(|piece| self.leaking.contains(&piece))
            || self.whole.iter().any(|secret| word.contains(secret.reveal()))
    }

    /// The text on one line, cut to a readable length, control characters and secrets taken out.
    fn clean(&self, text: &str) -> String {
        let mut text = beginning(text).to_owned();
        for secret in &self.whole {
            text = text.replace(secret.reveal(), "[redacted]");
        }
        let mut clean = String::with_capacity(text.len());
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if word.is_empty() {
                continue;
            }
            if !clean.is_empty() {
                clean.push(' ');
            }
            // A word is redacted as a whole if any stretch of it is a piece of a secret.
            clean.push_str(if self.leaks(word) { "[redacted]" } else { word });
        }
        match clean.char_indices().nth(LONGEST) {
            None => clean,
            Some((end, _)) => format!("{}…", &clean[..end]),
        }
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOOKED_AT)]
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    text.as_bytes()
        .windows(PIECE)
        .filter_map(|window| window.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(code: &'static str, text: &str) -> (String, String) {
        let token = EncodedToken::new(
            br#"{"appId":"a","userId":"u","accessToken":"ya29.A0ARrda-secret","refreshToken":"1//0gRefresh","idToken":"two w"}"#.to_vec(),
        );
        let refusal = Refusal {
            status: Some(400),
            code: code.into(),
            text: text.to_owned(),
        };
        match scrub(
            Answer::RefusedWhole(refusal),
            [token].iter(),
            &Secret::new("K2management"),
        ) {
            Answer::RefusedWhole(refusal) => (refusal.code.into_owned(), refusal.text),
            other => panic!("{other:?}"),
        }
    }

    fn clean(text: &str) -> String {
        cleaned("E1", text).1
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
            "bad: two w",
        ] {
            let clean = clean(text);
            assert!(clean.contains("[redacted]"), "{text} -> {clean}");
            for piece in ["A0AR", "0gRef", "K2man", "two"] {
                assert!(!clean.contains(piece), "{text} -> {clean}");
            }
        }
    }

    #[test]
    fn a_code_that_holds_a_secret_is_none() {
        assert_eq!(cleaned("ya29.A0ARrda-secret", "no").0, "redacted");
        assert_eq!(cleaned("E011003", "no").0, "E011003");
    }

    #[test]
    fn ordinary_words_stay_and_long_texts_are_cut() {
        assert_eq!(
            clean("user not found: U2abc\x1b[31m\n"),
            "user not found: U2abc [31m"
        );
        assert_eq!(clean(&"word ".repeat(2000)).chars().count(), LONGEST + 1);
    }
}
