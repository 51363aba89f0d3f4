//! What a column holds that was not decrypted. Only shapes that no provider's token has by chance. Keystone's tokens are
//! Fernet envelopes themselves, which is why the configuration can tolerate the rule.

/// Whether a text is one of the known envelopes.
pub(super) fn looks_so(text: &str) -> bool {
    match text.as_bytes() {
        [b'g', ..] => is_fernet(text),
        // `{"iv":` in base64, as Laravel writes it. A JWT begins alike, and has dots.
        [b'e', ..] => text.starts_with("eyJpdiI6") && !text.contains('.'),
        // A PGP message in ASCII armour.
        [b'-', ..] => text.starts_with("-----BEGIN PGP MESSAGE"),
        // bytea that was cast to text.
        [b'\\', b'x', hex @ ..] => hex.len().is_multiple_of(2) && hex.iter().all(u8::is_ascii_hexdigit),
        [b'c' | b'C', ..] => is_pgp_in_hex(text),
        // The same in base64, for the ciphers and the digest that pgcrypto uses.
        [b'w', ..] => ["ww0EBwMC", "ww0ECAMC", "ww0ECQMC"]
            .iter()
            .any(|head| text.starts_with(head)),
        [b'v', ..] => text.starts_with("vault:v"),
        _ => false,
    }
}

/// What `pgp_sym_encrypt` gives: a packet of 13 bytes with a salted key, and then one of encrypted data (RFC 4880).
fn is_pgp_in_hex(text: &str) -> bool {
    let at = |range: std::ops::Range<usize>, hex: &str| {
        text.get(range)
            .is_some_and(|found| found.eq_ignore_ascii_case(hex))
    };
    at(0..6, "c30d04") && at(30..32, "d2")
}

/// Version 0x80, a time of 64 bits (its upper half zero until 2106), 16 bytes of initialisation vector, blocks of 16 bytes
/// and a signature of 32: <https://github.com/fernet/spec>.
fn is_fernet(text: &str) -> bool {
    if !text.starts_with("gAAAAA") {
        return false;
    }
    let unpadded = text.trim_end_matches('=');
    let bytes = unpadded.len() * 3 / 4;
    bytes >= 73 && (bytes - 57).is_multiple_of(16)
}
