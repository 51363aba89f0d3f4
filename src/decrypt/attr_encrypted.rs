//! The gem `attr_encrypted`: base64 in lines, and IV and salt in columns of their own.

use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Padding, Sealed},
    derive::{Digest, KeyBytes, evp_bytes_to_key, pbkdf2},
    encoding::base64,
    layout::Parts,
    steps,
    value::Companions,
};
use crate::domain::DecryptFailure;

const SALT_ROUNDS: u32 = 2_000;
const VERSION_1_ROUNDS: u32 = 2_048;

/// AES-256-GCM, with a key per value if there is a salt. Version 1 used AES-256-CBC with one key and IV.
pub(super) fn open(
    keys: &[KeyBytes],
    is_version_1: bool,
    text: &str,
    companions: &Companions,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    if is_version_1 {
        return open_version_1(keys, &base64(text).ok_or(DecryptFailure::NotEncrypted)?);
    }
    let (bytes, nonce) = match (base64(text), companions.nonce.as_deref()) {
        (None, None) => return Err(DecryptFailure::NotEncrypted),
        // A nonce stands beside encrypted values only, and base64 without one may be such a value.
        (None, Some(_)) | (Some(_), None) => return Err(DecryptFailure::Damaged),
        (Some(bytes), Some(nonce)) => (bytes, nonce),
    };
    let nonce = base64(nonce).ok_or(DecryptFailure::Damaged)?;
    let cipher = Cipher::AesGcm;
    let ciphertext = bytes
        .len()
        .checked_sub(cipher.tag_bytes())
        .ok_or(DecryptFailure::Damaged)?;
    if nonce.len() != cipher.nonce_bytes() {
        return Err(DecryptFailure::Damaged);
    }
    let (ciphertext, tag) = bytes.split_at(ciphertext);
    let parts = Parts {
        nonce,
        ciphertext: Zeroizing::new(ciphertext.to_vec()),
        tag: Zeroizing::new(tag.to_vec()),
    };
    let Some(salt) = companions.salt.as_deref() else {
        return steps::open(
            cipher,
            keys.iter().filter(|key| cipher.takes_key(key.len())),
            &parts,
            b"",
        );
    };
    // Since version 3 it is encoded, and says so.
    let salt = match salt.strip_prefix('_') {
        Some(encoded) => base64(encoded).ok_or(DecryptFailure::Damaged)?,
        None => Zeroizing::new(salt.as_bytes().to_vec()),
    };
    let derive = |key: &KeyBytes| pbkdf2(Digest::Sha1, key, &salt, SALT_ROUNDS);
    let derived: Vec<KeyBytes> = keys.iter().map(derive).collect();
    steps::open(cipher, &derived, &parts, b"")
}

fn open_version_1(keys: &[KeyBytes], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
        return Err(DecryptFailure::NotEncrypted);
    }
    let opened = keys.iter().find_map(|key| {
        let derived = evp_bytes_to_key(key, b"", VERSION_1_ROUNDS, 32 + BLOCK);
        let (key, nonce) = derived.split_at(32);
        let sealed = Sealed {
            nonce,
            ciphertext: bytes,
            ..Sealed::default()
        };
        let plain = Cipher::AesCbc(Padding::Pkcs7).open(key, sealed)?;
        std::str::from_utf8(&plain).is_ok().then_some(plain)
    });
    opened.ok_or(DecryptFailure::NoKeyFits)
}
