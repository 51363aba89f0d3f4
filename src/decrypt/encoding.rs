//! Encodings: base64 and hex, and compressed text. What is decoded may be a token that was never encrypted,
//! so all of it is wiped when dropped.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use miniz_oxide::inflate::{TINFLStatus, decompress_slice_iter_to_slice};
use zeroize::Zeroizing;

/// Padding or none, as it was written.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The largest text that compressed bytes may become: no token is larger.
const LARGEST_INFLATED: usize = 1 << 20;

/// The text form of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Base64 in either alphabet, padded or not, with line breaks or without.
    Base64,
    /// Hexadecimal digits.
    Hex,
}

impl Encoding {
    /// The bytes of a text; `None` if it is not encoded like this.
    pub(super) fn decode(self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Base64 => base64(text),
            Self::Hex => hex(text),
        }
    }

    /// Tells whether a text is the beginning of an encoded one: digits without an end. Base64 looks like any
    /// token.
    pub(super) fn is_cut(self, text: &str) -> bool {
        self == Self::Hex
            && !text.len().is_multiple_of(2)
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Base64 in either alphabet, with line breaks or without.
pub(super) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let engine = if text.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    if text.contains(|c: char| c.is_ascii_whitespace()) {
        let mut joined = Zeroizing::new(text.to_owned());
        joined.retain(|c| !c.is_ascii_whitespace());
        return engine.decode(joined.as_bytes()).ok().map(Zeroizing::new);
    }
    engine.decode(text).ok().map(Zeroizing::new)
}

pub(super) fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

/// Decompresses zlib into memory that is wiped; `None` if it is damaged or too large.
pub(super) fn inflate(compressed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut room = (compressed.len() * 8).clamp(1 << 10, LARGEST_INFLATED);
    loop {
        let mut text = Zeroizing::new(vec![0; room]);
        match decompress_slice_iter_to_slice(&mut text, std::iter::once(compressed), true, false) {
            Ok(length) => {
                text.truncate(length);
                return Some(text);
            }
            Err(TINFLStatus::HasMoreOutput) if room < LARGEST_INFLATED => {
                room = (room * 4).min(LARGEST_INFLATED);
            }
            Err(_) => return None,
        }
    }
}
