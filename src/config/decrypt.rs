//! `[source.decrypt]`: formats of encrypted columns, with their keys.

use config::ValueKind;

use super::{
    columns::{Decryption, Expression},
    nearest::nearest,
    reader::Reader,
};
use crate::{
    decrypt::{BadMaterial, Cipher, Decryptor, Digest, Encoding, Format, Layout, Material, Padding, Setting},
    secret::Secret,
};

const SECTION: &str = "source.decrypt";

pub(super) const CIPHERS: [(&str, Cipher); 5] = [
    ("aes-256-gcm", Cipher::AesGcm),
    ("aes-256-cbc", Cipher::AesCbc(Padding::Pkcs7)),
    ("aes-256-cbc-hmac-sha256", Cipher::AesCbcHmac),
    ("xchacha20-poly1305", Cipher::XChaCha20Poly1305),
    ("xsalsa20-poly1305", Cipher::XSalsa20Poly1305),
];

pub(super) const PADDINGS: [(&str, Padding); 4] = [
    ("pkcs7", Padding::Pkcs7),
    ("asterisks", Padding::Asterisks),
    ("zeros", Padding::Zeros),
    ("one-and-zeros", Padding::OneAndZeros),
];

pub(super) const DIGESTS: [(&str, &[Digest]); 3] = [
    ("sha256", &[Digest::Sha256]),
    ("sha1", &[Digest::Sha1]),
    ("either", &[Digest::Sha256, Digest::Sha1]),
];

pub(super) const ENCODINGS: [(&str, Encoding); 2] = [("base64", Encoding::Base64), ("hex", Encoding::Hex)];

/// Whether the key is hashed.
pub(super) const KEY_HASHES: [(&str, bool); 3] = [("none", false), ("sha256", true), ("hkdf", true)];

/// A format under a name, for every column that names it.
struct Shared {
    /// With underscores: dashes cannot be part of a variable's name.
    name: String,
    key: String,
    /// `None` if something is wrong with it, which is recorded.
    format: Option<(Configured, Decryptor)>,
}

#[derive(Clone)]
struct Configured {
    format: Format,
    given: Material,
    accepts_plain: bool,
    /// The query for data keys.
    data_keys: Option<String>,
}

impl Configured {
    fn with_keys(format: Format, keys: Vec<Secret>) -> Self {
        Self {
            format,
            given: Material {
                keys,
                ..Material::default()
            },
            accepts_plain: false,
            data_keys: None,
        }
    }

    fn depends_on_column(&self) -> bool {
        self.format.settings().contains(&Setting::Attribute)
    }
}

/// The formats of `[source.decrypt]`.
pub(super) struct SharedFormats(Vec<Shared>);

/// What a column says about its decryption.
pub(super) struct Wanted<'a> {
    /// The key of `decrypt`, and its value.
    pub(super) key: String,
    pub(super) name: String,
    /// The key of the column's own keys, if it has them.
    pub(super) own_keys: Option<String>,
    /// Plain values are accepted, whatever the format says.
    pub(super) accepts_plain: bool,
    pub(super) expression: Option<&'a Expression>,
    pub(super) table: Option<&'a str>,
}

/// Marks a problem that is already recorded.
pub(super) struct Recorded;

/// Reads `[source.decrypt]`. Malformed keys are reported even if no column uses them.
pub(super) fn shared_formats(reader: &mut Reader<'_>) -> SharedFormats {
    // Always known, so that their absence shows in reports.
    let usual = ["fernet", "aes_256_gcm"].map(str::to_owned);
    let others = reader.names(SECTION);
    let names = usual
        .iter()
        .cloned()
        .chain(others.into_iter().filter(|name| !usual.contains(name)));
    let shared = names
        .map(|name| {
            let key = format!("{SECTION}.{name}");
            // It may be a key, whatever is wrong with its name.
            let format = reader
                .hidden_value(&key)
                .is_some()
                .then(|| shared_format(reader, &key, &name));
            (name, key, format)
        })
        .filter_map(|(name, key, format)| {
            let name = name.replace('-', "_");
            format.map(|format| Shared { name, key, format })
        })
        .collect();
    SharedFormats(shared)
}

