//! Redaction of secrets in texts of the API, before they reach a log or the ledger.

use std::{collections::HashSet, ops::Range};

use foldhash::fast::RandomState;

use super::{
    Refusal, UploadOutcome,
    request_body::EncodedSecrets,
    secret_forms::{Form, PIECE, Piece, forms, joined_pieces, pieces},
};
use crate::{domain::EncodedToken, secret::Secret};

/// Maximum number of characters that are kept of a text of the API.
const LONGEST: usize = 300;

/// Number of bytes of a text that are checked: enough for [`LONGEST`] characters and the words at their end.
const LOOKED_AT: usize = 8 * LONGEST;

/// The replacement for a secret.
const REDACTED: &str = "[redacted]";

/// Removes the secrets of a request, and any piece of them, from all texts of its response.
#[must_use]
pub fn redact<'a>(
    mut answer: UploadOutcome,
    tokens: impl Iterator<Item = &'a EncodedToken>,
    management_key: &Secret,
) -> UploadOutcome {
    let mut refusals: Vec<&mut Refusal> = match &mut answer {
        UploadOutcome::Committed | UploadOutcome::RateLimited { .. } => return answer,
        UploadOutcome::Refused(named) => named.iter_mut().map(|named| &mut named.refusal).collect(),
        UploadOutcome::RefusedWhole(refusal)
        | UploadOutcome::TooLarge(refusal)
        | UploadOutcome::TryAgain(refusal)
        | UploadOutcome::Unknown { refusal, .. }
        | UploadOutcome::Hopeless(_, refusal) => vec![refusal],
    };
    let texts = refusals
        .iter()
        .flat_map(|refusal| [refusal.code.as_ref(), refusal.text.as_str()]);
    let mut redactor = Redactor::of_texts(texts);
    redactor.meet(management_key);
    for held in tokens.filter_map(EncodedSecrets::of) {
        for secret in [held.access, held.refresh, held.id].iter().flatten() {
            redactor.meet(secret);
        }
    }
    for refusal in &mut refusals {
        refusal.text = redactor.clean(&refusal.text);
        if redactor.leaks(&refusal.code) {
            refusal.code = "redacted".into();
        }
    }
    answer
}

/// The pieces that texts, in any of their [`forms`], have in common with secrets. The pieces of the texts are
/// indexed, because texts are short: a batch holds a megabyte of secrets, which are scanned once.
#[derive(Default)]
struct Redactor {
    pieces: Pieces,
    /// Pieces of the joined forms, which are compared with secrets without their separators.
    joined: Pieces,
    leaking: Pieces,
    /// Secrets that occur as a whole, and are shorter than a piece or contain a blank.
    whole: Vec<Secret>,
    texts: String,
}

type Pieces = HashSet<Piece, RandomState>;

