//! Derivation of cipher keys from what an application has as its key: hashes, PBKDF2, HKDF, and OpenSSL's own
//! way. All results are wiped when dropped.

use hkdf::Hkdf;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::{Zeroize, Zeroizing};

/// The bytes of a key.
pub(super) type KeyBytes = Zeroizing<Vec<u8>>;

/// The hash of PBKDF2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

pub(super) fn sha256(bytes: &[u8]) -> KeyBytes {
    let mut digest = Sha256::digest(bytes);
    let key = Zeroizing::new(digest.to_vec());
    digest.as_mut_slice().zeroize();
    key
}

/// 32 bytes by PBKDF2.
pub(super) fn pbkdf2(digest: Digest, password: &[u8], salt: &[u8], rounds: u32) -> KeyBytes {
    let mut key = Zeroizing::new(vec![0; 32]);
    match digest {
        Digest::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, &mut key),
        Digest::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut key),
    }
    key
}

/// `None` if the length is more than the hash can give.
pub(super) fn hkdf_sha256(key: &[u8], salt: &[u8], info: &[&[u8]], length: usize) -> Option<KeyBytes> {
    let mut derived = Zeroizing::new(vec![0; length]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), key);
    hkdf.expand_multi_info(info, &mut derived).ok()?;
    Some(derived)
}

/// The same with SHA-384.
pub(super) fn hkdf_sha384(key: &[u8], salt: &[u8], info: &[&[u8]], length: usize) -> Option<KeyBytes> {
    let mut derived = Zeroizing::new(vec![0; length]);
    let hkdf = Hkdf::<Sha384>::new(Some(salt), key);
    hkdf.expand_multi_info(info, &mut derived).ok()?;
    Some(derived)
}

/// `EVP_BytesToKey` of OpenSSL with MD5: key and IV, one after the other.
pub(super) fn evp_bytes_to_key(password: &[u8], salt: &[u8], rounds: u32, length: usize) -> KeyBytes {
    // Never moves: no copy is left behind.
    let mut derived = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut block = Zeroizing::new([0_u8; 16]);
    let mut is_first = true;
    while derived.len() < length {
        let mut hasher = Md5::new();
        if !is_first {
            hasher.update(&block[..]);
        }
        hasher.update(password);
        hasher.update(salt);
        block.copy_from_slice(&hasher.finalize());
        for _ in 1..rounds {
            let again = Md5::digest(&block[..]);
            block.copy_from_slice(&again);
        }
        derived.extend_from_slice(&block[..]);
        is_first = false;
    }
    derived.truncate(length);
    derived
}
