//! Fernet: version, time, IV, AES-128-CBC ciphertext, HMAC-SHA256 over all of that.
//!
//! Source: the Fernet specification. Its time says when a value was encrypted and is not looked at: a stored
//! token does not get too old to be moved. The crate `fernet` is not used: it holds the moment of encryption
//! against this machine's clock, does not wipe what it decrypted, and is under a licence that this project
//! does not otherwise take on.

use aes::{Aes128, cipher::block_padding::Pkcs7};
use cbc::cipher::{BlockModeDecrypt, InnerIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key_bytes;
use crate::{domain::DecryptFailure, secret::Secret};

/// The requirement for a key.
pub(super) const KEY: &str = "must be a Fernet key: 32 bytes in URL-safe base64 (44 characters)";

const VERSION: u8 = 0x80;
const IV: std::ops::Range<usize> = 9..25;
const BLOCK: usize = 16;
const DIGEST: usize = 32;

/// One key, ready to be used.
#[derive(Clone)]
pub(super) struct Key {
    signature: Hmac<Sha256>,
    cipher: Aes128,
}

impl Key {
    /// `None` if this is no Fernet key.
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let bytes = key_bytes(key)?;
        let (signing, encryption) = bytes.split_at(16);
        Some(Self {
            signature: Hmac::new_from_slice(signing).ok()?,
            cipher: Aes128::new_from_slice(encryption).ok()?,
        })
    }
}

/// Returns the plaintext under the first key that fits.
pub(super) fn open(keys: &[Key], token: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let body = token
        .len()
        .checked_sub(DIGEST)
        .ok_or(DecryptFailure::NotEncrypted)?;
    let (signed, digest) = token.split_at(body);
    let (Some(&VERSION), Some(iv), Some(ciphertext)) = (signed.first(), signed.get(IV), signed.get(IV.end..))
    else {
        return Err(DecryptFailure::NotEncrypted);
    };
    if ciphertext.is_empty() || ciphertext.len() % BLOCK != 0 {
        return Err(DecryptFailure::NotEncrypted);
    }
    let fits = |key: &&Key| {
        let mut signature = key.signature.clone();
        signature.update(signed);
        signature.verify_slice(digest).is_ok()
    };
    let key = keys.iter().find(fits).ok_or(DecryptFailure::NoKeyFits)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let mode = cbc::Decryptor::inner_iv_slice_init(key.cipher.clone(), iv)
        .map_err(|_| DecryptFailure::NotEncrypted)?;
    // The signature was right: padding that is wrong was written so.
    let length = mode
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .map_err(|_| DecryptFailure::NotEncrypted)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
