//! Laravel's `Crypt` and its casts: base64 of a JSON with IV, value, and MAC (CBC) or tag (GCM).

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Padding, Sealed, is_signed},
    derive::KeyBytes,
    encoding::{base64, hex},
    material::{BadMaterial, Material, as_it_is},
    value::marked,
};
use crate::domain::DecryptFailure;

/// Base64 of `{"iv":`.
const MARK: &str = "eyJpdiI6";

#[derive(Deserialize)]
struct Envelope {
    iv: String,
    value: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    tag: String,
}

pub(super) fn keys(material: &Material) -> Result<Vec<KeyBytes>, BadMaterial> {
    let key = |text: &str| {
        let bytes = match text.strip_prefix("base64:") {
            Some(encoded) => base64(encoded),
            None => as_it_is(text),
        };
        bytes.filter(|bytes| matches!(bytes.len(), 16 | 32))
    };
    material.read_keys("must be APP_KEY: `base64:` and 32 or 16 bytes in base64", key)
}

pub(super) fn open(keys: &[KeyBytes], text: &str) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let has_mark = text.starts_with(MARK);
    let json = base64(text).ok_or(marked(has_mark, DecryptFailure::NotEncrypted))?;
    // A whole JSON that lacks the other members is one of somebody else.
    let envelope: Envelope = serde_json::from_slice(&json)
        .map_err(|error| marked(has_mark && !error.is_data(), DecryptFailure::NotEncrypted))?;
    let nonce = base64(&envelope.iv).ok_or(DecryptFailure::Damaged)?;
    let ciphertext = base64(&envelope.value).ok_or(DecryptFailure::Damaged)?;
    let plain = if envelope.mac.is_empty() {
        let tag = base64(&envelope.tag).ok_or(DecryptFailure::Damaged)?;
        if nonce.len() != Cipher::AesGcm.nonce_bytes() || tag.len() != Cipher::AesGcm.tag_bytes() {
            return Err(DecryptFailure::Damaged);
        }
        let sealed = Sealed {
            nonce: &nonce,
            ciphertext: &ciphertext,
            tag: &tag,
            associated: b"",
        };
        keys.iter()
            .find_map(|key| Cipher::AesGcm.open(key, sealed))
            .ok_or(DecryptFailure::NoKeyFits)?
    } else {
        let mac = hex(&envelope.mac).ok_or(DecryptFailure::Damaged)?;
        // Over the text form of both.
        let signed = [envelope.iv.as_bytes(), envelope.value.as_bytes()];
        let key = keys
            .iter()
            .find(|key| is_signed(key, &signed, &mac))
            .ok_or(DecryptFailure::NoKeyFits)?;
        if nonce.len() != BLOCK || ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
            return Err(DecryptFailure::Damaged);
        }
        let sealed = Sealed {
            nonce: &nonce,
            ciphertext: &ciphertext,
            ..Sealed::default()
        };
        // The MAC was right: padding that is wrong was written so.
        Cipher::AesCbc(Padding::Pkcs7)
            .open(key, sealed)
            .ok_or(DecryptFailure::Damaged)?
    };
    Ok(unserialized(plain))
}

/// `Crypt::encrypt` serializes before it encrypts, the casts do not: `s:N:"…";` with N bytes between.
fn unserialized(plain: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let inner = |bytes: &[u8]| {
        let rest = bytes.strip_prefix(b"s:")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length: usize = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
        let inner = rest.get(digits..)?.strip_prefix(b":\"")?.strip_suffix(b"\";")?;
        (inner.len() == length).then(|| Zeroizing::new(inner.to_vec()))
    };
    inner(&plain).unwrap_or(plain)
}
