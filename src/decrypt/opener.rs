//! The opener of each format: its keys, derived once, and the way from a stored value to the plaintext.

use zeroize::Zeroizing;

use super::{
    attr_encrypted,
    cipher::{Cipher, Padding},
    derive::{Digest, KeyBytes, hkdf_sha256, hkdf_sha384, pbkdf2, sha256},
    django_cryptography,
    encoding::{Encoding, hex},
    fernet,
    format::{Format, Setting},
    grafana, json_envelope, laravel,
    layout::{Layout, Part, Parts},
    material::{
        BadMaterial, Material, as_it_is, bad, base64_key, encoded_key, hex_key, latin_1_key, raw_key,
    },
    n8n, prefixed, rails,
    steps::Steps,
    value::{Companions, Value},
};
use crate::domain::DecryptFailure;

/// A format with its keys.
#[derive(Clone)]
pub(super) enum Opener {
    Fernet(Vec<KeyBytes>),
    Steps(Steps, Vec<KeyBytes>),
    /// AES-CBC with a fixed IV, which is the beginning of the key.
    SqlalchemyAes(Padding, Vec<KeyBytes>),
    KratosNoop,
    /// Kratos writes the plain text in hex, too, where no cipher is configured.
    Kratos(Steps, Vec<KeyBytes>),
    AttrEncrypted {
        keys: Vec<KeyBytes>,
        is_version_1: bool,
    },
    BetterAuth {
        keys: Vec<KeyBytes>,
        versions: Vec<(String, KeyBytes)>,
    },
    Twenty(Vec<(String, KeyBytes)>),
    Activepieces(Vec<KeyBytes>),
    CalcomKeyring(Vec<(String, KeyBytes)>),
    Nango(Vec<KeyBytes>),
    Sentry(Vec<(String, KeyBytes)>),
    DjangoCryptography(Vec<django_cryptography::Key>),
    Laravel(Vec<KeyBytes>),
    Rails(Vec<KeyBytes>),
    Grafana {
        secrets: Vec<KeyBytes>,
        data_keys: Vec<(String, KeyBytes)>,
    },
    N8n {
        keys: Vec<KeyBytes>,
        data_keys: Vec<(String, KeyBytes)>,
    },
}

const FERNET_KEY: &str = "must be a Fernet key: 32 bytes in URL-safe base64 (44 characters)";
const AES_KEY: &str = "must be a key for AES-256: 32 bytes in base64 (44 characters) or hex (64 characters)";
const CHARACTERS: &str = "must be a key of 32 characters";
const NAMED: &str = "must be keys by their names: { NAME = \"env:KEY\" }";