fn shared_format(reader: &mut Reader<'_>, key: &str, name: &str) -> Option<(Configured, Decryptor)> {
    let before = reader.problem_count();
    let mut configured = if is_table(reader, key) {
        // For a table, only the inner keys are known keys.
        reader.forget(key);
        let format_key = format!("{key}.format");
        let wanted = reader.text(&format_key).unwrap_or_else(|| name.to_owned());
        let format = find_format(reader, &format_key, &wanted)?;
        settings(reader, key, format)
    } else {
        let Some(format) = Format::find(name) else {
            let names = Format::ALL.map(|format| format.name().replace('-', "_"));
            let must = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("is not a known key; did you mean `{SECTION}.{near}`?"),
                None => {
                    "is not a known key: it must be the name of a format, or a table with `format`".to_owned()
                }
            };
            reader.problem(key, must);
            return None;
        };
        Configured::with_keys(format, secrets(reader, key, !format.has_encoded_keys())?)
    };
    if reader.problem_count() > before {
        return None;
    }
    let (table, attribute) = (configured.given.table.clone(), configured.given.attribute.clone());
    if configured.depends_on_column() {
        configured.given.table.get_or_insert_default();
        configured.given.attribute.get_or_insert_default();
    }
    let decryptor = prepare(reader, key, &configured)?;
    configured.given.table = table;
    configured.given.attribute = attribute;
    Some((configured, decryptor))
}

fn find_format(reader: &mut Reader<'_>, key: &str, name: &str) -> Option<Format> {
    let found = Format::find(name.trim());
    if found.is_none() {
        let names = || Format::ALL.into_iter().map(Format::name);
        let hint = match nearest(name, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("the formats are {}", names().collect::<Vec<_>>().join(", ")),
        };
        reader.problem(key, format!("must be the name of a format; {hint}"));
    }
    found
}

fn secrets(reader: &mut Reader<'_>, key: &str, takes_texts: bool) -> Option<Vec<Secret>> {
    if takes_texts {
        reader.whole_secrets(key)
    } else {
        reader.secrets(key)
    }
}

fn settings(reader: &mut Reader<'_>, key: &str, format: Format) -> Configured {
    let hashes_key = key_hash(reader, key, format);
    let mut given = Material {
        hashes_key,
        ..Material::default()
    };
    let mut data_keys = None;
    for &setting in format.settings() {
        let key = format!("{key}.{}", setting.name());
        let value = if setting.is_secret() {
            reader.hidden_value(&key)
        } else {
            reader.value(&key)
        };
        if value.is_none() {
            continue;
        }
        match setting {
            Setting::Keys => {
                // What is hashed is a text, and no encoded key.
                let takes_texts = !format.has_encoded_keys() || hashes_key == Some(true);
                given.keys = secrets(reader, &key, takes_texts).unwrap_or_default();
            }
            Setting::NamedKeys => given.named_keys = reader.named_secrets(&key).unwrap_or_default(),
            Setting::OldKeys => given.old_keys = reader.whole_secrets(&key).unwrap_or_default(),
            Setting::Salts => given.salts = reader.whole_secrets(&key).unwrap_or_default(),
            Setting::Digest => given.digests = reader.word(&key, DIGESTS).to_vec(),
            Setting::DataKeys => data_keys = reader.sql(&key),
            Setting::Table => given.table = reader.text(&key),
            Setting::Attribute => given.attribute = reader.text(&key),
            Setting::Encoding => given.encoding = Some(reader.word(&key, ENCODINGS)),
            Setting::Layout => {
                given.layout = reader.text(&key).and_then(|text| Layout::parse(&text));
                if given.layout.is_none() {
                    let must = "must name nonce, ciphertext and tag in their order: joined by `+` if they are encoded \
                                together, else by what separates them, such as \"nonce:tag:ciphertext\"";
                    reader.problem(key, must);
                }
            }
            Setting::NonceBytes => given.nonce_bytes = Some(reader.number(&key, 12, 8)),
            Setting::Cipher => given.cipher = Some(reader.word(&key, CIPHERS)),
            Setting::Padding => given.padding = Some(reader.word(&key, PADDINGS)),
            // Read before all others.
            Setting::KeyHash => {}
            Setting::Inflate => given.inflate = reader.flag(&key, false),
        }
    }
    Configured {
        format,
        given,
        accepts_plain: accepts_plain(reader, key),
        data_keys,
    }
}

