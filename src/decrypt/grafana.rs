//! Grafana's secrets: base64 of an optional data key's name, an optional algorithm, a salt, and the sealed
//! value. Every value has a key of its own, by PBKDF2: opening one takes milliseconds.

use zeroize::Zeroizing;

use super::{
    cipher::{BLOCK, Cipher, Sealed, cfb},
    derive::{Digest, KeyBytes, pbkdf2},
    encoding::{base64, hex},
    value::marked,
};
use crate::domain::DecryptFailure;

const ROUNDS: u32 = 10_000;
const SALT: usize = 8;

/// The name of a data key, the algorithm, and the rest.
struct Envelope<'a> {
    data_key: Option<String>,
    is_gcm: bool,
    payload: &'a [u8],
}

/// Opens the data keys, which the database holds as bytes. Without authentication, each secret makes a key of
/// one: all are kept, and a value tells which of them is right.
pub(super) fn data_keys(
    secrets: &[KeyBytes],
    stored: &[(String, String)],
) -> Result<Vec<(String, KeyBytes)>, DecryptFailure> {
    let open_one = |(name, sealed): &(String, String)| {
        let bytes = sealed
            .strip_prefix("\\x")
            .and_then(hex)
            .ok_or(DecryptFailure::NotEncrypted)?;
        let envelope = envelope(&bytes)?;
        let opened: Vec<_> = secrets
            .iter()
            .filter_map(|secret| open_payload(std::iter::once(secret), &envelope, |_| true).ok())
            .map(|key| (name.clone(), key))
            .collect();
        if opened.is_empty() {
            return Err(DecryptFailure::NoKeyFits);
        }
        Ok(opened)
    };
    let opened: Result<Vec<_>, _> = stored.iter().map(open_one).collect();
    Ok(opened?.into_iter().flatten().collect())
}

pub(super) fn open(
    secrets: &[KeyBytes],
    data_keys: &[(String, KeyBytes)],
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let bytes = base64(text).ok_or(marked(has_mark(text), DecryptFailure::NotEncrypted))?;
    let envelope = envelope(&bytes).map_err(|why| marked(has_mark(text), why))?;
    let is_text = |plain: &[u8]| std::str::from_utf8(plain).is_ok();
    match &envelope.data_key {
        None => open_payload(secrets.iter(), &envelope, is_text),
        Some(name) => {
            let mut keys = data_keys
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, key)| key)
                .peekable();
            if keys.peek().is_none() {
                return Err(DecryptFailure::UnknownKey);
            }
            open_payload(keys, &envelope, is_text)
        }
    }
}

fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecryptFailure> {
    let (data_key, bytes) = enclosed(bytes, b'#').ok_or(DecryptFailure::NotEncrypted)?;
    let (algorithm, payload) = enclosed(bytes, b'*').ok_or(DecryptFailure::NotEncrypted)?;
    let is_gcm = match algorithm.as_deref() {
        None | Some("" | "aes-cfb") => false,
        Some("aes-gcm") => true,
        Some(_) => return Err(DecryptFailure::Damaged),
    };
    let shortest = SALT + if is_gcm { 12 + 16 } else { BLOCK };
    if payload.len() < shortest {
        return Err(DecryptFailure::NotEncrypted);
    }
    Ok(Envelope {
        data_key,
        is_gcm,
        payload,
    })
}

/// Tells whether a text begins with the name of a data key or algorithm, even if it ends in it.
fn has_mark(text: &str) -> bool {
    let whole_groups = text.len() - text.len() % 4;
    let Some(bytes) = text.get(..whole_groups).and_then(base64) else {
        return false;
    };
    let Some((mark @ (b'#' | b'*'), name)) = bytes.split_first() else {
        return false;
    };
    let is_of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    match name.iter().find(|byte| !is_of_base64(byte)) {
        Some(end) => end == mark,
        None => !name.is_empty(),
    }
}

/// A text in base64 between two marks, if there is one, and what comes after it.
fn enclosed(bytes: &[u8], mark: u8) -> Option<(Option<String>, &[u8])> {
    let Some(rest) = bytes.strip_prefix(&[mark]) else {
        return Some((None, bytes));
    };
    let end = rest.iter().position(|&byte| byte == mark)?;
    let (name, rest) = rest.split_at(end);
    let name = base64(std::str::from_utf8(name).ok()?)?;
    let name = std::str::from_utf8(&name).ok()?.to_owned();
    Some((Some(name), &rest[1..]))
}

fn open_payload<'k>(
    mut secrets: impl Iterator<Item = &'k KeyBytes>,
    envelope: &Envelope<'_>,
    is_plausible: impl Fn(&[u8]) -> bool,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let (salt, sealed) = envelope.payload.split_at(SALT);
    let opened = secrets.find_map(|secret| {
        let key = pbkdf2(Digest::Sha256, secret, salt, ROUNDS);
        if !envelope.is_gcm {
            let (iv, ciphertext) = sealed.split_at(BLOCK);
            return cfb(&key, iv, ciphertext).filter(|plain| is_plausible(plain));
        }
        let (nonce, rest) = sealed.split_at(12);
        let (ciphertext, tag) = rest.split_at(rest.len() - 16);
        let parts = Sealed {
            nonce,
            ciphertext,
            tag,
            associated: b"",
        };
        Cipher::AesGcm.open(&key, parts)
    });
    opened.ok_or(DecryptFailure::NoKeyFits)
}
