//! What a format is given by the configuration: keys, and its other settings.

use zeroize::Zeroizing;

use super::{
    cipher::{Cipher, Padding},
    derive::{Digest, KeyBytes},
    encoding::{Encoding, base64, hex},
    format::Setting,
    layout::Layout,
};
use crate::secret::Secret;

/// The keys and settings of a format. What it does not need stays empty.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The keys; the first is tried first.
    pub keys: Vec<Secret>,
    /// Keys by the name under which a value refers to them.
    pub named_keys: Vec<(String, Secret)>,
    /// Keys of an earlier derivation.
    pub old_keys: Vec<Secret>,
    /// Salts of the derivation.
    pub salts: Vec<Secret>,
    /// Hashes of the derivation.
    pub digests: Vec<Digest>,
    /// The table that the key depends on.
    pub table: Option<String>,
    /// The attribute that the key depends on.
    pub attribute: Option<String>,
    /// How the value is encoded.
    pub encoding: Option<Encoding>,
    /// The parts of the value.
    pub layout: Option<Layout>,
    /// The length of the nonce in bytes, if it is not the cipher's own.
    pub nonce_bytes: Option<usize>,
    /// The cipher.
    pub cipher: Option<Cipher>,
    /// The padding.
    pub padding: Option<Padding>,
    /// The key is hashed before use.
    pub hashes_key: Option<bool>,
    /// The plaintext is compressed.
    pub inflate: bool,
}

/// A missing or invalid setting. Does not hold its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMaterial {
    /// The setting.
    pub setting: Setting,
    /// Of several values, the position of the bad one, from 1.
    pub position: Option<usize>,
    /// The requirement.
    pub must: &'static str,
}

pub(super) fn bad(setting: Setting, must: &'static str) -> BadMaterial {
    BadMaterial {
        setting,
        position: None,
        must,
    }
}

impl Material {
    /// The keys, each read by `read`; there must be one.
    pub(super) fn read_keys(
        &self,
        must: &'static str,
        read: impl Fn(&str) -> Option<KeyBytes>,
    ) -> Result<Vec<KeyBytes>, BadMaterial> {
        if self.keys.is_empty() {
            return Err(bad(Setting::Keys, must));
        }
        read_each(self.keys.iter(), Setting::Keys, must, read)
    }

    /// The named keys, each read by `read`.
    pub(super) fn read_named_keys(
        &self,
        must: &'static str,
        read: impl Fn(&str) -> Option<KeyBytes>,
    ) -> Result<Vec<(String, KeyBytes)>, BadMaterial> {
        let keys = self.named_keys.iter().map(|(_, key)| key);
        let read = read_each(keys, Setting::NamedKeys, must, read)?;
        Ok(self
            .named_keys
            .iter()
            .map(|(name, _)| name.clone())
            .zip(read)
            .collect())
    }
}

fn read_each<'a>(
    keys: impl Iterator<Item = &'a Secret>,
    setting: Setting,
    must: &'static str,
    read: impl Fn(&str) -> Option<KeyBytes>,
) -> Result<Vec<KeyBytes>, BadMaterial> {
    keys.enumerate()
        .map(|(position, key)| {
            read(key.reveal()).ok_or(BadMaterial {
                setting,
                position: Some(position + 1),
                must,
            })
        })
        .collect()
}

/// The bytes of a text as they are; an empty one is no key.
pub(super) fn as_it_is(text: &str) -> Option<KeyBytes> {
    (!text.is_empty()).then(|| Zeroizing::new(text.as_bytes().to_vec()))
}

/// 32 bytes in base64.
pub(super) fn base64_key(text: &str) -> Option<KeyBytes> {
    let bytes = base64(text.trim())?;
    (bytes.len() == 32).then_some(bytes)
}

/// 32 bytes in hex.
pub(super) fn hex_key(text: &str) -> Option<KeyBytes> {
    let bytes = hex(text.trim())?;
    (bytes.len() == 32).then_some(bytes)
}

/// 32 bytes in base64 or hex. Their lengths differ.
pub(super) fn encoded_key(text: &str) -> Option<KeyBytes> {
    hex_key(text).or_else(|| base64_key(text))
}

/// 32 characters, each of them a byte (latin-1).
pub(super) fn latin_1_key(text: &str) -> Option<KeyBytes> {
    // Never moves: no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    for letter in text.chars() {
        bytes.push(u8::try_from(letter).ok()?);
    }
    (bytes.len() == 32).then_some(bytes)
}

/// A text of 32 bytes, taken as they are.
pub(super) fn raw_key(text: &str) -> Option<KeyBytes> {
    as_it_is(text).filter(|bytes| bytes.len() == 32)
}
