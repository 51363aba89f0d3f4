//! Keyed digests of the parts of a token: what the ledger keeps to recognise each part when it is read back.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

/// Keyed digests of the parts of a token as it was sent, 8 bytes each; 0 stands for a part that was not sent.
/// The ID token is none of them, since the API never shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    pub(crate) access: u64,
    pub(crate) refresh: u64,
    pub(crate) attributes: u64,
}

/// Makes [`Parts`]. The key comes from the ledger's fingerprint key, so that a guess cannot be tested against
/// a stolen ledger.
#[derive(Clone)]
pub struct PartsKey(SipHasher24);

impl PartsKey {
    /// From 16 bytes that only the ledger's owner has.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The digests of a token.
    #[must_use]
    pub fn parts(
        &self,
        access: Option<&str>,
        refresh: Option<&str>,
        attributes: SentAttributes<'_>,
    ) -> Parts {
        let secret = |purpose: u8, secret: Option<&str>| {
            secret.map_or(0, |secret| {
                let mut hasher = self.0;
                hasher.write_u8(purpose);
                hasher.write(secret.as_bytes());
                // 0 is taken.
                hasher.finish().max(1)
            })
        };
        Parts {
            access: secret(0, access),
            refresh: secret(1, refresh),
            attributes: self.attributes(attributes),
        }
    }

    /// The digest, and in its lowest bits which of the attributes there are.
    fn attributes(&self, sent: SentAttributes<'_>) -> u64 {
        let mut hasher = self.0;
        hasher.write_u8(2);
        hasher.write_i32(sent.expiry.unwrap_or_default());
        for text in [sent.token_type, sent.granted_by] {
            let text = text.unwrap_or_default();
            hasher.write_usize(text.len());
            hasher.write(text.as_bytes());
        }
        let kinds = [
            sent.expiry.is_some(),
            sent.token_type.is_some(),
            sent.granted_by.is_some(),
        ];
        let kinds = kinds
            .iter()
            .fold(0, |kinds, &is_sent| kinds << 1 | u64::from(is_sent));
        hasher.finish() & !KINDS | kinds
    }
}

/// The bits of the attributes' digest that say which of them there are.
pub(crate) const KINDS: u64 = 0b111;

/// The attributes that are sent with a token and that the API shows again.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentAttributes<'a> {
    /// When the access token expires, in seconds since 1970.
    pub expiry: Option<i32>,
    /// The access token's type.
    pub token_type: Option<&'a str>,
    /// The grantor of the access.
    pub granted_by: Option<&'a str>,
}

impl Parts {
    /// The length of the stored form in bytes.
    pub const STORED: usize = 24;

    /// Tells whether an access token was sent.
    #[must_use]
    pub fn has_access_token(self) -> bool {
        self.access != 0
    }

    /// Tells whether a refresh token was sent.
    #[must_use]
    pub fn has_refresh_token(self) -> bool {
        self.refresh != 0
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::STORED] {
        let mut bytes = [0; Self::STORED];
        for (chunk, part) in bytes
            .chunks_exact_mut(8)
            .zip([self.access, self.refresh, self.attributes])
        {
            chunk.copy_from_slice(&part.to_le_bytes());
        }
        bytes
    }

    /// From the stored form; `None` if it has another length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (parts, rest) = bytes.as_chunks::<8>();
        match (parts, rest) {
            (&[access, refresh, attributes], []) => Some(Self {
                access: u64::from_le_bytes(access),
                refresh: u64::from_le_bytes(refresh),
                attributes: u64::from_le_bytes(attributes),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(access: Option<&str>, refresh: Option<&str>, attributes: SentAttributes<'_>) -> Parts {
        PartsKey::new(&[7; 16]).parts(access, refresh, attributes)
    }

    fn expiring(expiry: i32) -> SentAttributes<'static> {
        SentAttributes {
            expiry: Some(expiry),
            ..SentAttributes::default()
        }
    }

    #[test]
    fn the_stored_form_gives_the_same_parts_and_the_key_matters() {
        let sent = parts(Some("a"), None, expiring(5));
        assert_eq!(Parts::from_slice(&sent.to_bytes()), Some(sent));
        assert_eq!(Parts::from_slice(&[0; 23]), None);
        let other = PartsKey::new(&[8; 16]).parts(Some("a"), None, expiring(5));
        assert_ne!(other, sent);
        let same = parts(Some("a"), Some("a"), expiring(5));
        assert_ne!(same.access, same.refresh);
    }
}