impl Opener {
    /// Derives the keys.
    pub(super) fn new(format: Format, given: &Material) -> Result<Self, BadMaterial> {
        use Encoding::{Base64, Hex};
        let hashed = |text: &str| as_it_is(text).map(|bytes| sha256(&bytes));
        Ok(match format {
            Format::Fernet => Self::Fernet(given.read_keys(FERNET_KEY, base64_key)?),
            Format::PosthogFernet => Self::Fernet(posthog_keys(given)?),
            Format::DjangoFernetFields => Self::Fernet(django_fernet_fields_keys(given)?),
            Format::DjangoFernetEncryptedFields => Self::Fernet(salted_django_keys(given)?),
            Format::SqlalchemyUtilsFernet => {
                Self::Fernet(given.read_keys("must be the key of the column's type", hashed)?)
            }
            Format::Sentry => Self::Sentry(named_keys(given, FERNET_KEY, base64_key)?),
            Format::DjangoCryptography => Self::DjangoCryptography(django_cryptography::keys(given)?),
            Format::Aes256Gcm => {
                let steps = Steps::new(Base64, Cipher::AesGcm);
                Self::Steps(steps, given.read_keys(AES_KEY, encoded_key)?)
            }
            Format::Steps => configured_steps(given)?,
            Format::SqlalchemyUtilsAesGcm => {
                let mut steps = Steps::new(Base64, Cipher::AesGcm);
                steps.layout = Layout::of(&[Part::Nonce, Part::Tag, Part::Ciphertext]);
                Self::Steps(
                    steps,
                    given.read_keys("must be the key of the column's type", hashed)?,
                )
            }
            Format::SqlalchemyUtilsAes => Self::SqlalchemyAes(
                given.padding.unwrap_or(Padding::Asterisks),
                given.read_keys("must be the key of the column's type", hashed)?,
            ),
            Format::NodeGcmHex => {
                let mut steps = Steps::new(Hex, Cipher::AesGcm);
                steps.layout = given
                    .layout
                    .clone()
                    .unwrap_or_else(|| Layout::separated(':', &[Part::Nonce, Part::Tag, Part::Ciphertext]));
                Self::Steps(steps, given.read_keys("must be 32 bytes in hex", hex_key)?)
            }
            Format::CalcomCbc => {
                let mut steps = Steps::new(Hex, Cipher::AesCbc(Padding::Pkcs7));
                steps.layout = Layout::separated(':', &[Part::Nonce, Part::Ciphertext]);
                Self::Steps(steps, given.read_keys(CHARACTERS, latin_1_key)?)
            }
            Format::CalcomKeyring => {
                Self::CalcomKeyring(named_keys(given, "must be 32 bytes in base64url", base64_key)?)
            }
            Format::Activepieces => Self::Activepieces(given.read_keys(CHARACTERS, raw_key)?),
            Format::Nango => Self::Nango(given.read_keys("must be 32 bytes in base64", base64_key)?),
            Format::KratosAes => {
                let keys = given.read_keys("must be a text of exactly 32 bytes", raw_key)?;
                Self::Kratos(Steps::new(Hex, Cipher::AesGcm), keys)
            }
            Format::KratosXchacha20 => {
                let keys = given.read_keys("must be a text of exactly 32 bytes", raw_key)?;
                Self::Kratos(Steps::new(Hex, Cipher::XChaCha20Poly1305), keys)
            }
            Format::KratosNoop => Self::KratosNoop,
            Format::Lockbox => lockbox(given)?,
            Format::Laravel => Self::Laravel(laravel::keys(given)?),
            Format::Rails => Self::Rails(rails::keys(given)?),
            Format::AttrEncrypted => attr_encrypted(given)?,
            Format::BetterAuth => better_auth(given)?,
            Format::Twenty => Self::Twenty(
                given
                    .read_keys("must be ENCRYPTION_KEY of Twenty", as_it_is)?
                    .into_iter()
                    .map(|key| (prefixed::twenty_name(&key), key))
                    .collect(),
            ),
            Format::Grafana => Self::Grafana {
                secrets: given.read_keys("must be `secret_key` of Grafana", as_it_is)?,
                data_keys: Vec::new(),
            },
            Format::N8n => Self::N8n {
                keys: given.read_keys("must be N8N_ENCRYPTION_KEY", as_it_is)?,
                data_keys: Vec::new(),
            },
        })
    }

    /// Tells whether the nonce comes from the key, although the format has a column for it.
    pub(super) fn has_fixed_nonce(&self) -> bool {
        matches!(
            self,
            Self::AttrEncrypted {
                is_version_1: true,
                ..
            }
        )
    }

    /// Opens the data keys that the database holds, by their names.
    pub(super) fn with_data_keys(mut self, stored: &[(String, String)]) -> Result<Self, DecryptFailure> {
        match &mut self {
            Self::Grafana { secrets, data_keys } => *data_keys = grafana::data_keys(secrets, stored)?,
            Self::N8n { keys, data_keys } => *data_keys = n8n::data_keys(keys, stored)?,
            _ => {}
        }
        Ok(self)
    }

