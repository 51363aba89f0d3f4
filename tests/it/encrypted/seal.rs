//! Encrypts as the program that filled the legacy table did.

use aes::{Aes128, cipher::block_padding::Pkcs7};
use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{AeadInOut, KeyInit},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A Fernet token, as the specification has it.
pub(super) fn fernet(key: &str, text: &str) -> String {
    let key = URL_SAFE.decode(key).unwrap();
    let iv: [u8; 16] = rand::random();
    let mut token = vec![0x80];
    token.extend_from_slice(&1_700_000_000_u64.to_be_bytes());
    token.extend_from_slice(&iv);
    let mut padded = text.as_bytes().to_vec();
    padded.resize(text.len() + 16, 0);
    let cipher = cbc::Encryptor::<Aes128>::new_from_slices(&key[16..], &iv).unwrap();
    token.extend_from_slice(cipher.encrypt_padded::<Pkcs7>(&mut padded, text.len()).unwrap());
    let mut signature = <Hmac<Sha256> as KeyInit>::new_from_slice(&key[..16]).unwrap();
    signature.update(&token);
    token.extend_from_slice(&signature.finalize().into_bytes());
    URL_SAFE.encode(token)
}

/// Nonce, ciphertext, tag; the key in hex.
pub(super) fn gcm(key: &str, text: &str) -> Vec<u8> {
    let key: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap())
        .collect();
    let nonce: [u8; 12] = rand::random();
    let cipher = Aes256Gcm::new_from_slice(&key).unwrap();
    let mut sealed = text.as_bytes().to_vec();
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), b"", sealed.as_mut_slice().into())
        .unwrap();
    [&nonce[..], &sealed, &tag].concat()
}
