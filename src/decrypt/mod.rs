//! Opens values that the source holds encrypted, in the formats of the programs that wrote them.
//!
//! A value passes through named steps: it is decoded, taken apart, decrypted and, where its format has it,
//! decompressed or unwrapped. Each [`Format`] says which steps these are, and how its key is derived. The
//! ciphers are those of the `RustCrypto` crates. Keys are wiped when dropped, plaintext is put into a
//! [`Secret`] and wiped from where it was worked on. What is still encrypted is no secret.

mod attr_encrypted;
mod cipher;
mod derive;
mod django_cryptography;
mod encoding;
mod fernet;
mod format;
mod grafana;
mod json_envelope;
mod laravel;
mod layout;
mod material;
mod n8n;
mod opener;
mod prefixed;
mod rails;
mod steps;
mod value;

use std::{fmt, sync::Arc};

use crate::{domain::DecryptFailure, secret::Secret};

pub use cipher::{Cipher, Padding};
pub use derive::Digest;
pub use encoding::Encoding;
pub use format::{Format, Setting};
pub use layout::Layout;
pub use material::{BadMaterial, Material};
pub use value::Companion;

use opener::Opener;
use value::{Companions, Value};

/// A format with its keys, prepared for repeated use. Two are equal if they were configured in one place, so
/// that they open a value alike.
#[derive(Clone)]
pub struct Decryptor(Arc<Prepared>);

struct Prepared {
    /// The place of its configuration.
    place: String,
    format: Format,
    opener: Opener,
    accepts_plain: bool,
}

/// A value as it travelled from the database.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'a> {
    /// A text column's text, the base64 of a bytea column, or, with companions, the base64 of all of them,
    /// separated by [`Wire::SEPARATOR`]; [`Wire::NULL`] stands for null.
    pub text: &'a str,
    /// The column is bytea.
    pub is_bytes: bool,
    /// The companions behind the value, in this order.
    pub companions: &'a [Companion],
}

impl Wire<'_> {
    /// Separates a value and its companions.
    pub const SEPARATOR: char = ',';
    /// Stands for a companion that is null.
    pub const NULL: &'static str = "-";
}

/// The text of a value.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The text.
    pub text: Secret,
    /// It was not encrypted, which is accepted.
    pub was_plain: bool,
}

impl Opened {
    fn decrypted(text: &str) -> Self {
        Self {
            text: Secret::new(text),
            was_plain: false,
        }
    }

    fn plain(text: &str) -> Self {
        Self {
            text: Secret::new(text),
            was_plain: true,
        }
    }
}

impl Decryptor {
    /// Derives the keys. `place` is that of the configuration: all that is configured there must be the same.
    ///
    /// # Errors
    /// The first setting that is missing or invalid.
    pub fn new(
        place: impl Into<String>,
        format: Format,
        given: &Material,
        accepts_plain: bool,
    ) -> Result<Self, BadMaterial> {
        Ok(Self(Arc::new(Prepared {
            place: place.into(),
            format,
            opener: Opener::new(format, given)?,
            accepts_plain,
        })))
    }

    /// The same with the data keys that the database holds, by their names. Bytes come as Postgres prints
    /// them.
    ///
    /// # Errors
    /// If one of them cannot be opened.
    pub fn with_data_keys(&self, stored: &[(String, String)]) -> Result<Self, DecryptFailure> {
        Ok(Self(Arc::new(Prepared {
            place: self.0.place.clone(),
            format: self.0.format,
            opener: self.0.opener.clone().with_data_keys(stored)?,
            accepts_plain: self.0.accepts_plain,
        })))
    }

    /// Returns the format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.0.format
    }

    /// Tells whether it cannot do without this companion of its format.
    #[must_use]
    pub fn needs(&self, companion: Companion) -> bool {
        let listed = self.0.format.companions().contains(&(companion, true));
        listed && !self.0.opener.has_fixed_nonce()
    }

    /// The text that a value holds, and whether it was there in plain.
    ///
    /// # Errors
    /// If it is not encrypted in this way, unless plain values are accepted; if no key opens it; or if what
    /// is in it is no text.
    pub fn open(&self, wire: Wire<'_>) -> Result<Opened, DecryptFailure> {
        let mut texts = wire.text.split(Wire::SEPARATOR);
        let is_encoded = wire.is_bytes || !wire.companions.is_empty();
        let decoded = is_encoded.then(|| texts.next().and_then(encoding::base64));
        let value = match &decoded {
            None => Value::Text(wire.text),
            Some(None) => return Err(DecryptFailure::Damaged),
            Some(Some(bytes)) if wire.is_bytes => Value::Bytes(bytes),
            Some(Some(bytes)) => {
                Value::Text(std::str::from_utf8(bytes).map_err(|_| DecryptFailure::NotText)?)
            }
        };
        let companions = companions(wire.companions, texts).ok_or(DecryptFailure::Damaged)?;
        if value.as_text() == Some("") {
            return Ok(Opened::decrypted(""));
        }
        match self.0.opener.open(value, &companions) {
            Ok(plain) => match std::str::from_utf8(&plain) {
                Ok(text) => Ok(Opened::decrypted(text)),
                Err(_) => Err(DecryptFailure::NotText),
            },
            Err(DecryptFailure::NotEncrypted) if self.0.accepts_plain => {
                value.as_text().map(Opened::plain).ok_or(DecryptFailure::NotText)
            }
            Err(why) => Err(why),
        }
    }
}

/// Takes apart what travelled behind a value.
fn companions<'a>(wanted: &[Companion], mut texts: impl Iterator<Item = &'a str>) -> Option<Companions> {
    let mut companions = Companions::default();
    for companion in wanted {
        let text = texts.next()?;
        if text == Wire::NULL {
            continue;
        }
        let text = std::str::from_utf8(&encoding::base64(text)?).ok()?.to_owned();
        let place = match companion {
            Companion::Nonce => &mut companions.nonce,
            Companion::Tag => &mut companions.tag,
            Companion::Salt => &mut companions.salt,
            Companion::Context => &mut companions.context,
        };
        *place = Some(text);
    }
    Some(companions)
}

impl PartialEq for Decryptor {
    fn eq(&self, other: &Self) -> bool {
        self.0.place == other.0.place
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decryptor({})", self.0.format.name())
    }
}

#[cfg(test)]
mod tests;