    /// Returns the plaintext.
    pub(super) fn open(
        &self,
        value: Value<'_>,
        companions: &Companions,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
        let text = || value.as_text().ok_or(DecryptFailure::NotEncrypted);
        match self {
            Self::Fernet(keys) => fernet::open(keys, value),
            Self::Steps(steps, keys) => steps.open(keys, &steps.cut(value)?),
            Self::Kratos(steps, keys) => {
                let parts = steps.cut(value)?;
                steps
                    .open(keys, &parts)
                    .map_err(|why| match hex(text().unwrap_or_default()) {
                        Some(bytes) if why == DecryptFailure::NoKeyFits && is_printable(&bytes) => {
                            DecryptFailure::OnlyEncoded
                        }
                        _ => why,
                    })
            }
            Self::SqlalchemyAes(padding, keys) => open_with_fixed_iv(*padding, keys, text()?),
            Self::KratosNoop => from_hex(text()?),
            Self::AttrEncrypted { keys, is_version_1 } => {
                attr_encrypted::open(keys, *is_version_1, text()?, companions)
            }
            Self::BetterAuth { keys, versions } => prefixed::better_auth(keys, versions, text()?),
            Self::Twenty(keys) => prefixed::twenty(keys, text()?, companions),
            Self::Activepieces(keys) => json_envelope::activepieces(keys, text()?),
            Self::CalcomKeyring(keys) => json_envelope::calcom_keyring(keys, text()?, companions),
            Self::Nango(keys) => json_envelope::nango(keys, text()?, companions),
            Self::Sentry(keys) => json_envelope::sentry(keys, text()?),
            Self::DjangoCryptography(keys) => django_cryptography::open(keys, value),
            Self::Laravel(keys) => laravel::open(keys, text()?),
            Self::Rails(keys) => rails::open(keys, text()?),
            Self::Grafana { secrets, data_keys } => grafana::open(secrets, data_keys, text()?),
            Self::N8n { keys, data_keys } => n8n::open(keys, data_keys, text()?),
        }
    }
}

fn named_keys(
    given: &Material,
    must: &'static str,
    read: impl Fn(&str) -> Option<KeyBytes>,
) -> Result<Vec<(String, KeyBytes)>, BadMaterial> {
    if given.named_keys.is_empty() {
        return Err(bad(Setting::NamedKeys, NAMED));
    }
    given.read_named_keys(must, read)
}

fn configured_steps(given: &Material) -> Result<Opener, BadMaterial> {
    let cipher = given.cipher.ok_or(bad(
        Setting::Cipher,
        "is missing: it must be a cipher, such as \"aes-256-gcm\"",
    ))?;
    let default = match cipher {
        Cipher::AesCbc(_) => Layout::of(&[Part::Nonce, Part::Ciphertext]),
        _ => Layout::joined(),
    };
    let layout = given.layout.clone().unwrap_or(default);
    if layout.has_tag() != (cipher.tag_bytes() > 0) {
        let must = "must name the tag if the cipher has one, and only then";
        return Err(bad(Setting::Layout, must));
    }
    if given.nonce_bytes.is_some_and(|bytes| !cipher.takes_nonce(bytes)) {
        return Err(bad(Setting::NonceBytes, "must be a length that the cipher takes"));
    }
    let steps = Steps {
        encoding: given.encoding.unwrap_or(Encoding::Base64),
        layout,
        nonce_bytes: given.nonce_bytes,
        cipher,
        padding: None,
        inflate: given.inflate,
    };
    let keys = if given.hashes_key == Some(true) {
        let hashed = |text: &str| as_it_is(text).map(|bytes| sha256(&bytes));
        given.read_keys("must be a text", hashed)?
    } else {
        let key = |text: &str| {
            // 32 characters may all be hex digits, and are then no key in hex.
            [encoded_key(text), hex(text.trim()), as_it_is(text)]
                .into_iter()
                .flatten()
                .find(|key| cipher.takes_key(key.len()))
        };
        let must = "must be 32 bytes in base64, in hex or as 32 characters (64 bytes in hex if the MAC has a key of its own)";
        given.read_keys(must, key)?
    };
    Ok(Opener::Steps(steps, keys))
}

/// The salt keys are Fernet keys that are not encoded; before them, one was derived from Django's secret.
fn posthog_keys(given: &Material) -> Result<Vec<KeyBytes>, BadMaterial> {
    let mut keys = given.read_keys("must be a salt key of 32 characters", raw_key)?;
    for old in &given.old_keys {
        for salt in &given.salts {
            let (old, salt) = (old.reveal().as_bytes(), salt.reveal().as_bytes());
            keys.push(pbkdf2(Digest::Sha256, old, salt, 100_000));
        }
    }
    Ok(keys)
}

