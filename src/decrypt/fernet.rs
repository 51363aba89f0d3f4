//! Fernet: version, time, IV, AES-128-CBC ciphertext, HMAC-SHA256 over all of that.
//!
//! Source: the Fernet specification. Its time says when a value was encrypted and is not looked at: a stored
//! token does not get too old to be moved. The crate `fernet` is not used: it holds the moment of encryption
//! against this machine's clock, does not wipe what it decrypted, and is under a licence that this project
//! does not otherwise take on.

use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Padding, Sealed, is_signed},
    derive::KeyBytes,
    encoding::base64,
    value::{Value, marked},
};
use crate::domain::DecryptFailure;

const VERSION: u8 = 0x80;
/// The text of the version, and of a time before the year 2106.
const MARK: &str = "gAAAAA";
const IV: std::ops::Range<usize> = 9..25;
const DIGEST: usize = 32;

/// Returns the plaintext of a token in text, or of its bytes, under the first key that fits. A key has 32
/// bytes.
pub(super) fn open(keys: &[KeyBytes], value: Value<'_>) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    // The bytes of a bytea are mostly those of the token's text.
    match (value.as_text(), value) {
        (Some(text), _) => base64(text)
            .ok_or(DecryptFailure::NotEncrypted)
            .and_then(|token| open_bytes(keys, &token))
            .map_err(|why| marked(text.starts_with(MARK), why)),
        (None, Value::Bytes(bytes)) => {
            open_bytes(keys, bytes).map_err(|why| marked(bytes.first() == Some(&VERSION), why))
        }
        (None, Value::Text(_)) => Err(DecryptFailure::NotEncrypted),
    }
}

fn open_bytes(keys: &[KeyBytes], token: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let body = token
        .len()
        .checked_sub(DIGEST)
        .ok_or(DecryptFailure::NotEncrypted)?;
    let (signed, digest) = token.split_at(body);
    let (Some(&VERSION), Some(nonce), Some(ciphertext)) =
        (signed.first(), signed.get(IV), signed.get(IV.end..))
    else {
        return Err(DecryptFailure::NotEncrypted);
    };
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(DecryptFailure::NotEncrypted);
    }
    let fits = |key: &&KeyBytes| {
        key.get(..16)
            .is_some_and(|signing| is_signed(signing, &[signed], digest))
    };
    let key = keys.iter().find(fits).ok_or(DecryptFailure::NoKeyFits)?;
    let sealed = Sealed {
        nonce,
        ciphertext,
        ..Sealed::default()
    };
    // The signature was right: padding that is wrong was written so.
    Cipher::AesCbc(Padding::Pkcs7)
        .open(key.get(16..).unwrap_or_default(), sealed)
        .ok_or(DecryptFailure::Damaged)
}
