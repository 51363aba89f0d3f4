//! Opens values that the source holds encrypted: Fernet and AES-256-GCM, with several keys for rotation.
//!
//! Built on the crates `aes`, `cbc`, `aes-gcm` and `hmac`. Keys are wiped when dropped, plaintext is put into
//! a [`Secret`] and wiped from where it was worked on. What is still encrypted is no secret.

mod fernet;
mod gcm;

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use crate::{domain::DecryptFailure, secret::Secret};

/// The method of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The Fernet specification: AES-128-CBC with HMAC-SHA256.
    Fernet,
    /// AES-256-GCM: nonce (12 bytes), ciphertext and tag (16 bytes), one after the other, without associated
    /// data.
    Aes256Gcm,
}

/// The form in which an encrypted value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// A text column: base64.
    Text,
    /// A bytea column, whose bytes travel as base64.
    Bytes,
}

/// An invalid key. Does not hold the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey {
    /// The position of the key, from 1.
    pub position: usize,
    /// The requirement that it does not meet.
    pub must: &'static str,
}

/// A set of keys, prepared for repeated use.
#[derive(Clone)]
pub struct Decryptor(Keys);

#[derive(Clone)]
enum Keys {
    Fernet(Vec<fernet::Key>),
    Aes256Gcm(Vec<gcm::Key>),
}

impl Decryptor {
    /// Takes the keys, the one that is tried first before the others.
    ///
    /// # Errors
    /// The first that is not a key of this method.
    pub fn new(method: Method, keys: &[Secret]) -> Result<Self, BadKey> {
        let bad = |position, must| BadKey {
            position: position + 1,
            must,
        };
        Ok(Self(match method {
            Method::Fernet => Keys::Fernet(
                keys.iter()
                    .enumerate()
                    .map(|(position, key)| fernet::Key::new(key).ok_or(bad(position, fernet::KEY)))
                    .collect::<Result<_, _>>()?,
            ),
            Method::Aes256Gcm => Keys::Aes256Gcm(
                keys.iter()
                    .enumerate()
                    .map(|(position, key)| gcm::Key::new(key).ok_or(bad(position, gcm::KEY)))
                    .collect::<Result<_, _>>()?,
            ),
        }))
    }

    /// The text that `sealed` holds.
    ///
    /// # Errors
    /// If it is not encrypted in this way, no key opens it, or what is in it is no text.
    pub fn open(&self, sealed: &str, wrapping: Wrapping) -> Result<Secret, DecryptFailure> {
        let bytes = match (&self.0, wrapping) {
            // The bytes of a Fernet token are mostly those of its text.
            (Keys::Fernet(_), Wrapping::Bytes) => {
                let bytes = decode(sealed).ok_or(DecryptFailure::NotEncrypted)?;
                match std::str::from_utf8(&bytes) {
                    Ok(text) => decode(text).ok_or(DecryptFailure::NotEncrypted)?,
                    Err(_) => bytes,
                }
            }
            _ => decode(sealed).ok_or(DecryptFailure::NotEncrypted)?,
        };
        let plain = match &self.0 {
            Keys::Fernet(keys) => fernet::open(keys, &bytes)?,
            Keys::Aes256Gcm(keys) => gcm::open(keys, &bytes)?,
        };
        match std::str::from_utf8(&plain) {
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(DecryptFailure::NotText),
        }
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Keys::Fernet(_) => "Decryptor(Fernet)",
            Keys::Aes256Gcm(_) => "Decryptor(Aes256Gcm)",
        })
    }
}

/// Padding or none, as it was written.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Base64 in either alphabet, with line breaks or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    if text.contains(|c: char| c.is_ascii_whitespace()) {
        let mut joined = text.to_owned();
        joined.retain(|c| !c.is_ascii_whitespace());
        return engine.decode(joined).ok();
    }
    engine.decode(text).ok()
}

/// A key of 32 bytes in base64.
fn key_bytes(key: &Secret) -> Option<Zeroizing<[u8; 32]>> {
    let text = key.reveal().trim();
    let engine = if text.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    // One byte more than fits: a longer key is none.
    let mut bytes = Zeroizing::new([0; 36]);
    let length = engine.decode_slice(text, &mut bytes[..]).ok()?;
    let found: &[u8; 32] = bytes.get(..length)?.try_into().ok()?;
    Some(Zeroizing::new(*found))
}

#[cfg(test)]
mod tests;
