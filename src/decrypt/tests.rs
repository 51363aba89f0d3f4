//! Published vectors, values that other libraries made, and values that somebody touched.

use super::*;

/// The Fernet specification's own (`generate.json`).
const SPEC_KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const SPEC_TOKEN: &str =
    "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

/// Made by Python's `cryptography` 48.0, at a time that lies ahead.
const PYTHON_KEY: &str = "9CjbDK-yXQSKsxMnDjvvqvSpylW0f1boWZ-pFenilK0=";
const PYTHON_TOKEN: &str = "gAAAAABrAmaJScRcMGmAcJjVSv1jlrhRs6E1PCf-Qsddl1-d-J4rKFR4dpehiNSXNnH3vpDL5elnlLcoe4bRlPTHFd35Dw_7dkhR4gc1b_XciveXseKMKRU=";
const PYTHON_TEXT: &str = "ya29.grüß-token";

/// Made by Python's `cryptography` 48.0: nonce, then what `AESGCM.encrypt` gives.
const GCM_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const GCM_KEY_HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const GCM_VALUE: &str = "ZGVmZ2hpamtsbW5vMXrsX1edOfVbDDoWTWz24bAYQuxghgNu/m8=";

fn decryptor(method: Method, keys: &[&str]) -> Decryptor {
    let keys: Vec<Secret> = keys.iter().map(|&key| Secret::new(key)).collect();
    Decryptor::new(method, &keys).unwrap()
}

fn opened(decryptor: &Decryptor, sealed: &str) -> Result<String, DecryptFailure> {
    let opened = decryptor.open(sealed, Wrapping::Text);
    opened.map(|secret| secret.reveal().to_owned())
}

#[test]
fn what_others_encrypted_is_opened() {
    let fernet = decryptor(Method::Fernet, &[SPEC_KEY]);
    assert_eq!(opened(&fernet, SPEC_TOKEN).unwrap(), "hello");
    let fernet = decryptor(Method::Fernet, &[PYTHON_KEY]);
    assert_eq!(opened(&fernet, PYTHON_TOKEN).unwrap(), PYTHON_TEXT);
    for key in [GCM_KEY, GCM_KEY_HEX, GCM_KEY.trim_end_matches('=')] {
        let gcm = decryptor(Method::Aes256Gcm, &[key]);
        assert_eq!(opened(&gcm, GCM_VALUE).unwrap(), "ya29.token");
        let url_safe = GCM_VALUE.replace('+', "-").replace('/', "_");
        assert_eq!(
            opened(&gcm, url_safe.trim_end_matches('=')).unwrap(),
            "ya29.token"
        );
        assert_eq!(
            opened(&gcm, &format!("{}\n{}\n", &GCM_VALUE[..20], &GCM_VALUE[20..])).unwrap(),
            "ya29.token"
        );
    }
}

#[test]
fn every_key_is_tried() {
    for keys in [[SPEC_KEY, PYTHON_KEY], [PYTHON_KEY, SPEC_KEY]] {
        let fernet = decryptor(Method::Fernet, &keys);
        assert_eq!(opened(&fernet, SPEC_TOKEN).unwrap(), "hello");
        assert_eq!(opened(&fernet, PYTHON_TOKEN).unwrap(), PYTHON_TEXT);
    }
    let zeros = "0".repeat(64);
    let gcm = decryptor(Method::Aes256Gcm, &[&zeros, GCM_KEY]);
    assert_eq!(opened(&gcm, GCM_VALUE).unwrap(), "ya29.token");
}

#[test]
fn bytes_travel_as_base64() {
    let bytes = STANDARD.encode(PYTHON_TOKEN);
    let fernet = decryptor(Method::Fernet, &[PYTHON_KEY]);
    let open = |sealed: &str| fernet.open(sealed, Wrapping::Bytes).unwrap().reveal().to_owned();
    assert_eq!(open(&bytes), PYTHON_TEXT);
    // The token's own bytes, as they stand before base64.
    assert_eq!(
        open(&STANDARD.encode(URL_SAFE.decode(PYTHON_TOKEN).unwrap())),
        PYTHON_TEXT
    );
    let gcm = decryptor(Method::Aes256Gcm, &[GCM_KEY]);
    assert_eq!(
        gcm.open(GCM_VALUE, Wrapping::Bytes).unwrap().reveal(),
        "ya29.token"
    );
}

#[test]
fn a_wrong_key_and_a_changed_byte_are_noticed() {
    let fernet = decryptor(Method::Fernet, &[PYTHON_KEY]);
    assert_eq!(
        opened(&fernet, SPEC_TOKEN).unwrap_err(),
        DecryptFailure::NoKeyFits
    );
    let mut token = URL_SAFE.decode(PYTHON_TOKEN).unwrap();
    for position in 1..token.len() {
        token[position] ^= 1;
        assert_eq!(
            opened(&fernet, &URL_SAFE.encode(&token)).unwrap_err(),
            DecryptFailure::NoKeyFits,
            "{position}"
        );
        token[position] ^= 1;
    }
    let gcm = decryptor(Method::Aes256Gcm, &["f".repeat(64).as_str()]);
    assert_eq!(opened(&gcm, GCM_VALUE).unwrap_err(), DecryptFailure::NoKeyFits);
    let gcm = decryptor(Method::Aes256Gcm, &[GCM_KEY]);
    let mut value = STANDARD.decode(GCM_VALUE).unwrap();
    for position in 0..value.len() {
        value[position] ^= 1;
        assert_eq!(
            opened(&gcm, &STANDARD.encode(&value)).unwrap_err(),
            DecryptFailure::NoKeyFits,
            "{position}"
        );
        value[position] ^= 1;
    }
}

#[test]
fn what_was_never_encrypted_is_told_apart() {
    let fernet = decryptor(Method::Fernet, &[SPEC_KEY]);
    let gcm = decryptor(Method::Aes256Gcm, &[GCM_KEY]);
    let short = &SPEC_TOKEN[..60];
    for plain in [
        "",
        "ya29.a0AfH6SMB",
        "1//0g-refresh",
        "eyJhbGciOi.J9.sig",
        "not base64 at all!",
        short,
        "gAAA",
    ] {
        assert_eq!(
            opened(&fernet, plain).unwrap_err(),
            DecryptFailure::NotEncrypted,
            "{plain}"
        );
    }
    for plain in ["", "ya29.a0AfH6SMB", "1//0g-refresh", "YWJj"] {
        assert_eq!(
            opened(&gcm, plain).unwrap_err(),
            DecryptFailure::NotEncrypted,
            "{plain}"
        );
    }
}

#[test]
fn a_key_of_another_length_is_named_by_its_position() {
    let keys = |second: &str| [Secret::new(SPEC_KEY), Secret::new(second)];
    for bad in [
        "",
        "short",
        &SPEC_KEY[..40],
        &format!("{SPEC_KEY}AAAA"),
        "not base64!",
    ] {
        for method in [Method::Fernet, Method::Aes256Gcm] {
            let error = Decryptor::new(method, &keys(bad)).unwrap_err();
            assert_eq!(error.position, 2, "{bad}");
        }
    }
    assert!(Decryptor::new(Method::Fernet, &keys(GCM_KEY_HEX)).is_err());
    assert!(Decryptor::new(Method::Aes256Gcm, &keys(GCM_KEY_HEX)).is_ok());
}

#[test]
fn nothing_is_shown() {
    let fernet = decryptor(Method::Fernet, &[SPEC_KEY]);
    assert_eq!(format!("{fernet:?}"), "Decryptor(Fernet)");
}
