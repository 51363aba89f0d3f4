//! django-cryptography: a Fernet of its own with AES-256, around a pickle. The pickle is read, never run:
//! only one that is a text and nothing else is accepted.

use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Padding, Sealed, is_signed},
    derive::{Digest, KeyBytes, pbkdf2},
    material::{BadMaterial, Material, as_it_is},
    value::Value,
};
use crate::domain::DecryptFailure;

const ROUNDS: u32 = 30_000;
const SALT: &[u8] = b"django-cryptography";
const VERSION: u8 = 0x80;
const IV: std::ops::Range<usize> = 9..25;
const MAC: usize = 32;

/// A secret key of Django's and the cipher key derived from it.
#[derive(Clone)]
pub(super) struct Key {
    mac: KeyBytes,
    cipher: KeyBytes,
}

pub(super) fn keys(material: &Material) -> Result<Vec<Key>, BadMaterial> {
    let secrets = material.read_keys("must be Django's SECRET_KEY", as_it_is)?;
    let key = |mac: KeyBytes| Key {
        cipher: pbkdf2(Digest::Sha256, &mac, SALT, ROUNDS),
        mac,
    };
    Ok(secrets.into_iter().map(key).collect())
}

pub(super) fn open(keys: &[Key], value: Value<'_>) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let Value::Bytes(bytes) = value else {
        return Err(DecryptFailure::NotEncrypted);
    };
    let body = bytes.len().checked_sub(MAC).ok_or(DecryptFailure::NotEncrypted)?;
    let (signed, mac) = bytes.split_at(body);
    let (Some(&VERSION), Some(nonce), Some(ciphertext)) =
        (signed.first(), signed.get(IV), signed.get(IV.end..))
    else {
        return Err(DecryptFailure::NotEncrypted);
    };
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(DecryptFailure::NotEncrypted);
    }
    let key = keys
        .iter()
        .find(|key| is_signed(&key.mac, &[signed], mac))
        .ok_or(DecryptFailure::NoKeyFits)?;
    let sealed = Sealed {
        nonce,
        ciphertext,
        ..Sealed::default()
    };
    let pickle = Cipher::AesCbc(Padding::Pkcs7)
        .open(&key.cipher, sealed)
        .ok_or(DecryptFailure::Damaged)?;
    let text = pickled_text(&pickle).ok_or(DecryptFailure::NotText)?;
    Ok(Zeroizing::new(text.to_vec()))
}

/// The text of a pickle of protocol 2 or later that is one.
fn pickled_text(pickle: &[u8]) -> Option<&[u8]> {
    let [0x80, protocol, rest @ ..] = pickle else {
        return None;
    };
    let mut rest = (2..=5).contains(protocol).then_some(rest)?;
    // FRAME and its length.
    if let [0x95, _, _, _, _, _, _, _, _, framed @ ..] = rest {
        rest = framed;
    }
    // SHORT_BINUNICODE, BINUNICODE or BINUNICODE8, each with the number of bytes.
    let (length, rest) = match rest {
        [0x8c, length, rest @ ..] => (usize::from(*length), rest),
        [b'X', a, b, c, d, rest @ ..] => (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, rest),
        [0x8d, length @ ..] => {
            let (length, rest) = length.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_le_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    let (text, rest) = rest.split_at_checked(length)?;
    // MEMOIZE, BINPUT or nothing; then STOP.
    matches!(rest, [0x94, b'.'] | [b'q', _, b'.'] | [b'.']).then_some(text)
}