impl Redactor {
    fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut redactor = Self::default();
        // Many tokens often have the same text.
        for text in texts.map(beginning).collect::<HashSet<_>>() {
            for form in forms(text) {
                let known = if form.is_joined {
                    &mut redactor.joined
                } else {
                    &mut redactor.pieces
                };
                known.extend(form.pieces().map(|(piece, _)| piece));
            }
            redactor.texts.push_str(text);
            redactor.texts.push('\n');
        }
        redactor
    }

    fn meet(&mut self, secret: &Secret) {
        let value = secret.reveal();
        let in_one_word = value.len() >= PIECE && !value.contains(char::is_whitespace);
        if !in_one_word && !value.is_empty() && self.texts.contains(value) {
            self.whole.push(secret.clone());
        }
        let known = pieces(value.as_bytes()).filter(|piece| self.pieces.contains(piece));
        self.leaking.extend(known);
        let known = joined_pieces(value)
            .into_iter()
            .filter(|piece| self.joined.contains(piece));
        self.leaking.extend(known);
    }

    fn leaks(&self, word: &str) -> bool {
        !self.leaks_of(word).is_empty() || self.whole.iter().any(|secret| word.contains(secret.reveal()))
    }

    /// Returns the ranges of a text that hold pieces of secrets, in any form.
    fn leaks_of(&self, text: &str) -> Vec<Range<usize>> {
        if self.leaking.is_empty() {
            return Vec::new();
        }
        forms(text)
            .iter()
            .flat_map(Form::pieces)
            .filter(|(piece, _)| self.leaking.contains(piece))
            .map(|(_, place)| place)
            .collect()
    }

    /// Returns the text on one line, cut to a readable length, without control characters and secrets.
    fn clean(&self, text: &str) -> String {
        let mut text = beginning(text).to_owned();
        for secret in &self.whole {
            text = text.replace(secret.reveal(), REDACTED);
        }
        let leaks = self.leaks_of(&text);
        let mut clean = String::with_capacity(text.len());
        for (at, word) in words(&text) {
            // A word is redacted as a whole if any part of it is from a secret. Consecutive redacted words
            // become one.
            let leaks = leaks
                .iter()
                .any(|leak| leak.start < at + word.len() && at < leak.end);
            if leaks && clean.ends_with(REDACTED) {
                continue;
            }
            if !clean.is_empty() {
                clean.push(' ');
            }
            clean.push_str(if leaks { REDACTED } else { word });
        }
        match clean.char_indices().nth(LONGEST) {
            None => clean,
            Some((end, _)) => format!("{}…", &clean[..end]),
        }
    }
}

/// Returns the words of a text with their positions.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive(|c: char| c.is_whitespace() || c.is_control())
        .map(move |word| {
            let begin = at;
            at += word.len();
            (
                begin,
                word.trim_end_matches(|c: char| c.is_whitespace() || c.is_control()),
            )
        })
        .filter(|(_, word)| !word.is_empty())
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOOKED_AT)]
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    };

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
        match redact(
            UploadOutcome::RefusedWhole(refusal),
            [token].iter(),
            &Secret::new("K2management"),
        ) {
            UploadOutcome::RefusedWhole(refusal) => (refusal.code.into_owned(), refusal.text),
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
    fn encoded_reversed_and_split_echoes_are_taken_out() {
        use std::fmt::Write as _;
        const ACCESS: &str = "ya29.A0ARrda-secret";
        let split = |by: &str| {
            ACCESS
                .split("")
                .filter(|letter| !letter.is_empty())
                .collect::<Vec<_>>()
                .join(by)
        };
        let hex = |by: &str| {
            ACCESS.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{by}{byte:02x}");
                text
            })
        };
        let reversed: String = ACCESS.chars().rev().collect();
        let base64 = STANDARD_NO_PAD.encode(ACCESS);
        let in_lines: Vec<&str> = base64
            .as_bytes()
            .chunks(9)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        for echo in [
            base64.clone(),
            URL_SAFE_NO_PAD.encode(format!("Bearer {ACCESS}")),
            in_lines.join("\n"),
            base64.chars().rev().collect(),
            STANDARD.encode(&reversed),
            hex(""),
            hex("").to_uppercase(),
            hex("%"),
            hex("\\x"),
            hex(":"),
            reversed,
            split(" "),
            split("-"),
            split("."),
            ACCESS.replace('.', "%2E").replace('-', "%2D"),
        ] {
            let text = format!("the value {echo} of user U2abc");
            assert_eq!(clean(&text), "the value [redacted] of user U2abc", "{text}");
            assert_eq!(cleaned("E1", &format!("={echo}")).1, "[redacted]");
        }
        assert_eq!(
            clean("access is refused, refresh the secret"),
            "access is refused, refresh the secret"
        );
    }

    #[test]
    fn a_code_that_holds_a_secret_is_none() {
        assert_eq!(cleaned("ya29.A0ARrda-secret", "no").0, "redacted");
        assert_eq!(cleaned("eWEyOS5BMEFScmRhLXNlY3JldA", "no").0, "redacted");
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
