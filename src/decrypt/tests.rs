//! Values that other programs encrypted, values that somebody touched, and keys that are none.

mod vectors;

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

fn given(keys: &[&str]) -> Material {
    Material {
        keys: keys.iter().map(|&key| Secret::new(key)).collect(),
        ..Material::default()
    }
}

fn decryptor(format: Format, keys: &[&str]) -> Decryptor {
    Decryptor::new("test", format, &given(keys), false).unwrap()
}

fn open(decryptor: &Decryptor, text: &str, is_bytes: bool) -> Result<String, DecryptFailure> {
    let wire = Wire {
        text,
        is_bytes,
        companions: &[],
    };
    decryptor.open(wire).map(|opened| opened.text.reveal().to_owned())
}

fn opened(decryptor: &Decryptor, text: &str) -> Result<String, DecryptFailure> {
    open(decryptor, text, false)
}

fn in_base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}

#[test]
fn what_others_encrypted_is_opened() {
    let fernet = decryptor(Format::Fernet, &[SPEC_KEY]);
    assert_eq!(opened(&fernet, SPEC_TOKEN).unwrap(), "hello");
    let fernet = decryptor(Format::Fernet, &[PYTHON_KEY]);
    assert_eq!(opened(&fernet, PYTHON_TOKEN).unwrap(), PYTHON_TEXT);
    for key in [GCM_KEY, GCM_KEY_HEX, GCM_KEY.trim_end_matches('=')] {
        let gcm = decryptor(Format::Aes256Gcm, &[key]);
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
        let fernet = decryptor(Format::Fernet, &keys);
        assert_eq!(opened(&fernet, SPEC_TOKEN).unwrap(), "hello");
        assert_eq!(opened(&fernet, PYTHON_TOKEN).unwrap(), PYTHON_TEXT);
    }
    let zeros = "0".repeat(64);
    let gcm = decryptor(Format::Aes256Gcm, &[&zeros, GCM_KEY]);
    assert_eq!(opened(&gcm, GCM_VALUE).unwrap(), "ya29.token");
}

#[test]
fn bytes_travel_as_base64() {
    let fernet = decryptor(Format::Fernet, &[PYTHON_KEY]);
    let text = in_base64(PYTHON_TOKEN.as_bytes());
    assert_eq!(open(&fernet, &text, true).unwrap(), PYTHON_TEXT);
    // The token's own bytes, as they stand before base64.
    let bytes = in_base64(&encoding::base64(PYTHON_TOKEN).unwrap());
    assert_eq!(open(&fernet, &bytes, true).unwrap(), PYTHON_TEXT);
    let gcm = decryptor(Format::Aes256Gcm, &[GCM_KEY]);
    assert_eq!(open(&gcm, GCM_VALUE, true).unwrap(), "ya29.token");
}

#[test]
fn a_wrong_key_and_a_changed_byte_are_noticed() {
    let fernet = decryptor(Format::Fernet, &[PYTHON_KEY]);
    assert_eq!(
        opened(&fernet, SPEC_TOKEN).unwrap_err(),
        DecryptFailure::NoKeyFits
    );
    let gcm = decryptor(Format::Aes256Gcm, &["f".repeat(64).as_str()]);
    assert_eq!(opened(&gcm, GCM_VALUE).unwrap_err(), DecryptFailure::NoKeyFits);
    let gcm = decryptor(Format::Aes256Gcm, &[GCM_KEY]);
    // Without its first byte a Fernet token is none.
    for (decryptor, value, first) in [(&fernet, PYTHON_TOKEN, 1), (&gcm, GCM_VALUE, 0)] {
        let mut value = encoding::base64(value).unwrap();
        for position in first..value.len() {
            value[position] ^= 1;
            assert_eq!(
                opened(decryptor, &in_base64(&value)).unwrap_err(),
                DecryptFailure::NoKeyFits,
                "{position}"
            );
            value[position] ^= 1;
        }
    }
}

