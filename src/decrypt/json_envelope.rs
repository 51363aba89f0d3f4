//! Envelopes in JSON: Activepieces, Cal.com's key ring, Nango and Sentry. Only the envelope's own members are
//! taken out of the JSON: a value that was never encrypted leaves no copy behind.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    cipher::{Cipher, Padding},
    derive::KeyBytes,
    encoding::{Encoding, base64},
    fernet,
    layout::Parts,
    steps,
    value::{Companions, Value, begins_with_member, marked},
};
use crate::domain::DecryptFailure;

/// Takes the envelope out of a JSON. One that begins with a member of it was an envelope.
fn parse<'a, T: Deserialize<'a>>(text: &'a str, members: &[&str]) -> Result<T, DecryptFailure> {
    serde_json::from_str(text)
        .map_err(|_| marked(begins_with_member(text, members), DecryptFailure::NotEncrypted))
}

/// Decodes the parts, and checks their lengths.
fn parts(
    encoding: Encoding,
    cipher: Cipher,
    [nonce, ciphertext, tag]: [&str; 3],
) -> Result<Parts, DecryptFailure> {
    let decode = |text| encoding.decode(text).ok_or(DecryptFailure::Damaged);
    let parts = Parts {
        nonce: decode(nonce)?,
        ciphertext: decode(ciphertext)?,
        tag: decode(tag)?,
    };
    let is_whole = parts.nonce.len() == cipher.nonce_bytes()
        && parts.tag.len() == cipher.tag_bytes()
        && cipher.takes_ciphertext(parts.ciphertext.len());
    is_whole.then_some(parts).ok_or(DecryptFailure::Damaged)
}

/// IV and data in hex. There is no MAC: what is no JSON was opened with another key, or changed.
pub(super) fn activepieces(keys: &[KeyBytes], text: &str) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    #[derive(Deserialize)]
    struct Envelope {
        iv: String,
        data: String,
    }
    let cipher = Cipher::AesCbc(Padding::Pkcs7);
    let envelope: Envelope = parse(text, &["iv", "data"])?;
    let parts = parts(Encoding::Hex, cipher, [&envelope.iv, &envelope.data, ""])?;
    let plain = steps::open(cipher, keys, &parts, b"")?;
    match serde_json::from_slice::<serde::de::IgnoredAny>(&plain) {
        Ok(_) => Ok(plain),
        Err(_) => Err(DecryptFailure::NoKeyFits),
    }
}

/// The row's type is authenticated with the value.
pub(super) fn calcom_keyring(
    keys: &[(String, KeyBytes)],
    text: &str,
    companions: &Companions,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    #[derive(Deserialize)]
    struct Envelope {
        v: u32,
        alg: String,
        kid: String,
        nonce: String,
        ct: String,
        tag: String,
    }
    let envelope: Envelope = parse(text, &["v", "alg", "kid", "nonce", "ct", "tag"])?;
    if envelope.v != 1 || envelope.alg != "AES-256-GCM" {
        return Err(DecryptFailure::Damaged);
    }
    let parts = parts(
        Encoding::Base64,
        Cipher::AesGcm,
        [&envelope.nonce, &envelope.ct, &envelope.tag],
    )?;
    let key = named(keys, &envelope.kid)?;
    let kind = companions.context.as_deref().unwrap_or_default();
    let associated = serde_json::json!({ "type": kind }).to_string();
    steps::open(Cipher::AesGcm, [key], &parts, associated.as_bytes())
}

/// Nonce and tag are in columns of their own, which are null for a value that is not encrypted.
pub(super) fn nango(
    keys: &[KeyBytes],
    text: &str,
    companions: &Companions,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    #[derive(Deserialize)]
    struct Envelope {
        encrypted_credentials: String,
    }
    let envelope: Envelope = parse(text, &["encrypted_credentials"])?;
    let (Some(nonce), Some(tag)) = (&companions.nonce, &companions.tag) else {
        return Err(DecryptFailure::Damaged);
    };
    let texts = [nonce, envelope.encrypted_credentials.as_str(), tag];
    let parts = parts(Encoding::Base64, Cipher::AesGcm, texts)?;
    steps::open(Cipher::AesGcm, keys, &parts, b"")
}

/// A Fernet token under a named key, or, on request of the configuration of old, base64 alone.
pub(super) fn sentry(keys: &[(String, KeyBytes)], text: &str) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        // Borrowed, as it may be a token in plain; base64 needs no escapes.
        sentry_encrypted_field_value: &'a str,
    }
    let envelope: Envelope<'_> = parse(text, &["sentry_encrypted_field_value"])?;
    let named_method = envelope.sentry_encrypted_field_value.strip_prefix("enc:");
    let (method, rest) = named_method
        .and_then(|named| named.split_once(':'))
        .ok_or(DecryptFailure::Damaged)?;
    match method {
        "plaintext" => base64(rest).ok_or(DecryptFailure::Damaged),
        "fernet" => {
            let (id, token) = rest.split_once(':').ok_or(DecryptFailure::Damaged)?;
            let key = named(keys, id)?;
            // Base64 of the token's text, which is base64 itself.
            let token = base64(token).ok_or(DecryptFailure::Damaged)?;
            fernet::open(std::slice::from_ref(key), Value::Bytes(&token)).map_err(|why| marked(true, why))
        }
        _ => Err(DecryptFailure::Damaged),
    }
}

pub(super) fn named<'k>(keys: &'k [(String, KeyBytes)], name: &str) -> Result<&'k KeyBytes, DecryptFailure> {
    let key = keys.iter().find(|(known, _)| known == name);
    key.map(|(_, key)| key).ok_or(DecryptFailure::UnknownKey)
}
