//! Values in all formats, made by independent implementations, with what each must come to.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/encrypted-values.json");

fn texts(value: &Json) -> Vec<Secret> {
    match value {
        Json::String(text) => vec![Secret::new(text.as_str())],
        Json::Array(list) => list.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn split(value: &Json) -> Vec<Secret> {
    let parts = value.as_str().unwrap_or_default().split(',');
    parts.filter(|part| !part.is_empty()).map(Secret::new).collect()
}

/// The format's name here, and what a user of it would configure.
fn material(format: &str, config: &Json, context: &Json) -> (Format, Material) {
    let mut material = Material::default();
    let words: Vec<&str> = match &config["hash_digest"] {
        Json::Array(list) => list.iter().filter_map(Json::as_str).collect(),
        word => word.as_str().into_iter().collect(),
    };
    material.digests = words
        .iter()
        .map(|word| {
            if *word == "SHA1" {
                Digest::Sha1
            } else {
                Digest::Sha256
            }
        })
        .collect();
    let (format, keys) = match format {
        "fernet" => (Format::Fernet, split(&config["keys"])),
        "posthog-fernet" => {
            material.old_keys = texts(&config["SECRET_KEY"]);
            material.salts = texts(&config["SALT_KEY"]);
            (Format::PosthogFernet, split(&config["ENCRYPTION_SALT_KEYS"]))
        }
        "sentry" => {
            let named = config["fernet_keys"].as_object().unwrap().iter();
            material.named_keys = named
                .map(|(name, key)| (name.clone(), texts(key).remove(0)))
                .collect();
            (Format::Sentry, Vec::new())
        }
        "django-fernet-fields" => {
            material.hashes_key = config["FERNET_USE_HKDF"].as_bool();
            (Format::DjangoFernetFields, texts(&config["FERNET_KEYS"]))
        }
        "django-fernet-encrypted-fields" => {
            material.salts = texts(&config["SALT_KEY"]);
            let keys = [
                texts(&config["SECRET_KEY"]),
                texts(&config["SECRET_KEY_FALLBACKS"]),
            ];
            (Format::DjangoFernetEncryptedFields, keys.concat())
        }
        "django-cryptography" => (Format::DjangoCryptography, texts(&config["SECRET_KEY"])),
        "sqlalchemy-utils-fernet" => (Format::SqlalchemyUtilsFernet, texts(&config["key"])),
        "sqlalchemy-utils-aesgcm" => (Format::SqlalchemyUtilsAesGcm, texts(&config["key"])),
        "sqlalchemy-utils-aes" => {
            material.padding = match config["padding"].as_str().unwrap() {
                "pkcs5" => Some(Padding::Pkcs7),
                "zeroes" => Some(Padding::Zeros),
                "oneandzeroes" => Some(Padding::OneAndZeros),
                _ => None,
            };
            (Format::SqlalchemyUtilsAes, texts(&config["key"]))
        }
        "rails-ar-encryption" => {
            material.salts = texts(&config["key_derivation_salt"]);
            let primary = if config["deterministic"] == true {
                &config["deterministic_key"]
            } else {
                &config["primary_key"]
            };
            (Format::Rails, texts(primary))
        }
        "attr_encrypted" => {
            material.cipher =
                (config["algorithm"] == "aes-256-cbc").then_some(Cipher::AesCbc(Padding::Pkcs7));
            (Format::AttrEncrypted, texts(&config["key"]))
        }
        "lockbox" => {
            material.table = context["table"].as_str().map(str::to_owned);
            material.attribute = context["attribute"].as_str().map(str::to_owned);
            material.cipher = match config["algorithm"].as_str().unwrap() {
                "xchacha20" => Some(Cipher::XChaCha20Poly1305),
                "xsalsa20" => Some(Cipher::XSalsa20Poly1305),
                _ => None,
            };
            material.padding = (config["padding"] == true).then_some(Padding::OneAndZeros);
            (Format::Lockbox, texts(&config["master_key"]))
        }
        "laravel" => {
            let keys = [texts(&config["APP_KEY"]), split(&config["APP_PREVIOUS_KEYS"])];
            (Format::Laravel, keys.concat())
        }
        other => return of_node_and_go(other, config, material),
    };
    material.keys = keys;
    (format, material)
}

/// The same of the other formats.
fn of_node_and_go(format: &str, config: &Json, mut material: Material) -> (Format, Material) {
    let (format, keys) = match format {
        "node-gcm-hex" => {
            let order = config["order"].as_str().unwrap();
            material.layout = (order == "iv:ciphertext:tag").then(|| Layout::parse(order).unwrap());
            (Format::NodeGcmHex, texts(&config["key"]))
        }
        "calcom-cbc" => (Format::CalcomCbc, texts(&config["CALENDSO_ENCRYPTION_KEY"])),
        "calcom-keyring" => {
            let named = config.as_object().unwrap().iter().filter_map(|(name, key)| {
                let name = name.strip_prefix("CALCOM_KEYRING_CREDENTIALS_")?;
                (name != "CURRENT").then(|| (name.to_owned(), texts(key).remove(0)))
            });
            material.named_keys = named.collect();
            (Format::CalcomKeyring, Vec::new())
        }
        "activepieces" => (Format::Activepieces, texts(&config["AP_ENCRYPTION_KEY"])),
        "nango" => (Format::Nango, texts(&config["NANGO_ENCRYPTION_KEY"])),
        "kratos-aes" => (Format::KratosAes, texts(&config["secrets.cipher"])),
        "kratos-xchacha20" => (Format::KratosXchacha20, texts(&config["secrets.cipher"])),
        "kratos-noop" => (Format::KratosNoop, Vec::new()),
        "better-auth" => {
            let versions = split(&config["BETTER_AUTH_SECRETS"]);
            material.named_keys = versions
                .iter()
                .map(|pair| pair.reveal().split_once(':').unwrap())
                .map(|(version, key)| (version.to_owned(), Secret::new(key)))
                .collect();
            (Format::BetterAuth, texts(&config["BETTER_AUTH_SECRET"]))
        }
        "n8n-cbc" | "n8n-gcm" => (Format::N8n, texts(&config["N8N_ENCRYPTION_KEY"])),
        "grafana" => (Format::Grafana, texts(&config["secret_key"])),
        "twenty" => {
            let keys = [
                texts(&config["ENCRYPTION_KEY"]),
                texts(&config["FALLBACK_ENCRYPTION_KEY"]),
            ];
            (Format::Twenty, keys.concat())
        }
        other => panic!("{other} is not covered"),
    };
    material.keys = keys;
    (format, material)
}

fn data_keys(config: &Json) -> Vec<(String, String)> {
    let pairs = |list: &Json, name: &str, key: &str| -> Vec<(String, String)> {
        let text = |row: &Json, field: &str| row[field].as_str().unwrap().to_owned();
        let rows = list.as_array().into_iter().flatten();
        rows.map(|row| (text(row, name), text(row, key))).collect()
    };
    [
        pairs(&config["data_keys"], "name", "encrypted_data"),
        pairs(&config["deployment_key"], "id", "value"),
    ]
    .concat()
}

/// The value's column, and its companions' as they travel; `None` if the value is null or empty.
fn wire(vector: &Json, format: Format, decode: bool) -> Option<(String, Vec<Companion>)> {
    let columns = vector["columns"].as_object().unwrap();
    let companion = |companion: Companion| -> Option<&Json> {
        match companion {
            Companion::Context => vector["context"].as_object()?.values().next(),
            companion => {
                let suffix = match companion {
                    Companion::Nonce => "_iv",
                    Companion::Tag => "_tag",
                    _ => "_salt",
                };
                let (_, value) = columns.iter().find(|(name, _)| name.ends_with(suffix))?;
                Some(value)
            }
        }
    };
    let is_companion = |name: &str| {
        ["_iv", "_tag", "_salt"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
    };
    let (_, value) = columns
        .iter()
        .find(|(name, _)| !is_companion(name) && *name != "is_encrypted")
        .unwrap();
    let value = value.as_str().filter(|value| !value.is_empty())?;
    let bytes = match value.strip_prefix("\\x").filter(|_| decode) {
        Some(digits) => encoding::hex(digits).unwrap().to_vec(),
        None => value.as_bytes().to_vec(),
    };
    let wanted: Vec<Companion> = format
        .companions()
        .iter()
        .map(|(companion, _)| *companion)
        .collect();
    if wanted.is_empty() && !decode {
        return Some((value.to_owned(), wanted));
    }
    let mut parts = vec![in_base64(&bytes)];
    for &one in &wanted {
        let text = companion(one).and_then(Json::as_str);
        parts.push(text.map_or(Wire::NULL.to_owned(), |text| in_base64(text.as_bytes())));
    }
    Some((parts.join(","), wanted))
}

/// Deriving keys takes long, and many vectors have the same.
type Prepared = HashMap<String, Decryptor>;

fn place(vector: &Json, accepts_plain: bool) -> String {
    format!(
        "{} {} {} {accepts_plain}",
        vector["format"], vector["config"], vector["context"]
    )
}

/// What a vector comes to: `None` if there is no value.
fn result(
    prepared: &mut Prepared,
    vector: &Json,
    accepts_plain: bool,
) -> Option<Result<String, DecryptFailure>> {
    let (format, material) = material(
        vector["format"].as_str().unwrap(),
        &vector["config"],
        &vector["context"],
    );
    let decryptor = prepared.entry(place(vector, accepts_plain)).or_insert_with(|| {
        let decryptor = Decryptor::new("test", format, &material, accepts_plain).unwrap();
        decryptor.with_data_keys(&data_keys(&vector["config"])).unwrap()
    });
    let is_bytes = vector["column_type"] == "bytea";
    let (mut text, companions) = wire(vector, format, is_bytes)?;
    if format.seals_leaves() {
        let leaves: Json = serde_json::from_str(&text).unwrap();
        leaves["access_token"].as_str()?.clone_into(&mut text);
    }
    let wire = Wire {
        text: &text,
        is_bytes,
        companions: &companions,
    };
    let opened = decryptor.open(wire);
    let is_plain = vector["expect"] == "not_encrypted";
    Some(opened.map(|opened| {
        assert_eq!(opened.was_plain, is_plain, "{}", vector["id"]);
        opened.text.reveal().to_owned()
    }))
}

fn vectors() -> Vec<Json> {
    let all: Json = serde_json::from_str(VECTORS).unwrap();
    all["vectors"].as_array().unwrap().clone()
}

#[test]
fn every_value_comes_to_what_its_maker_says() {
    let (vectors, mut prepared) = (vectors(), Prepared::new());
    assert_eq!(vectors.len(), 301);
    for vector in &vectors {
        let id = vector["id"].as_str().unwrap();
        let plaintext = vector["plaintext"].as_str();
        let came_to = result(&mut prepared, vector, false);
        match vector["expect"].as_str().unwrap() {
            "plaintext" => {
                let opened = came_to.unwrap().unwrap_or_else(|why| panic!("{id}: {why:?}"));
                assert_eq!(Some(opened.as_str()), plaintext, "{id}");
                let fields = vector["fields"].as_object().into_iter().flatten();
                if !opened.starts_with('{') {
                    continue;
                }
                let document: Json = serde_json::from_str(&opened).unwrap();
                for (pointer, value) in fields {
                    assert_eq!(
                        document.pointer(pointer).unwrap_or(&Json::Null),
                        value,
                        "{id} {pointer}"
                    );
                }
            }
            "none" => assert_eq!(came_to, None, "{id}"),
            "not_encrypted" => {
                assert_eq!(came_to, Some(Err(DecryptFailure::NotEncrypted)), "{id}");
                // Where plain values are accepted, they are handed out as they are.
                let plain = result(&mut prepared, vector, true).unwrap().unwrap();
                assert_eq!(Some(plain.as_str()), plaintext, "{id}");
            }
            "fails" => {
                let why = came_to.unwrap().expect_err(id);
                assert_ne!(why, DecryptFailure::NotEncrypted, "{id}");
                // Nor is it taken for a plain value.
                assert_eq!(result(&mut prepared, vector, true), Some(Err(why)), "{id}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_data_key_is_tried_under_every_secret() {
    let vectors = vectors();
    let with_data_keys = vectors.iter().filter(|vector| {
        vector["format"] == "grafana"
            && vector["expect"] == "plaintext"
            && !data_keys(&vector["config"]).is_empty()
    });
    let mut tried = 0;
    for vector in with_data_keys {
        let (format, mut material) = material("grafana", &vector["config"], &vector["context"]);
        material.keys.insert(0, Secret::new("another secret"));
        let decryptor = Decryptor::new("test", format, &material, false).unwrap();
        let decryptor = decryptor.with_data_keys(&data_keys(&vector["config"])).unwrap();
        let (text, _) = wire(vector, format, false).unwrap();
        let plaintext = vector["plaintext"].as_str().unwrap();
        assert_eq!(opened(&decryptor, &text).unwrap(), plaintext, "{}", vector["id"]);
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn the_reason_tells_a_wrong_key_from_an_unknown_one_and_a_damaged_value() {
    let (vectors, mut prepared) = (vectors(), Prepared::new());
    let mut why = |id: &str| {
        let vector = vectors.iter().find(|vector| vector["id"] == id).unwrap();
        result(&mut prepared, vector, false).unwrap().unwrap_err()
    };
    for (id, expected) in [
        ("fernet-07", DecryptFailure::NoKeyFits),
        ("sentry-07", DecryptFailure::UnknownKey),
        ("better-auth-10", DecryptFailure::UnknownKey),
        ("grafana-11", DecryptFailure::UnknownKey),
        ("n8n-gcm-08", DecryptFailure::UnknownKey),
        ("twenty-07", DecryptFailure::UnknownKey),
        ("calcom-keyring-08", DecryptFailure::UnknownKey),
        ("rails-ar-encryption-18", DecryptFailure::NoKeyFits),
        ("rails-ar-encryption-23", DecryptFailure::Damaged),
        ("n8n-gcm-11", DecryptFailure::Damaged),
        ("twenty-11", DecryptFailure::Damaged),
        ("kratos-noop-06", DecryptFailure::Damaged),
        ("kratos-noop-07", DecryptFailure::NotText),
        ("django-cryptography-07", DecryptFailure::NotText),
        ("kratos-aes-06", DecryptFailure::NoKeyFits),
        ("kratos-aes-08", DecryptFailure::OnlyEncoded),
        ("activepieces-09", DecryptFailure::NoKeyFits),
    ] {
        assert_eq!(why(id), expected, "{id}");
    }
}
