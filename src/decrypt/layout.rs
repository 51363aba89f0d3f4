//! The layout of a sealed value: the order of its parts, and what stands between them.

use zeroize::Zeroizing;

use super::{cipher::Cipher, encoding::Encoding, value::marked};
use crate::domain::DecryptFailure;

/// A part of a sealed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The nonce, or IV.
    Nonce,
    /// The ciphertext.
    Ciphertext,
    /// The authentication tag.
    Tag,
}

/// The order of the parts, encoded together or one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<Part>,
    /// Between parts that are encoded one by one.
    separator: Option<char>,
}

/// The parts of a value.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) nonce: Zeroizing<Vec<u8>>,
    pub(super) ciphertext: Zeroizing<Vec<u8>>,
    pub(super) tag: Zeroizing<Vec<u8>>,
}

impl Layout {
    /// The usual one: nonce, ciphertext and tag, encoded together.
    pub(super) fn joined() -> Self {
        Self {
            parts: vec![Part::Nonce, Part::Ciphertext, Part::Tag],
            separator: None,
        }
    }

    /// Parts that are encoded together.
    pub(super) fn of(parts: &[Part]) -> Self {
        Self {
            parts: parts.to_vec(),
            separator: None,
        }
    }

    /// Parts that are encoded one by one.
    pub(super) fn separated(separator: char, parts: &[Part]) -> Self {
        Self {
            parts: parts.to_vec(),
            separator: Some(separator),
        }
    }

    /// Reads `nonce+ciphertext+tag`, or the same with another mark, which then separates the parts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_letter = |letter: char| letter.is_ascii_alphabetic();
        let mark = text.chars().find(|letter| !is_letter(*letter))?;
        let parts: Option<Vec<Part>> = text
            .split(mark)
            .map(|name| match name {
                "nonce" | "iv" => Some(Part::Nonce),
                "ciphertext" => Some(Part::Ciphertext),
                "tag" => Some(Part::Tag),
                _ => None,
            })
            .collect();
        let parts = parts?;
        let count = |wanted| parts.iter().filter(|&&part| part == wanted).count();
        let is_complete = count(Part::Nonce) == 1 && count(Part::Ciphertext) == 1 && count(Part::Tag) <= 1;
        is_complete.then_some(Self {
            parts,
            separator: (mark != '+').then_some(mark),
        })
    }

    pub(super) fn has_tag(&self) -> bool {
        self.parts.contains(&Part::Tag)
    }

    /// Cuts a text into the parts.
    pub(super) fn cut_text(
        &self,
        text: &str,
        encoding: Encoding,
        cipher: Cipher,
        nonce_bytes: Option<usize>,
    ) -> Result<Parts, DecryptFailure> {
        let Some(separator) = self.separator else {
            let not_encrypted = marked(encoding.is_cut(text), DecryptFailure::NotEncrypted);
            let bytes = encoding.decode(text).ok_or(not_encrypted)?;
            return self.cut_bytes(&bytes, cipher, nonce_bytes);
        };
        let texts: Vec<&str> = text.split(separator).collect();
        let is_nonce =
            |bytes: usize| nonce_bytes.map_or_else(|| cipher.takes_nonce(bytes), |own| bytes == own);
        let nonce = self.parts.iter().position(|part| *part == Part::Nonce);
        let nonce = nonce.and_then(|position| encoding.decode(texts.get(position)?));
        // Separated from something, and as long as a nonce: the mark of this layout.
        if texts.len() < 2 || !nonce.is_some_and(|nonce| is_nonce(nonce.len())) {
            return Err(DecryptFailure::NotEncrypted);
        }
        if texts.len() != self.parts.len() {
            return Err(DecryptFailure::Damaged);
        }
        let mut parts = Parts::default();
        for (part, text) in self.parts.iter().zip(texts) {
            let bytes = encoding.decode(text).ok_or(DecryptFailure::Damaged)?;
            *parts.part(*part) = bytes;
        }
        if parts.tag.len() != cipher.tag_bytes() || !cipher.takes_ciphertext(parts.ciphertext.len()) {
            return Err(DecryptFailure::Damaged);
        }
        Ok(parts)
    }

    /// Cuts bytes into the parts: all but the ciphertext have a known length.
    pub(super) fn cut_bytes(
        &self,
        bytes: &[u8],
        cipher: Cipher,
        nonce_bytes: Option<usize>,
    ) -> Result<Parts, DecryptFailure> {
        let nonce_bytes = nonce_bytes.unwrap_or(cipher.nonce_bytes());
        let tag_bytes = if self.has_tag() { cipher.tag_bytes() } else { 0 };
        let rest = bytes.len().checked_sub(nonce_bytes + tag_bytes);
        let rest = rest
            .filter(|&rest| cipher.takes_ciphertext(rest))
            .ok_or(DecryptFailure::NotEncrypted)?;
        let mut parts = Parts::default();
        let mut behind = bytes;
        for part in &self.parts {
            let length = match part {
                Part::Nonce => nonce_bytes,
                Part::Ciphertext => rest,
                Part::Tag => tag_bytes,
            };
            let (own, others) = behind.split_at(length);
            *parts.part(*part) = Zeroizing::new(own.to_vec());
            behind = others;
        }
        Ok(parts)
    }
}

impl Parts {
    fn part(&mut self, part: Part) -> &mut Zeroizing<Vec<u8>> {
        match part {
            Part::Nonce => &mut self.nonce,
            Part::Ciphertext => &mut self.ciphertext,
            Part::Tag => &mut self.tag,
        }
    }
}
