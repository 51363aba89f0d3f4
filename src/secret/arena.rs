//! The one type that holds a token, a key or a password.

use std::{
    fmt, mem,
    ops::Range,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer};

use super::zeroizing_buf::ZeroizingText;

/// A value that must never be printed: `Debug` is redacted, there is no `Display` and no `Serialize`, and the
/// memory is wiped once nobody holds the value, nor another one of the same [`SecretArena`].
#[derive(Clone)]
pub struct Secret {
    /// Set as soon as the collection is closed that the value is part of.
    text: Arc<OnceLock<ZeroizingText>>,
    place: Range<usize>,
}

impl Secret {
    /// Takes the value in; the caller's own copy, if any, is the caller's to wipe.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        let text = ZeroizingText::from(value.into());
        Self {
            place: 0..text.as_str().len(),
            text: Arc::new(OnceLock::from(text)),
        }
    }

    /// The value itself. Called only where a request is encoded, a fingerprint is taken or a connection opened.
    #[must_use]
    pub fn reveal(&self) -> &str {
        let text = self.text.get().map_or("", ZeroizingText::as_str);
        text.get(self.place.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Collects values that have an end together: a page's tokens are then one piece of memory, and not thousands that are taken
/// on one thread and given back on another. What was collected can be revealed once this is closed.
#[derive(Default)]
pub struct SecretArena {
    collected: ZeroizingText,
    shared: Arc<OnceLock<ZeroizingText>>,
}

impl SecretArena {
    /// With room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            collected: ZeroizingText::with_capacity(bytes),
            shared: Arc::default(),
        }
    }

    /// Adds a value.
    pub fn add(&mut self, value: &str) -> Secret {
        let begin = self.len();
        self.collected.extend(value);
        Secret {
            text: Arc::clone(&self.shared),
            place: begin..self.len(),
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.collected.as_str().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing more is added.
    pub fn close(self) {}
}

/// However the collection came to its end, the values in it are whole.
impl Drop for SecretArena {
    fn drop(&mut self) {
        // It is set nowhere else.
        let _ = self.shared.set(mem::take(&mut self.collected));
    }
}

impl fmt::Debug for SecretArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes, redacted]", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = Secret::new("ya29.very-secret");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert!(!format!("{:#?}", Some(&secret)).contains("secret"));
        let mut texts = SecretArena::default();
        texts.add("ya29.very-secret");
        assert!(!format!("{texts:?}").contains("secret"));
    }

    #[test]
    fn values_that_were_collected_are_told_apart() {
        let mut texts = SecretArena::with_capacity(2);
        let secrets = ["a", "", "\u{fc}", "bcd"].map(|value| texts.add(value));
        texts.close();
        assert_eq!(secrets.each_ref().map(Secret::reveal), ["a", "", "\u{fc}", "bcd"]);
    }
}
