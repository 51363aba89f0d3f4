//! Active Record Encryption: a JSON with payload and headers, AES-256-GCM, keys by PBKDF2.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    cipher::Cipher,
    derive::{Digest, KeyBytes, pbkdf2},
    encoding::{base64, inflate},
    format::Setting,
    layout::Parts,
    material::{BadMaterial, Material, as_it_is, bad},
    steps,
    value::{begins_with_member, marked},
};
use crate::domain::DecryptFailure;

const ROUNDS: u32 = 65_536;

#[derive(Deserialize)]
struct Message {
    p: String,
    h: Headers,
}

#[derive(Deserialize)]
struct Headers {
    iv: Option<String>,
    at: Option<String>,
    /// The payload is compressed.
    #[serde(default)]
    c: bool,
    /// The key of the payload, itself encrypted.
    k: Option<Box<Message>>,
}

/// A key for each primary key, salt and hash.
pub(super) fn keys(material: &Material) -> Result<Vec<KeyBytes>, BadMaterial> {
    let primary = material.read_keys("must be `primary_key` of the application", as_it_is)?;
    if material.salts.is_empty() {
        return Err(bad(
            Setting::Salts,
            "must be `key_derivation_salt` of the application",
        ));
    }
    let digests: &[Digest] = match material.digests.as_slice() {
        [] => &[Digest::Sha256],
        digests => digests,
    };
    let mut keys = Vec::with_capacity(primary.len());
    for key in &primary {
        for salt in &material.salts {
            let derive = |&digest| pbkdf2(digest, key, salt.reveal().as_bytes(), ROUNDS);
            keys.extend(digests.iter().map(derive));
        }
    }
    Ok(keys)
}

pub(super) fn open(keys: &[KeyBytes], text: &str) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let message: Message = serde_json::from_str(text).map_err(|_| {
        marked(
            begins_with_member(text, &["p", "h"]),
            DecryptFailure::NotEncrypted,
        )
    })?;
    open_message(keys, &message)
}

fn open_message(keys: &[KeyBytes], message: &Message) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let bytes = |text: Option<&str>| text.and_then(base64).ok_or(DecryptFailure::Damaged);
    let parts = Parts {
        nonce: bytes(message.h.iv.as_deref())?,
        ciphertext: bytes(Some(&message.p))?,
        tag: bytes(message.h.at.as_deref())?,
    };
    if parts.tag.len() != Cipher::AesGcm.tag_bytes() || parts.nonce.len() != Cipher::AesGcm.nonce_bytes() {
        return Err(DecryptFailure::Damaged);
    }
    let plain = match &message.h.k {
        Some(sealed) => {
            let key = open_message(keys, sealed)?;
            if key.len() != 32 {
                return Err(DecryptFailure::Damaged);
            }
            steps::open(Cipher::AesGcm, [&key], &parts, b"")?
        }
        None => steps::open(Cipher::AesGcm, keys, &parts, b"")?,
    };
    if message.h.c {
        return inflate(&plain).ok_or(DecryptFailure::Damaged);
    }
    Ok(plain)
}
