//! AES-256-GCM as most libraries write it: nonce, ciphertext, tag.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use zeroize::Zeroizing;

use super::key_bytes;
use crate::{domain::DecryptFailure, secret::Secret};

/// The requirement for a key.
pub(super) const KEY: &str =
    "must be a key for AES-256: 32 bytes in base64 (44 characters) or hex (64 characters)";

const NONCE: usize = 12;
const TAG: usize = 16;

/// One key, ready to be used.
#[derive(Clone)]
pub(super) struct Key(Aes256Gcm);

impl Key {
    /// `None` if this is no key of 256 bits.
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let bytes = key_bytes(key).or_else(|| from_hex(key.reveal().trim()))?;
        Aes256Gcm::new_from_slice(&bytes[..]).ok().map(Self)
    }
}

/// Returns the plaintext under the first key that fits.
pub(super) fn open(keys: &[Key], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let body = sealed
        .len()
        .checked_sub(TAG)
        .ok_or(DecryptFailure::NotEncrypted)?;
    let (Some(nonce), Some(ciphertext), Some(tag)) =
        (sealed.get(..NONCE), sealed.get(NONCE..body), sealed.get(body..))
    else {
        return Err(DecryptFailure::NotEncrypted);
    };
    let (Ok(nonce), Ok(tag)) = (nonce.try_into(), tag.try_into()) else {
        return Err(DecryptFailure::NotEncrypted);
    };
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    for Key(key) in keys {
        // A wrong key is noticed before anything is changed.
        if key
            .decrypt_inout_detached(nonce, b"", buffer.as_mut_slice().into(), tag)
            .is_ok()
        {
            return Ok(buffer);
        }
    }
    Err(DecryptFailure::NoKeyFits)
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        let (high, low) = (digit(pair[0])?, digit(pair[1])?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}
