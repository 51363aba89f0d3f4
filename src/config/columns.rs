//! Columns: which field of a token comes from which column or expression.

use std::collections::BTreeMap;

use crate::decrypt::Decryptor;

/// A part of a token that a column can be mapped to, or what says where the token is to be had.
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
    /// Those under `[source.columns]`, in the order in which a page selects them.
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

    /// The last part of its key.
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

    /// Whether it is part of where a token goes, or tells which of two is newer.
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

    /// Its key in the configuration.
    #[must_use]
    pub fn key(self) -> String {
        let section = match self {
            Self::Provider => "provider",
            _ => "columns",
        };
        format!("source.{section}.{}", self.name())
    }
}

/// How a field is derived from a row.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Its value.
    pub expression: Expression,
    /// What opens the value, if it is encrypted. Only tokens may be.
    pub decrypt: Option<Decryptor>,
}

impl From<Expression> for Mapping {
    /// As it stands there.
    fn from(expression: Expression) -> Self {
        Self {
            expression,
            decrypt: None,
        }
    }
}

/// How the value of a field is derived from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A column by its exact name.
    Column(String),
    /// Any SQL expression over the row, written by the person who configures.
    Sql(String),
}

/// How each mapped field is derived.
pub type Columns = BTreeMap<Field, Mapping>;
