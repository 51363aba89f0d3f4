//! Ciphertexts that were not decrypted. Only formats that no provider's token has by chance. Keystone's
//! tokens are Fernet envelopes themselves, so the configuration can tolerate the rule. Values that only look
//! random are judged per column: many tokens look random.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{begins_with_one, jwt};

/// Prefixes that libraries and services write. They are too long to occur by chance.
const HEADS: [&str; 22] = [
    // "Salted__" of OpenSSL and CryptoJS in base64, and Fernet's version encoded again in base64 or hex.
    "U2FsdGVkX1",
    "Z0FBQUFB",
    "674141414141",
    // Better Auth, Vault, and prefixes of other programs.
    "$ba$",
    "vault:v",
    "enc:",
    "ENC(",
    "ENC[",
    "{cipher}",
    "encrypted:",
    "$ANSIBLE_VAULT;",
    // The PGP packet in base64, for the ciphers and the digest of pgcrypto, and in ASCII armour.
    "ww0EBwMC",
    "ww0ECAMC",
    "ww0ECQMC",
    "-----BEGIN PGP MESSAGE",
    // AWS KMS, and messages of the AWS Encryption SDK.
    "AQICAH",
    "AQECAH",
    "AYADe",
    "AgV4A",
    // Google Cloud KMS.
    "CiQA",
    "CiUA",
    "CiYA",
];

/// Short tokens may start with one of these by chance.
const SHORTEST_OF_A_SERVICE: usize = 100;

/// Returns true if a text is a known envelope.
pub(super) fn looks_so(text: &str) -> bool {
    match text.as_bytes() {
        [b'g', ..] if is_fernet(text) => true,
        // `{"iv":` in base64, as Laravel writes it. A JWT starts similarly, but has dots.
        [b'e', ..] if text.starts_with("eyJpdiI6") => !text.contains('.'),
        // bytea cast to text.
        [b'\\', b'x', hex @ ..] => is_hex(hex),
        [b'c' | b'C', ..] if is_pgp_in_hex(text) => true,
        [b'I', ..] if is_grafanas(text) => true,
        [b'A' | b'C', ..] if has_head(text) => text.len() >= SHORTEST_OF_A_SERVICE,
        _ => has_head(text) || is_in_parts(text) || is_of_rails(text),
    }
}

/// Returns true for a JWT encrypted with a shared key. Some providers issue such tokens, and some programs
/// store theirs this way.
pub(super) fn is_jwe_with_shared_key(text: &str) -> bool {
    jwt::header_of_jwe(text).is_some_and(|header| header.windows(5).any(|word| word == b"\"dir\""))
}

fn has_head(text: &str) -> bool {
    begins_with_one(text, &HEADS)
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.len().is_multiple_of(2) && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// Returns the number of bytes that a base64 text encodes, if its padding is right.
fn base64_bytes(text: &str) -> Option<usize> {
    let bytes = BASE64_STANDARD.decode(text).map(Zeroizing::new);
    bytes.ok().map(|bytes| bytes.len())
}

/// A nonce of 12 or 16 bytes, a colon, and the rest in one or two parts: in hex, or in base64 if its padding
/// proves it.
fn is_in_parts(text: &str) -> bool {
    let is_colon = |at: usize| text.as_bytes().get(at) == Some(&b':');
    if is_colon(24) || is_colon(32) {
        let mut parts = text.split(':');
        let all_hex = parts.all(|part| !part.is_empty() && is_hex(part.as_bytes()));
        if all_hex && text.split(':').count() <= 3 {
            return true;
        }
    }
    if !is_colon(16) && !is_colon(24) {
        return false;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let sizes: Option<Vec<usize>> = parts.iter().map(|part| base64_bytes(part)).collect();
    // 16 bytes end in two equals signs, 12 bytes in none: then the tag has to prove it.
    sizes.is_some_and(|sizes| match sizes.as_slice() {
        [16, rest] => *rest > 0,
        // A key name, as in n8n, and the ciphertext.
        [12, rest] => *rest >= 64 && text.contains(['+', '/', '=']),
        [12 | 16, one, other] => (*one == 16 || *other == 16) && *one > 0 && *other > 0,
        _ => false,
    })
}

/// Rails: ciphertext, nonce and tag in base64, or a message in base64 and its digest in hex, joined by two
/// dashes.
fn is_of_rails(text: &str) -> bool {
    let dashes_before = |end: usize| {
        let at = text.len().checked_sub(end + 2)?;
        (text.as_bytes().get(at..at + 2)? == b"--").then(|| (&text[..at], &text[at + 2..]))
    };
    if let Some((before, tag)) = dashes_before(24)
        && base64_bytes(tag) == Some(16)
        && let Some((content, nonce)) = before.split_once("--")
    {
        return base64_bytes(content).is_some() && matches!(base64_bytes(nonce), Some(12 | 16));
    }
    [40, 64, 128]
        .into_iter()
        .filter_map(dashes_before)
        .any(|(content, digest)| {
            is_hex(digest.as_bytes()) && base64_bytes(content).is_some_and(|size| size > 0)
        })
}

/// Grafana: base64 of `#`, a key name in base64, `#`, and the ciphertext.
fn is_grafanas(text: &str) -> bool {
    let head = text.get(..text.len().min(80) / 4 * 4);
    let Some(head) = head.and_then(|head| BASE64_STANDARD.decode(head).ok()) else {
        return false;
    };
    let head = Zeroizing::new(head);
    let mut marks = head.split(|byte| *byte == b'#');
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    marks.next().is_some_and(<[u8]>::is_empty)
        && marks
            .next()
            .is_some_and(|name| name.len() >= 8 && name.iter().all(is_name))
        && marks.next().is_some()
}

/// Output of `pgp_sym_encrypt`: a 13-byte packet with a salted key, then an encrypted data packet (RFC 4880).
fn is_pgp_in_hex(text: &str) -> bool {
    let at = |range: std::ops::Range<usize>, hex: &str| {
        text.get(range)
            .is_some_and(|found| found.eq_ignore_ascii_case(hex))
    };
    at(0..6, "c30d04") && at(30..32, "d2")
}

/// Version 0x80, a 64-bit time (upper half zero until 2106), a 16-byte IV, 16-byte blocks and a 32-byte
/// signature: <https://github.com/fernet/spec>.
fn is_fernet(text: &str) -> bool {
    if !text.starts_with("gAAAAA") {
        return false;
    }
    let unpadded = text.trim_end_matches('=');
    let bytes = unpadded.len() * 3 / 4;
    bytes >= 73 && (bytes - 57).is_multiple_of(16)
}
