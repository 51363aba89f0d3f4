//! The forms in which a text may repeat a secret: verbatim, with separators between its letters, in base64,
//! in hexadecimal, percent-encoded, and each of these backwards. The text is decoded instead of encoding the
//! secrets, because a text is short and a batch holds a megabyte of secrets.

use std::ops::Range;

/// Length of a piece. Shorter pieces of a secret reveal nothing, and would redact ordinary words.
pub(super) const PIECE: usize = 8;

/// A sequence of [`PIECE`] bytes.
pub(super) type Piece = [u8; PIECE];

/// A text in one of its forms.
pub(super) struct Form {
    letters: Vec<Letter>,
    /// It contains only letters and digits, and is compared with secrets without their separators.
    pub(super) is_joined: bool,
}

/// A byte of a form, with its range in the text.
#[derive(Clone, Copy)]
struct Letter {
    byte: u8,
    from: usize,
    to: usize,
}

impl Form {
    /// Returns the pieces with their ranges in the text.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Piece, Range<usize>)> {
        self.letters.windows(PIECE).filter_map(|letters| {
            let mut piece = Piece::default();
            for (place, letter) in piece.iter_mut().zip(letters) {
                *place = letter.byte;
            }
            let from = letters.iter().map(|letter| letter.from).min()?;
            let to = letters.iter().map(|letter| letter.to).max()?;
            // Lower-case letters alone may be adjacent words, unless separators stand between the letters.
            let may_be_words =
                self.is_joined && piece.iter().all(u8::is_ascii_lowercase) && to - from < 2 * PIECE - 1;
            (!may_be_words).then_some((piece, from..to))
        })
    }
}

/// Returns the pieces of a text.
pub(super) fn pieces(text: &[u8]) -> impl Iterator<Item = Piece> {
    text.windows(PIECE).filter_map(|window| window.try_into().ok())
}

/// Returns the pieces of a text without its separators.
pub(super) fn joined_pieces(text: &str) -> Vec<Piece> {
    let joined: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    pieces(&joined).collect()
}

/// Returns every form of a text.
pub(super) fn forms(text: &str) -> Vec<Form> {
    let forward: Vec<Letter> = (0..)
        .zip(text.bytes())
        .map(|(at, byte)| Letter {
            byte,
            from: at,
            to: at + 1,
        })
        .collect();
    let backward: Vec<Letter> = forward.iter().rev().copied().collect();
    let mut forms = Vec::new();
    for letters in [forward, backward] {
        let only = |keep: fn(u8) -> bool| -> Vec<Letter> {
            letters
                .iter()
                .copied()
                .filter(|letter| keep(letter.byte))
                .collect()
        };
        let joined = only(|byte| byte.is_ascii_alphanumeric());
        let base64 = only(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte));
        let hex = only(|byte| byte.is_ascii_hexdigit());
        // Preceding characters may shift the groups.
        let mut decoded: Vec<Vec<Letter>> = (0..2)
            .filter_map(|skip| Some(from_hex(hex.get(skip..)?)))
            .collect();
        decoded.extend((0..4).filter_map(|skip| Some(from_base64(base64.get(skip..)?))));
        if base64.len() != joined.len() {
            decoded.extend((0..4).filter_map(|skip| Some(from_base64(joined.get(skip..)?))));
        }
        decoded.push(from_percent(&letters));
        let backwards: Vec<Vec<Letter>> = decoded
            .iter()
            .map(|letters| letters.iter().rev().copied().collect())
            .collect();
        forms.push(Form {
            letters: joined,
            is_joined: true,
        });
        forms.extend(
            decoded
                .into_iter()
                .chain(backwards)
                .chain([letters])
                .map(|letters| Form {
                    letters,
                    is_joined: false,
                }),
        );
    }
    forms
}

fn from_hex(digits: &[Letter]) -> Vec<Letter> {
    let value = |digit: Letter| char::from(digit.byte).to_digit(16).unwrap_or_default();
    let (pairs, _) = digits.as_chunks::<2>();
    pairs
        .iter()
        .map(|&[high, low]| between(value(high) << 4 | value(low), &[high, low]))
        .collect()
}

/// Decodes both alphabets of base64.
fn from_base64(digits: &[Letter]) -> Vec<Letter> {
    let value = |digit: Letter| -> u32 {
        match digit.byte {
            byte @ b'A'..=b'Z' => u32::from(byte - b'A'),
            byte @ b'a'..=b'z' => u32::from(byte - b'a') + 26,
            byte @ b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' | b'-' => 62,
            _ => 63,
        }
    };
    let mut decoded = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        for pair in group.windows(2).enumerate() {
            // Each pair of digits gives one byte: 6 and 2 bits, 4 and 4, 2 and 6.
            let (place, &[first, second]) = pair else { continue };
            let bits = value(first) << 6 | value(second);
            decoded.push(between(bits >> (4 - 2 * place), &[first, second]));
        }
    }
    decoded
}

fn from_percent(letters: &[Letter]) -> Vec<Letter> {
    let mut decoded = Vec::with_capacity(letters.len());
    let mut rest = letters;
    while let [first, after @ ..] = rest {
        let escape = match after {
            [high, low, ..] if first.byte == b'%' => from_hex(&[*high, *low])
                .pop()
                .filter(|_| high.byte.is_ascii_hexdigit() && low.byte.is_ascii_hexdigit()),
            _ => None,
        };
        match escape {
            Some(letter) => {
                decoded.push(between(u32::from(letter.byte), &[*first, letter]));
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Returns the byte that several letters of the text encode.
fn between(bits: u32, letters: &[Letter; 2]) -> Letter {
    let [first, last] = letters;
    Letter {
        byte: bits.to_le_bytes()[0],
        from: first.from.min(last.from),
        to: first.to.max(last.to),
    }
}
