//! A pipeline of steps: decode, take apart, decrypt, strip, decompress.

use zeroize::Zeroizing;

use super::{
    cipher::{Cipher, Padding, Sealed},
    derive::KeyBytes,
    encoding::{Encoding, inflate},
    layout::{Layout, Parts},
    value::Value,
};
use crate::domain::DecryptFailure;

/// The steps from a stored value to its plaintext.
#[derive(Clone)]
pub(super) struct Steps {
    pub(super) encoding: Encoding,
    pub(super) layout: Layout,
    /// The length of the nonce, if it is not the cipher's own.
    pub(super) nonce_bytes: Option<usize>,
    pub(super) cipher: Cipher,
    /// Padding inside the ciphertext, beyond what the cipher itself needs.
    pub(super) padding: Option<Padding>,
    pub(super) inflate: bool,
}

impl Steps {
    /// Values of a cipher in the usual layout.
    pub(super) fn new(encoding: Encoding, cipher: Cipher) -> Self {
        Self {
            encoding,
            layout: Layout::joined(),
            nonce_bytes: None,
            cipher,
            padding: None,
            inflate: false,
        }
    }

    /// The parts of a value.
    pub(super) fn cut(&self, value: Value<'_>) -> Result<Parts, DecryptFailure> {
        match value {
            Value::Bytes(bytes) => self.layout.cut_bytes(bytes, self.cipher, self.nonce_bytes),
            Value::Text(text) => self.cut_text(text),
        }
    }

    pub(super) fn cut_text(&self, text: &str) -> Result<Parts, DecryptFailure> {
        self.layout
            .cut_text(text, self.encoding, self.cipher, self.nonce_bytes)
    }

    /// The plaintext under the first key that fits.
    pub(super) fn open<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k KeyBytes>,
        parts: &Parts,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
        let plain = open(self.cipher, keys, parts, b"")?;
        let plain = match self.padding {
            Some(padding) => padding.strip(plain).ok_or(DecryptFailure::Damaged)?,
            None => plain,
        };
        if self.inflate {
            return inflate(&plain).ok_or(DecryptFailure::Damaged);
        }
        Ok(plain)
    }
}

/// The plaintext under the first key that fits. Without authentication, a wrong key often gives bytes that
/// are no text.
pub(super) fn open<'k>(
    cipher: Cipher,
    keys: impl IntoIterator<Item = &'k KeyBytes>,
    parts: &Parts,
    associated: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let sealed = Sealed {
        nonce: &parts.nonce,
        ciphertext: &parts.ciphertext,
        tag: &parts.tag,
        associated,
    };
    let fits = |plain: &Zeroizing<Vec<u8>>| cipher.is_authenticated() || std::str::from_utf8(plain).is_ok();
    keys.into_iter()
        .filter_map(|key| cipher.open(key, sealed))
        .find(fits)
        .ok_or(DecryptFailure::NoKeyFits)
}
