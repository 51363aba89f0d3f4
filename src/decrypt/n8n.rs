//! n8n's credentials: `Salted__` of OpenSSL and `CryptoJS`, or, with a data key's name before it,
//! AES-256-GCM.

use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Padding, Sealed},
    derive::{KeyBytes, evp_bytes_to_key, hkdf_sha256, sha256},
    encoding::{base64, hex},
    value::marked,
};
use crate::domain::DecryptFailure;

const INFO: &[u8] = b"n8n-encryption-v1";
/// Base64 of `Salted__`, but for its last letter.
const MARK: &str = "U2FsdGVkX1";
const SALT: usize = 32;
const TAG: usize = 16;

/// Opens the data keys: each is sealed like a value, under the hash of the encryption key.
pub(super) fn data_keys(
    keys: &[KeyBytes],
    stored: &[(String, String)],
) -> Result<Vec<(String, KeyBytes)>, DecryptFailure> {
    let masters: Vec<KeyBytes> = keys.iter().map(|key| sha256(key)).collect();
    let open_one = |(name, sealed): &(String, String)| {
        let bytes = base64(sealed).ok_or(DecryptFailure::NotEncrypted)?;
        let key = masters.iter().find_map(|key| gcm(key, &bytes).transpose());
        Ok((name.clone(), key.unwrap_or(Err(DecryptFailure::NoKeyFits))?))
    };
    stored.iter().map(open_one).collect()
}

pub(super) fn open(
    keys: &[KeyBytes],
    data_keys: &[(String, KeyBytes)],
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let Some((name, sealed)) = text.split_once(':') else {
        return base64(text)
            .ok_or(DecryptFailure::NotEncrypted)
            .and_then(|bytes| salted(keys.iter(), &bytes))
            .map_err(|why| marked(text.starts_with(MARK), why));
    };
    let key = data_keys.iter().find(|(known, _)| known == name);
    let not_encrypted = marked(key.is_some(), DecryptFailure::NotEncrypted);
    let bytes = base64(sealed).ok_or(not_encrypted)?;
    let (_, key) = key.ok_or(DecryptFailure::UnknownKey)?;
    if bytes.starts_with(b"Salted__") {
        return salted(std::iter::once(key), &bytes);
    }
    // The data key is a text: 64 digits.
    let text = std::str::from_utf8(key).map_err(|_| DecryptFailure::NoKeyFits)?;
    let key = hex(text).ok_or(DecryptFailure::NoKeyFits)?;
    let opened = gcm(&key, &bytes).map_err(|why| marked(true, why))?;
    opened.ok_or(DecryptFailure::NoKeyFits)
}

fn salted<'k>(
    mut keys: impl Iterator<Item = &'k KeyBytes>,
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let rest = bytes
        .strip_prefix(b"Salted__")
        .ok_or(DecryptFailure::NotEncrypted)?;
    let (salt, ciphertext) = rest.split_at_checked(8).ok_or(DecryptFailure::Damaged)?;
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(DecryptFailure::Damaged);
    }
    let opened = keys.find_map(|key| {
        let derived = evp_bytes_to_key(key, salt, 1, 32 + BLOCK);
        let (key, nonce) = derived.split_at(32);
        let sealed = Sealed {
            nonce,
            ciphertext,
            ..Sealed::default()
        };
        let plain = Cipher::AesCbc(Padding::Pkcs7).open(key, sealed)?;
        std::str::from_utf8(&plain).is_ok().then_some(plain)
    });
    opened.ok_or(DecryptFailure::NoKeyFits)
}

/// Version, salt, tag and ciphertext; `None` if the key does not open it.
fn gcm(key: &[u8], bytes: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, DecryptFailure> {
    let (version, rest) = bytes.split_first().ok_or(DecryptFailure::NotEncrypted)?;
    let (salt, rest) = rest.split_at_checked(SALT).ok_or(DecryptFailure::NotEncrypted)?;
    let (tag, ciphertext) = rest.split_at_checked(TAG).ok_or(DecryptFailure::NotEncrypted)?;
    if *version != 1 {
        return Err(DecryptFailure::Damaged);
    }
    let Some(derived) = hkdf_sha256(key, salt, &[INFO], 44) else {
        return Ok(None);
    };
    let (key, nonce) = derived.split_at(32);
    let sealed = Sealed {
        nonce,
        ciphertext,
        tag,
        associated: b"",
    };
    Ok(Cipher::AesGcm.open(key, sealed))
}
