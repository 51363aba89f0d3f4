//! Ciphers: a sealed value in its parts, opened under one key. Plaintext is wiped when dropped.

use aes::{
    Aes128, Aes256,
    cipher::{
        BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, StreamCipher,
        array::Array,
        block_padding::{NoPadding, Padding as _, Pkcs7},
        consts::{U12, U16},
    },
};
use aes_gcm::{AesGcm, aead::AeadInOut};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, Mac};
use poly1305::Poly1305;
use salsa20::XSalsa20;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(super) const BLOCK: usize = 16;

/// The bytes that a decrypted value ends with and that are none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// As many bytes as are missing, each with that number (PKCS #7).
    Pkcs7,
    /// Asterisks.
    Asterisks,
    /// Zeros, and at the end the number of all padding bytes (ANSI X9.23).
    Zeros,
    /// A byte 0x80, then zeros (ISO 7816-4).
    OneAndZeros,
}

impl Padding {
    /// The value without its padding; `None` if it has none that is valid.
    pub(super) fn strip(self, mut padded: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
        let trimmed = |byte: u8| {
            padded
                .iter()
                .rposition(|&last| last != byte)
                .map_or(0, |last| last + 1)
        };
        let length = match self {
            Self::Pkcs7 => {
                let (blocks, []) = padded.as_chunks::<BLOCK>() else {
                    return None;
                };
                let last: &Array<u8, U16> = blocks.last()?.into();
                padded.len() - BLOCK + Pkcs7::raw_unpad(last).ok()?.len()
            }
            Self::Asterisks => trimmed(b'*'),
            Self::Zeros => {
                let count = usize::from(*padded.last()?);
                let length = padded.len().checked_sub(count.max(1))?;
                let zeros = padded.get(length..padded.len() - 1)?;
                (count <= BLOCK && zeros.iter().all(|&byte| byte == 0)).then_some(length)?
            }
            Self::OneAndZeros => {
                let length = trimmed(0).checked_sub(1)?;
                (padded.get(length) == Some(&0x80)).then_some(length)?
            }
        };
        padded.truncate(length);
        Some(padded)
    }
}

/// A cipher. Ciphers without authentication notice a wrong key by the padding, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-GCM with a tag of 16 bytes.
    AesGcm,
    /// AES-CBC without authentication.
    AesCbc(Padding),
    /// AES-CBC and HMAC-SHA256 over IV and ciphertext. Of a key of 64 bytes, the second half is the MAC's.
    AesCbcHmac,
    /// XChaCha20-Poly1305.
    XChaCha20Poly1305,
    /// XSalsa20-Poly1305, as in `NaCl`'s secretbox.
    XSalsa20Poly1305,
}

/// A sealed value in its parts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sealed<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8],
    /// Data that are authenticated, and no part of the value.
    pub(super) associated: &'a [u8],
}

impl Cipher {
    /// The length of the nonce in bytes, unless it is given.
    pub(super) fn nonce_bytes(self) -> usize {
        match self {
            Self::AesGcm => 12,
            Self::AesCbc(_) | Self::AesCbcHmac => BLOCK,
            Self::XChaCha20Poly1305 | Self::XSalsa20Poly1305 => 24,
        }
    }

    /// Tells whether the cipher takes a nonce of this length.
    pub(super) fn takes_nonce(self, bytes: usize) -> bool {
        bytes == self.nonce_bytes() || (self == Self::AesGcm && bytes == 16)
    }

    pub(super) fn tag_bytes(self) -> usize {
        match self {
            Self::AesCbc(_) => 0,
            Self::AesCbcHmac => 32,
            Self::AesGcm | Self::XChaCha20Poly1305 | Self::XSalsa20Poly1305 => 16,
        }
    }

    /// Tells whether a wrong key is noticed for certain.
    pub(super) fn is_authenticated(self) -> bool {
        !matches!(self, Self::AesCbc(_))
    }

    /// Tells whether a key of this length is one.
    pub(super) fn takes_key(self, bytes: usize) -> bool {
        match self {
            Self::AesCbcHmac => matches!(bytes, 32 | 64),
            _ => bytes == 32,
        }
    }