#[test]
fn what_was_never_encrypted_is_told_apart() {
    let fernet = decryptor(Format::Fernet, &[SPEC_KEY]);
    let gcm = decryptor(Format::Aes256Gcm, &[GCM_KEY]);
    for plain in [
        "ya29.a0AfH6SMB",
        "1//0g-refresh",
        "eyJhbGciOi.J9.sig",
        "not base64 at all!",
        "gAAA",
    ] {
        assert_eq!(
            opened(&fernet, plain).unwrap_err(),
            DecryptFailure::NotEncrypted,
            "{plain}"
        );
    }
    for plain in ["ya29.a0AfH6SMB", "1//0g-refresh", "YWJj"] {
        assert_eq!(
            opened(&gcm, plain).unwrap_err(),
            DecryptFailure::NotEncrypted,
            "{plain}"
        );
    }
    assert_eq!(opened(&fernet, "").unwrap(), "");
}

#[test]
fn a_value_with_the_mark_of_its_format_is_damaged_and_never_plain() {
    let named = Material {
        named_keys: vec![("K1".to_owned(), Secret::new(GCM_KEY))],
        ..Material::default()
    };
    let rails = Material {
        salts: vec![Secret::new("salt")],
        ..given(&["key"])
    };
    let steps = |cipher| Material {
        encoding: Some(Encoding::Hex),
        cipher: Some(cipher),
        ..given(&[GCM_KEY_HEX])
    };
    let cut = "0123456789abcdef01234567:0123456789abcdef0123456789abcdef:012";
    for (format, material, value) in [
        (Format::Fernet, given(&[SPEC_KEY]), &SPEC_TOKEN[..60]),
        (Format::Fernet, given(&[SPEC_KEY]), &SPEC_TOKEN[..61]),
        (Format::Fernet, given(&[SPEC_KEY]), "gAAAAA"),
        (Format::Rails, rails.clone(), "{\"p\":\"AAAA\",\"h\":{\"iv"),
        (Format::Rails, rails, "{\"p\":\"AAAA\"}"),
        (Format::Activepieces, given(&[&GCM_KEY_HEX[..32]]), "{\"iv\":\"00"),
        (Format::CalcomKeyring, named.clone(), "{\"v\":1,\"alg\":\"AES"),
        (
            Format::Nango,
            given(&[GCM_KEY]),
            "{\"encrypted_credentials\":\"AA",
        ),
        (
            Format::Nango,
            given(&[GCM_KEY]),
            "{\"encrypted_credentials\":\"AAAA\"}",
        ),
        (
            Format::Sentry,
            named.clone(),
            "{\"sentry_encrypted_field_value\":\"enc",
        ),
        (
            Format::Sentry,
            named,
            "{\"sentry_encrypted_field_value\":\"enc:fernet:K1:QUFB\"}",
        ),
        (Format::Laravel, given(&[&GCM_KEY_HEX[..32]]), "eyJpdiI6Ikx"),
        (Format::Laravel, given(&[&GCM_KEY_HEX[..32]]), "eyJpdiI6IkxMTExM"),
        (Format::N8n, given(&["key"]), "U2FsdGVkX1+AA"),
        (Format::N8n, given(&["key"]), "U2FsdGVkX18="),
        (Format::Grafana, given(&["key"]), "I2FiY2RlZmc"),
        (Format::Grafana, given(&["key"]), "I2FiY2RlZ"),
        (Format::Steps, steps(Cipher::AesGcm), &GCM_KEY_HEX[..61]),
        (Format::NodeGcmHex, given(&[GCM_KEY_HEX]), cut),
        (Format::NodeGcmHex, given(&[GCM_KEY_HEX]), &cut[..40]),
        (Format::CalcomCbc, given(&[&GCM_KEY_HEX[..32]]), &cut[25..]),
    ] {
        let decryptor = Decryptor::new("test", format, &material, true).unwrap();
        let came_to = decryptor.open(Wire {
            text: value,
            is_bytes: false,
            companions: &[],
        });
        assert_eq!(
            came_to.map(|_| ()).unwrap_err(),
            DecryptFailure::Damaged,
            "{format:?} {value}"
        );
    }
}

