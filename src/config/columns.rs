//! Columns: the source of each field of a token.

use std::collections::BTreeMap;

use crate::decrypt::{Companion, Decryptor};

/// A part of a token that a column can be mapped to, or the provider to fetch the token from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    missing_docs,
    reason = "each is the key of the same name under [source.columns]"
)]
pub enum Field {
    App,
    UserId,
    LoginId,
    TenantId,
    AccessToken,
    RefreshToken,
    AccessTokenExpiry,
    AccessTokenType,
    Scopes,
    ExternalIdentifier,
    IdToken,
    GrantedBy,
    UpdatedAt,
    Provider,
}

impl Field {
    /// The fields under `[source.columns]`, in the order in which a page selects them.
    pub const COLUMNS: [Self; 13] = [
        Self::App,
        Self::UserId,
        Self::LoginId,
        Self::TenantId,
        Self::AccessToken,
        Self::RefreshToken,
        Self::AccessTokenExpiry,
        Self::AccessTokenType,
        Self::Scopes,
        Self::ExternalIdentifier,
        Self::IdToken,
        Self::GrantedBy,
        Self::UpdatedAt,
    ];

    /// Returns the last part of its key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::UserId => "user_id",
            Self::LoginId => "login_id",
            Self::TenantId => "tenant_id",
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
            Self::AccessTokenExpiry => "access_token_expiry",
            Self::AccessTokenType => "access_token_type",
            Self::Scopes => "scopes",
            Self::ExternalIdentifier => "external_identifier",
            Self::IdToken => "id_token",
            Self::GrantedBy => "granted_by",
            Self::UpdatedAt => "updated_at",
            Self::Provider => "provider",
        }
    }

    /// Returns true if the field is part of the destination, or decides which of two tokens is newer.
    #[must_use]
    pub fn decides_place(self) -> bool {
        match self {
            Self::App
            | Self::UserId
            | Self::LoginId
            | Self::TenantId
            | Self::Scopes
            | Self::ExternalIdentifier
            | Self::UpdatedAt
            | Self::Provider => true,
            Self::AccessToken
            | Self::RefreshToken
            | Self::IdToken
            | Self::AccessTokenExpiry
            | Self::AccessTokenType
            | Self::GrantedBy => false,
        }
    }

    /// Returns true if the value is a token.
    #[must_use]
    pub fn is_token(self) -> bool {
        matches!(self, Self::AccessToken | Self::RefreshToken | Self::IdToken)
    }

    /// Returns true if the database has to know the value, because it compares it.
    #[must_use]
    pub fn is_compared(self) -> bool {
        matches!(
            self,
            Self::App
                | Self::UserId
                | Self::LoginId
                | Self::TenantId
                | Self::ExternalIdentifier
                | Self::UpdatedAt
                | Self::Provider
        )
    }

    /// Returns its key in the configuration.
    #[must_use]
    pub fn key(self) -> String {
        let section = match self {
            Self::Provider => "provider",
            _ => "columns",
        };
        format!("source.{section}.{}", self.name())
    }
}

/// The derivation of a field from a row.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The value.
    pub expression: Expression,
    /// Decrypts the value, if it is encrypted.
    pub decrypt: Option<Decryption>,
    /// The member to take out of the value, if the value is a document.
    pub pick: Option<Pick>,
    /// A text that the value may begin with, and that is none of it.
    pub strip_prefix: Option<String>,
    /// The time that the value, a number of seconds, counts from.
    pub since: Option<Box<Mapping>>,
    /// The one character between the items of a list.
    pub separator: Option<String>,
}

/// A member of a document. If both are given, a document is JSON if it begins with a brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The names on the way into a JSON object.
    Json(Vec<String>),
    /// The name in form-encoded text.
    Form(String),
    /// Either.
    JsonOrForm(Vec<String>, String),
}

/// The decryption of a column.
#[derive(Debug, Clone)]
pub struct Decryption {
    /// The format, and its keys.
    pub decryptor: Decryptor,
    /// The columns beside the value that belong to it.
    pub companions: Vec<(Companion, Expression)>,
    /// A query for the names and values of keys that the source's database holds, themselves encrypted.
    pub data_keys: Option<String>,
}

impl From<Expression> for Mapping {
    /// The unencrypted value of an expression.
    fn from(expression: Expression) -> Self {
        Self {
            expression,
            decrypt: None,
            pick: None,
            strip_prefix: None,
            since: None,
            separator: None,
        }
    }
}

/// A column or an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A column by its exact name.
    Column(String),
    /// Any SQL expression over the row, written by the user.
    Sql(String),
}

/// The derivation of each mapped field.
pub type Columns = BTreeMap<Field, Mapping>;