    /// Tells whether a ciphertext can have this length.
    pub(super) fn takes_ciphertext(self, bytes: usize) -> bool {
        match self {
            Self::AesCbc(_) | Self::AesCbcHmac => bytes > 0 && bytes.is_multiple_of(BLOCK),
            _ => true,
        }
    }

    /// Returns the plaintext; `None` if the key does not open the value.
    pub(super) fn open(self, key: &[u8], sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::AesGcm => match (key.len(), sealed.nonce.len()) {
                (32, 16) => aead(&AesGcm::<Aes256, U16>::new_from_slice(key).ok()?, sealed),
                (32, _) => aead(&AesGcm::<Aes256, U12>::new_from_slice(key).ok()?, sealed),
                _ => aead(&AesGcm::<Aes128, U12>::new_from_slice(key).ok()?, sealed),
            },
            Self::AesCbc(padding) => padding.strip(cbc_blocks(key, sealed)?),
            Self::AesCbcHmac => {
                let (cipher_key, mac_key) = match key.len() {
                    64 => key.split_at(32),
                    _ => (key, key),
                };
                let signed = [sealed.nonce, sealed.ciphertext];
                is_signed(mac_key, &signed, sealed.tag).then_some(())?;
                Padding::Pkcs7.strip(cbc_blocks(cipher_key, sealed)?)
            }
            Self::XChaCha20Poly1305 => aead(&XChaCha20Poly1305::new_from_slice(key).ok()?, sealed),
            Self::XSalsa20Poly1305 => secretbox(key, sealed),
        }
    }
}

/// Tells whether this is the HMAC-SHA256 of the parts, one after the other.
pub(super) fn is_signed(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let Ok(mut mac) = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) else {
        return false;
    };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(tag).is_ok()
}

fn aead(cipher: &impl AeadInOut, sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.ciphertext.to_vec());
    // A wrong key is noticed before anything is changed.
    cipher
        .decrypt_inout_detached(
            sealed.nonce.try_into().ok()?,
            sealed.associated,
            buffer.as_mut_slice().into(),
            sealed.tag.try_into().ok()?,
        )
        .ok()?;
    Some(buffer)
}

fn cbc_blocks(key: &[u8], sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
    match key.len() {
        32 => cbc_with::<Aes256>(key, sealed),
        _ => cbc_with::<Aes128>(key, sealed),
    }
}

fn cbc_with<C>(key: &[u8], sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit + BlockSizeUser<BlockSize = U16>,
{
    let mut buffer = Zeroizing::new(sealed.ciphertext.to_vec());
    let mode = cbc::Decryptor::<C>::new_from_slices(key, sealed.nonce).ok()?;
    mode.decrypt_padded::<NoPadding>(&mut buffer).ok()?;
    Some(buffer)
}

/// AES-256-CFB, which has no authentication.
pub(super) fn cfb(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    fn with<C: BlockCipherEncrypt + KeyInit>(key: &[u8], iv: &[u8], buffer: &mut [u8]) -> Option<()> {
        let mut mode = cfb_mode::BufDecryptor::<C>::new_from_slices(key, iv).ok()?;
        mode.decrypt(buffer);
        Some(())
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    with::<Aes256>(key, iv, &mut buffer)?;
    Some(buffer)
}

/// The first 32 bytes of the key stream are the key of the MAC, which is over the ciphertext.
fn secretbox(key: &[u8], sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let mut stream = XSalsa20::new_from_slices(key, sealed.nonce).ok()?;
    let mut mac_key = Zeroizing::new([0_u8; 32]);
    stream.apply_keystream(&mut mac_key[..]);
    let mac = Poly1305::new_from_slice(&mac_key[..]).ok()?;
    let tag = mac.compute_unpadded(sealed.ciphertext);
    bool::from(tag.as_slice().ct_eq(sealed.tag)).then_some(())?;
    let mut buffer = Zeroizing::new(sealed.ciphertext.to_vec());
    stream.apply_keystream(&mut buffer);
    Some(buffer)
}