#[test]
fn a_value_that_lost_its_nonce_is_damaged() {
    let decryptor = |cipher| {
        let material = Material {
            cipher,
            ..given(&["this-is-a-32-byte-long-test-key!"])
        };
        Decryptor::new("test", Format::AttrEncrypted, &material, true).unwrap()
    };
    let open = |text: &str, nonce: &str| {
        let text = [in_base64(text.as_bytes()), nonce.to_owned()].join(",");
        let wire = Wire {
            text: &text,
            is_bytes: false,
            companions: &[Companion::Nonce],
        };
        decryptor(None).open(wire).map(|opened| opened.was_plain)
    };
    let nonce = in_base64(b"AAAAAAAAAAAAAAAA");
    assert_eq!(open(GCM_VALUE, Wire::NULL), Err(DecryptFailure::Damaged));
    assert_eq!(open("ya29.token", &nonce), Err(DecryptFailure::Damaged));
    assert_eq!(open("AAAA", &nonce), Err(DecryptFailure::Damaged));
    assert_eq!(open("ya29.token", Wire::NULL), Ok(true));
    assert!(decryptor(None).needs(Companion::Nonce));
    assert!(!decryptor(Some(Cipher::AesCbc(Padding::Pkcs7))).needs(Companion::Nonce));
    assert!(!decryptor(None).needs(Companion::Salt));
}

#[test]
fn a_key_of_32_hex_digits_is_taken_as_characters() {
    // Made by Python's `cryptography` 48.0, as the value above.
    let material = Material {
        cipher: Some(Cipher::AesGcm),
        ..given(&["0123456789abcdef0123456789abcdef"])
    };
    let decryptor = Decryptor::new("test", Format::Steps, &material, false).unwrap();
    assert_eq!(
        opened(&decryptor, "ZGVmZ2hpamtsbW5vTH1/bhrTKb4ijdl3KUJHcuXwYGLSDjaQDpw=").unwrap(),
        "ya29.token"
    );
}

#[test]
fn a_key_of_another_length_is_named_by_its_position() {
    for bad in [
        "",
        "short",
        &SPEC_KEY[..40],
        &format!("{SPEC_KEY}AAAA"),
        "not base64!",
    ] {
        for format in [Format::Fernet, Format::Aes256Gcm] {
            let error = Decryptor::new("test", format, &given(&[SPEC_KEY, bad]), false).unwrap_err();
            assert_eq!((error.setting, error.position), (Setting::Keys, Some(2)), "{bad}");
        }
    }
    let hex = given(&[SPEC_KEY, GCM_KEY_HEX]);
    assert!(Decryptor::new("test", Format::Fernet, &hex, false).is_err());
    assert!(Decryptor::new("test", Format::Aes256Gcm, &hex, false).is_ok());
}

#[test]
fn configured_steps_open_what_their_parts_say() {
    let steps = |layout: &str, cipher| Material {
        layout: Layout::parse(layout),
        encoding: Some(Encoding::Hex),
        cipher: Some(cipher),
        ..given(&[GCM_KEY_HEX])
    };
    let bytes = encoding::base64(GCM_VALUE).unwrap();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let (nonce, rest) = bytes.split_at(12);
    let (ciphertext, tag) = rest.split_at(rest.len() - 16);
    for (layout, value) in [
        ("nonce+ciphertext+tag", hex(&bytes)),
        ("tag+nonce+ciphertext", hex(&[tag, nonce, ciphertext].concat())),
        (
            "nonce.tag.ciphertext",
            [nonce, tag, ciphertext].map(hex).join("."),
        ),
    ] {
        let material = steps(layout, Cipher::AesGcm);
        let decryptor = Decryptor::new("test", Format::Steps, &material, false).unwrap();
        assert_eq!(opened(&decryptor, &value).unwrap(), "ya29.token", "{layout}");
        let cut = &value[..value.len() - 2];
        let why = opened(&decryptor, cut).unwrap_err();
        assert!(
            matches!(why, DecryptFailure::NoKeyFits | DecryptFailure::Damaged),
            "{why:?}"
        );
    }
    for bad in [
        "",
        "nonce",
        "ciphertext:tag",
        "nonce:nonce:ciphertext",
        "nonce,salt,ciphertext",
    ] {
        assert_eq!(Layout::parse(bad), None, "{bad}");
    }
    let without_tag = steps("nonce:ciphertext", Cipher::AesGcm);
    let error = Decryptor::new("test", Format::Steps, &without_tag, false).unwrap_err();
    assert_eq!(error.setting, Setting::Layout);
}

#[test]
fn nothing_is_shown() {
    let fernet = decryptor(Format::Fernet, &[SPEC_KEY]);
    assert_eq!(format!("{fernet:?}"), "Decryptor(fernet)");
    assert!(!format!("{:?}", given(&[SPEC_KEY])).contains(SPEC_KEY));
}