fn django_fernet_fields_keys(given: &Material) -> Result<Vec<KeyBytes>, BadMaterial> {
    if given.hashes_key == Some(false) {
        return given.read_keys(FERNET_KEY, base64_key);
    }
    let derive = |text: &str| {
        let (salt, info) = (b"django-fernet-fields-hkdf-salt", b"django-fernet-fields");
        hkdf_sha256(&as_it_is(text)?, salt, &[info], 32)
    };
    given.read_keys("must be one of FERNET_KEYS, or SECRET_KEY", derive)
}

fn salted_django_keys(given: &Material) -> Result<Vec<KeyBytes>, BadMaterial> {
    let secrets = given.read_keys("must be Django's SECRET_KEY", as_it_is)?;
    if given.salts.is_empty() {
        return Err(bad(Setting::Salts, "must be Django's SALT_KEY"));
    }
    let derive = |secret: &KeyBytes| -> Vec<KeyBytes> {
        let of =
            |salt: &crate::secret::Secret| pbkdf2(Digest::Sha256, secret, salt.reveal().as_bytes(), 100_000);
        given.salts.iter().map(of).collect()
    };
    Ok(secrets.iter().flat_map(derive).collect())
}

/// The key depends on table and attribute.
fn lockbox(given: &Material) -> Result<Opener, BadMaterial> {
    let table = given.table.as_deref().ok_or(bad(
        Setting::Table,
        "is missing: the key depends on the name of the table",
    ))?;
    let attribute = given.attribute.as_deref().ok_or(bad(
        Setting::Attribute,
        "is missing: the key depends on the name of the column",
    ))?;
    let info = [&[0xB4; 32], attribute.as_bytes()];
    let derive = |text: &str| hkdf_sha384(&hex_key(text)?, table.as_bytes(), &info, 32);
    let keys = given.read_keys("must be a master key: 32 bytes in hex", derive)?;
    let cipher = given.cipher.unwrap_or(Cipher::AesGcm);
    let mut steps = Steps::new(Encoding::Base64, cipher);
    if cipher == Cipher::XSalsa20Poly1305 {
        steps.layout = Layout::of(&[Part::Nonce, Part::Tag, Part::Ciphertext]);
    }
    steps.padding = given.padding;
    Ok(Opener::Steps(steps, keys))
}

fn attr_encrypted(given: &Material) -> Result<Opener, BadMaterial> {
    Ok(Opener::AttrEncrypted {
        keys: given.read_keys("must be the key of the attribute", as_it_is)?,
        is_version_1: matches!(given.cipher, Some(Cipher::AesCbc(_))),
    })
}

fn better_auth(given: &Material) -> Result<Opener, BadMaterial> {
    let must = "must be BETTER_AUTH_SECRET, or `named_keys` must be BETTER_AUTH_SECRETS";
    let hashed = |text: &str| as_it_is(text).map(|bytes| sha256(&bytes));
    let versions = given.read_named_keys(must, hashed)?;
    let keys = if versions.is_empty() || !given.keys.is_empty() {
        given.read_keys(must, hashed)?
    } else {
        Vec::new()
    };
    Ok(Opener::BetterAuth { keys, versions })
}

fn open_with_fixed_iv(
    padding: Padding,
    keys: &[KeyBytes],
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let cipher = Cipher::AesCbc(padding);
    let ciphertext = Encoding::Base64
        .decode(text)
        .filter(|bytes| cipher.takes_ciphertext(bytes.len()))
        .ok_or(DecryptFailure::NotEncrypted)?;
    let mut parts = Parts {
        ciphertext,
        ..Parts::default()
    };
    for key in keys {
        parts.nonce = Zeroizing::new(key[..16].to_vec());
        let opened = super::steps::open(cipher, [key], &parts, b"");
        if opened.is_ok() {
            return opened;
        }
    }
    Err(DecryptFailure::NoKeyFits)
}

/// The plain text in hex.
fn from_hex(text: &str) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    match hex(text) {
        Some(bytes) => Ok(bytes),
        None if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Err(DecryptFailure::Damaged),
        None => Err(DecryptFailure::NotEncrypted),
    }
}

fn is_printable(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}
