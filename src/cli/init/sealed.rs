//! Forms of encrypted values that no provider's token has, and what decrypting each of them takes.

/// The variable with the key of encrypted tokens of an unknown table.
const KEY: &str = "SOURCE_TOKEN_KEY";
const SALT: &str = "SOURCE_TOKEN_SALT";

/// A form of encrypted values.
#[derive(Debug)]
pub(super) struct SealedForm {
    /// The format's name.
    pub(super) format: &'static str,
    /// The regular expression, as Postgres reads it.
    pub(super) pattern: &'static str,
    /// The settings of the format besides its keys.
    settings: &'static str,
    /// The variables that it needs.
    pub(super) variables: &'static [&'static str],
}

impl SealedForm {
    pub(super) const ALL: [Self; 4] = [
        Self {
            format: "fernet",
            pattern: "^gAAAAA[A-Za-z0-9_-]{60,}=*$",
            settings: "",
            variables: &[KEY],
        },
        Self {
            format: "laravel",
            pattern: "^eyJpdiI6[A-Za-z0-9+/=]+$",
            settings: "",
            variables: &[KEY],
        },
        Self {
            format: "rails",
            pattern: "^\\{\"p\":\"[A-Za-z0-9+/=]*\",\"h\":",
            settings: "# `key_derivation_salt`. The digest is sha256 since Rails 7.1, and sha1 before.\nsalts = \"env:SOURCE_TOKEN_SALT\"\ndigest = \"either\"\n",
            variables: &[KEY, SALT],
        },
        Self {
            format: "n8n",
            pattern: "^U2FsdGVkX1",
            settings: "data_keys = \"select null, null limit 0\"\n",
            variables: &[KEY],
        },
    ];

    /// Returns the table of the configuration that says how such values are decrypted.
    pub(super) fn configuration(&self) -> String {
        format!(
            "\n[source.decrypt.{}]\n# Values look encrypted. The guide \"Encrypted columns\" says what each format needs.\n\
             keys = \"env:{KEY}\"\n{}",
            self.format, self.settings
        )
    }
}
