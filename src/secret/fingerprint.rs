//! Fingerprints: keyed digests that the ledger stores in place of tokens.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{PartsKey, ZeroizingBuf};

/// HMAC-SHA256 over exactly the bytes that are sent for a token: equal fingerprints mean that the API
/// received the same token. For a token that Descope itself keeps, it is taken over the row instead: equal
/// fingerprints mean that the row is unchanged. Without the key, a guess cannot be tested against a
/// fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the stored form; `None` if it has another length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD
            .decode(text)
            .map_err(|_| de::Error::custom("not base64"))?;
        Self::from_slice(&bytes).ok_or_else(|| de::Error::custom("not 32 bytes"))
    }
}

/// The key behind all fingerprints of one ledger, ready to be used many times.
#[derive(Clone)]
pub struct FingerprintKey {
    mac: Hmac<Sha256>,
    parts: PartsKey,
}

impl FingerprintKey {
    /// From the ledger's own random bytes and, where one is configured, a pepper kept outside of the ledger.
    #[must_use]
    pub fn new(ledger_bytes: &[u8; 32], pepper: Option<&str>) -> Self {
        // Without a pepper the derivation still runs, so that there is one way and not two.
        let derived = Zeroizing::new(<[u8; 32]>::from(
            keyed(ledger_bytes)
                .chain_update("tokenferry fingerprint key")
                .chain_update(pepper.unwrap_or_default())
                .finalize()
                .into_bytes(),
        ));
        let mac = keyed(&derived);
        let for_parts = Zeroizing::new(<[u8; 32]>::from(
            mac.clone().chain_update("parts").finalize().into_bytes(),
        ));
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&for_parts[..16]);
        Self {
            parts: PartsKey::new(&key),
            mac,
        }
    }

    /// The fingerprint of a token from its encoded form.
    #[must_use]
    pub fn fingerprint(&self, encoded: &[u8]) -> Fingerprint {
        self.digest("token", encoded)
    }

    /// The fingerprint of a token that is not in its row but fetched: of all that the row says, since that is
    /// what tells, without fetching, whether there is anything new.
    #[must_use]
    pub fn row_fingerprint(&self, parts: &[&[u8]]) -> Fingerprint {
        self.digest("row", joined(parts).as_ref())
    }

    /// A digest of what a run is about, to tell whether another one is about the same.
    #[must_use]
    pub fn selection_digest(&self, parts: &[&[u8]]) -> Fingerprint {
        self.digest("selection", joined(parts).as_ref())
    }

    /// The seed of the hashes that the source takes of its rows.
    #[must_use]
    pub fn row_hash_seed(&self) -> i64 {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.digest("row hash", &[]).0[..8]);
        i64::from_le_bytes(seed)
    }

    /// A digest of rows, and of all else that decides whether they are stored as they are.
    #[must_use]
    pub fn range_digest(&self, basis: &Fingerprint, rows: i64, sum: i128) -> Fingerprint {
        let parts: [&[u8]; 3] = [&basis.0, &rows.to_le_bytes(), &sum.to_le_bytes()];
        self.digest("range", joined(&parts).as_ref())
    }

    /// Returns the key for digests of a token's parts.
    #[must_use]
    pub fn parts(&self) -> &PartsKey {
        &self.parts
    }

    /// A digest of one secret value, to recognise it when it is read back after a crash.
    #[must_use]
    pub fn value_digest(&self, value: &str) -> Fingerprint {
        self.digest("value", value.as_bytes())
    }

    /// A digest of a login ID within a project, in place of which the ledger keeps whose it is.
    #[must_use]
    pub fn login_digest(&self, project_id: &str, login_id: &str) -> Fingerprint {
        // A project ID has no zero byte: it goes into a header.
        self.digest("login", [project_id, login_id].join("\0").as_bytes())
    }

    /// Returns the digest by which the ledger notices that a different key is in use.
    #[must_use]
    pub fn check(&self) -> Fingerprint {
        self.digest("check", &[])
    }

    fn digest(&self, purpose: &str, bytes: &[u8]) -> Fingerprint {
        let mac = self
            .mac
            .clone()
            .chain_update(purpose)
            .chain_update([0])
            .chain_update(bytes);
        Fingerprint(mac.finalize().into_bytes().into())
    }
}

/// Length first, so that no two lists of parts give the same bytes.
fn joined(parts: &[&[u8]]) -> ZeroizingBuf {
    let mut list = ZeroizingBuf::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
    for part in parts {
        list.extend(&(part.len() as u64).to_le_bytes());
        list.extend(part);
    }
    list
}

/// HMAC pads a shorter key with zeros to the hash's block; done here, since a key of exactly that length
/// cannot be refused.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    Hmac::new((&*block).into())
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_the_key_the_pepper_the_purpose_and_the_bytes() {
        let key = FingerprintKey::new(&[1; 32], None);
        assert_eq!(
            key.fingerprint(b"a"),
            FingerprintKey::new(&[1; 32], None).fingerprint(b"a")
        );
        assert_ne!(key.fingerprint(b"a"), key.fingerprint(b"b"));
        assert_ne!(key.fingerprint(b"a"), key.value_digest("a"));
        assert_ne!(key.login_digest("p", "a"), key.login_digest("q", "a"));
        assert_ne!(
            key.fingerprint(b"a"),
            FingerprintKey::new(&[2; 32], None).fingerprint(b"a")
        );
        assert_ne!(key.check(), FingerprintKey::new(&[1; 32], Some("pepper")).check());
    }
}