/// Reads `key_hash`, which decides how keys are read.
fn key_hash(reader: &mut Reader<'_>, key: &str, format: Format) -> Option<bool> {
    if !format.settings().contains(&Setting::KeyHash) {
        return None;
    }
    let key = format!("{key}.{}", Setting::KeyHash.name());
    reader.value(&key)?;
    Some(reader.word(&key, KEY_HASHES))
}

/// Reads `plain`.
pub(super) fn accepts_plain(reader: &mut Reader<'_>, key: &str) -> bool {
    let key = format!("{key}.plain");
    reader.value(&key).is_some() && reader.word(&key, [("refuse", false), ("accept", true)])
}

impl SharedFormats {
    /// Returns the decryption that a column asks for, without its companions.
    pub(super) fn decryption(
        &self,
        reader: &mut Reader<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Decryption, Recorded> {
        let name = wanted.name.trim().replace('-', "_");
        let shared = self.0.iter().find(|shared| shared.name == name);
        let (key, mut configured) = match (shared, &wanted.own_keys) {
            (Some(shared), None) => {
                let (configured, decryptor) = shared.format.as_ref().ok_or(Recorded)?;
                if !configured.depends_on_column() && (configured.accepts_plain || !wanted.accepts_plain) {
                    return Ok(Decryption {
                        decryptor: decryptor.clone(),
                        companions: Vec::new(),
                        data_keys: configured.data_keys.clone(),
                    });
                }
                (shared.key.clone(), configured.clone())
            }
            (_, Some(own_keys)) => {
                let format = find_format(reader, &wanted.key, &wanted.name).ok_or(Recorded)?;
                let keys = secrets(reader, own_keys, !format.has_encoded_keys()).ok_or(Recorded)?;
                (own_keys.clone(), Configured::with_keys(format, keys))
            }
            (None, None) => {
                let format = find_format(reader, &wanted.key, &wanted.name).ok_or(Recorded)?;
                if format.settings().contains(&Setting::Keys) {
                    let all = format!("{SECTION}.{}", format.name().replace('-', "_"));
                    let must = format!("needs keys: `keys` next to it, or `{all}` for all columns");
                    reader.problem(&wanted.key, must);
                    return Err(Recorded);
                }
                (wanted.key.clone(), Configured::with_keys(format, Vec::new()))
            }
        };
        if configured.depends_on_column() {
            let given = &mut configured.given;
            given.table = given.table.take().or_else(|| wanted.table.map(str::to_owned));
            if let (None, Some(Expression::Column(column))) = (&given.attribute, wanted.expression) {
                given.attribute = Some(column.clone());
            }
        }
        configured.accepts_plain |= wanted.accepts_plain;
        Ok(Decryption {
            decryptor: prepare(reader, &key, &configured).ok_or(Recorded)?,
            companions: Vec::new(),
            data_keys: configured.data_keys,
        })
    }
}

/// Derives the keys; records what is wrong with them.
fn prepare(reader: &mut Reader<'_>, key: &str, configured: &Configured) -> Option<Decryptor> {
    let Configured {
        format,
        given,
        accepts_plain,
        ..
    } = configured;
    let attribute = given.attribute.as_deref().unwrap_or_default();
    let place = format!("{key} {attribute} {accepts_plain}");
    match Decryptor::new(place, *format, given, *accepts_plain) {
        Ok(decryptor) => Some(decryptor),
        Err(BadMaterial {
            setting,
            position,
            must,
        }) => {
            let count = given.keys.len().max(given.named_keys.len());
            let which = position.map_or_else(String::new, |position| format!(" (key {position} of {count})"));
            let key = if is_table(reader, key) {
                format!("{key}.{}", setting.name())
            } else {
                key.to_owned()
            };
            reader.problem(key, format!("{must}{which}"));
            None
        }
    }
}

fn is_table(reader: &Reader<'_>, key: &str) -> bool {
    matches!(
        reader.peek(key).map(|value| &value.kind),
        Some(ValueKind::Table(_))
    )
}
