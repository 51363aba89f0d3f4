//! The named formats of encrypted values, and what each of them needs to be configured.

use super::value::Companion;

/// A format: how a value is encoded, sealed and wrapped, and how its key is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the format of the same name")]
pub enum Format {
    Fernet,
    Aes256Gcm,
    /// Steps that the configuration names one by one.
    Steps,
    Activepieces,
    AttrEncrypted,
    BetterAuth,
    CalcomCbc,
    CalcomKeyring,
    DjangoCryptography,
    DjangoFernetEncryptedFields,
    DjangoFernetFields,
    Grafana,
    KratosAes,
    KratosNoop,
    KratosXchacha20,
    Laravel,
    Lockbox,
    N8n,
    Nango,
    NodeGcmHex,
    PosthogFernet,
    Rails,
    Sentry,
    SqlalchemyUtilsAes,
    SqlalchemyUtilsAesGcm,
    SqlalchemyUtilsFernet,
    Twenty,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 27] = [
        Self::Fernet,
        Self::Aes256Gcm,
        Self::Steps,
        Self::Activepieces,
        Self::AttrEncrypted,
        Self::BetterAuth,
        Self::CalcomCbc,
        Self::CalcomKeyring,
        Self::DjangoCryptography,
        Self::DjangoFernetEncryptedFields,
        Self::DjangoFernetFields,
        Self::Grafana,
        Self::KratosAes,
        Self::KratosNoop,
        Self::KratosXchacha20,
        Self::Laravel,
        Self::Lockbox,
        Self::N8n,
        Self::Nango,
        Self::NodeGcmHex,
        Self::PosthogFernet,
        Self::Rails,
        Self::Sentry,
        Self::SqlalchemyUtilsAes,
        Self::SqlalchemyUtilsAesGcm,
        Self::SqlalchemyUtilsFernet,
        Self::Twenty,
    ];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fernet => "fernet",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Steps => "steps",
            Self::Activepieces => "activepieces",
            Self::AttrEncrypted => "attr-encrypted",
            Self::BetterAuth => "better-auth",
            Self::CalcomCbc => "calcom-cbc",
            Self::CalcomKeyring => "calcom-keyring",
            Self::DjangoCryptography => "django-cryptography",
            Self::DjangoFernetEncryptedFields => "django-fernet-encrypted-fields",
            Self::DjangoFernetFields => "django-fernet-fields",
            Self::Grafana => "grafana",
            Self::KratosAes => "kratos-aes",
            Self::KratosNoop => "kratos-noop",
            Self::KratosXchacha20 => "kratos-xchacha20",
            Self::Laravel => "laravel",
            Self::Lockbox => "lockbox",
            Self::N8n => "n8n",
            Self::Nango => "nango",
            Self::NodeGcmHex => "node-gcm-hex",
            Self::PosthogFernet => "posthog-fernet",
            Self::Rails => "rails",
            Self::Sentry => "sentry",
            Self::SqlalchemyUtilsAes => "sqlalchemy-utils-aes",
            Self::SqlalchemyUtilsAesGcm => "sqlalchemy-utils-aesgcm",
            Self::SqlalchemyUtilsFernet => "sqlalchemy-utils-fernet",
            Self::Twenty => "twenty",
        }
    }

    /// Finds a format by its name, with dashes or underscores.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let name = name.replace('_', "-");
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Tells whether a key is encoded, so that a text may hold several, separated by commas or white space.
    /// Otherwise each is taken as it is.
    #[must_use]
    pub fn has_encoded_keys(self) -> bool {
        matches!(
            self,
            Self::Fernet
                | Self::Aes256Gcm
                | Self::Steps
                | Self::Laravel
                | Self::Lockbox
                | Self::Nango
                | Self::NodeGcmHex
        )
    }

    /// Returns the settings that it takes besides `format` and `plain`.
    #[must_use]
    pub fn settings(self) -> &'static [Setting] {
        use Setting as S;
        match self {
            Self::Steps => &[
                S::Keys,
                S::Encoding,
                S::Layout,
                S::NonceBytes,
                S::Cipher,
                S::KeyHash,
                S::Inflate,
            ],
            Self::AttrEncrypted => &[S::Keys, S::Cipher],
            Self::BetterAuth => &[S::Keys, S::NamedKeys],
            Self::CalcomKeyring | Self::Sentry => &[S::NamedKeys],
            Self::DjangoFernetEncryptedFields => &[S::Keys, S::Salts],
            Self::DjangoFernetFields => &[S::Keys, S::KeyHash],
            Self::Grafana | Self::N8n => &[S::Keys, S::DataKeys],
            Self::KratosNoop => &[],
            Self::Lockbox => &[S::Keys, S::Table, S::Attribute, S::Cipher, S::Padding],
            Self::NodeGcmHex => &[S::Keys, S::Layout],
            Self::PosthogFernet => &[S::Keys, S::OldKeys, S::Salts],
            Self::Rails => &[S::Keys, S::Salts, S::Digest],
            Self::SqlalchemyUtilsAes => &[S::Keys, S::Padding],
            _ => &[S::Keys],
        }
    }

    /// Returns the columns beside the value that it reads, and whether it cannot do without them.
    /// [`Decryptor::needs`](super::Decryptor::needs) knows what its settings change.
    #[must_use]
    pub fn companions(self) -> &'static [(Companion, bool)] {
        match self {
            Self::AttrEncrypted => &[(Companion::Nonce, true), (Companion::Salt, false)],
            Self::Nango => &[(Companion::Nonce, true), (Companion::Tag, true)],
            Self::CalcomKeyring | Self::Twenty => &[(Companion::Context, true)],
            _ => &[],
        }
    }

    /// Tells whether a JSON holds values that are encrypted one by one, instead of being encrypted as a
    /// whole.
    #[must_use]
    pub fn seals_leaves(self) -> bool {
        self == Self::PosthogFernet
    }
}

/// A setting of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the key of the same name")]
pub enum Setting {
    Keys,
    NamedKeys,
    OldKeys,
    Salts,
    Digest,
    DataKeys,
    Table,
    Attribute,
    Encoding,
    Layout,
    NonceBytes,
    Cipher,
    Padding,
    KeyHash,
    Inflate,
}

impl Setting {
    /// Tells whether its value is a secret, or may contain one, as SQL may.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Keys | Self::NamedKeys | Self::OldKeys | Self::Salts | Self::DataKeys
        )
    }

    /// Returns its key under `[source.decrypt.NAME]`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::NamedKeys => "named_keys",
            Self::OldKeys => "old_keys",
            Self::Salts => "salts",
            Self::Digest => "digest",
            Self::DataKeys => "data_keys",
            Self::Table => "table",
            Self::Attribute => "attribute",
            Self::Encoding => "encoding",
            Self::Layout => "layout",
            Self::NonceBytes => "nonce_bytes",
            Self::Cipher => "cipher",
            Self::Padding => "padding",
            Self::KeyHash => "key_hash",
            Self::Inflate => "inflate",
        }
    }
}
