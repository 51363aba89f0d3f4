//! A guess at an unknown table: which columns hold what, by their names and types.

use std::collections::BTreeMap;

use crate::{config::Field, reader::Table};

/// The names of columns for each field, in lower case and without separators; the likeliest first.
const NAMES: [(Field, &[&str]); 13] = [
    (
        Field::AccessToken,
        &[
            "accesstoken",
            "oauthaccesstoken",
            "oauthtoken",
            "encryptedaccesstoken",
            "accesstokenciphertext",
            "token",
        ],
    ),
    (
        Field::RefreshToken,
        &[
            "refreshtoken",
            "oauthrefreshtoken",
            "encryptedrefreshtoken",
            "refreshtokenciphertext",
        ],
    ),
    (Field::IdToken, &["idtoken", "oauthidtoken"]),
    (
        Field::AccessTokenExpiry,
        &[
            "accesstokenexpiresat",
            "tokenexpiresat",
            "expiresat",
            "accesstokenexpiry",
            "tokenexpiry",
            "expiry",
            "expireson",
            "expiration",
            "expires",
        ],
    ),
    (Field::AccessTokenType, &["tokentype", "accesstokentype"]),
    (Field::Scopes, &["scopes", "scope", "grantedscopes"]),
    (
        Field::App,
        &[
            "provider",
            "providerid",
            "providername",
            "oauthprovider",
            "oauthname",
            "app",
            "appname",
            "integration",
            "service",
            "connector",
            "platform",
        ],
    ),
    (
        Field::UserId,
        &["userid", "ownerid", "memberid", "customerid", "accountownerid"],
    ),
    (Field::LoginId, &["email", "useremail", "loginid"]),
    (
        Field::TenantId,
        &[
            "tenantid",
            "organizationid",
            "organisationid",
            "orgid",
            "workspaceid",
            "teamid",
            "companyid",
        ],
    ),
    (
        Field::ExternalIdentifier,
        &[
            "provideraccountid",
            "provideruserid",
            "externalid",
            "externalaccountid",
            "connectionid",
            "uid",
        ],
    ),
    (Field::GrantedBy, &["grantedby", "createdby"]),
    (
        Field::UpdatedAt,
        &["updatedat", "modifiedat", "modified", "lastupdated"],
    ),
];

/// Columns with a number of seconds.
const DURATIONS: [&str; 2] = ["expiresin", "tokenexpiresin"];

/// A table that may hold tokens, and the columns that its fields may come from.
#[derive(Debug, Clone)]
pub(super) struct Guess {
    pub(super) table: Table,
    pub(super) columns: BTreeMap<Field, String>,
    /// A column with the lifetime of the token in seconds.
    pub(super) lifetime: Option<String>,
    score: u32,
}

impl Guess {
    /// The guess at a table; its score is 0 if nothing in it looks like a token.
    pub(super) fn at(table: &Table) -> Self {
        let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
        let find = |names: &[&str]| {
            names.iter().find_map(|wanted| {
                let found = table
                    .columns
                    .iter()
                    .find(|column| plain(&column.name) == *wanted)?;
                Some(found.name.clone())
            })
        };
        let columns: BTreeMap<Field, String> = NAMES
            .iter()
            .filter_map(|(field, names)| Some((*field, find(names)?)))
            .collect();
        let has = |field: Field| columns.contains_key(&field);
        let mut score = 0;
        if has(Field::AccessToken) || has(Field::RefreshToken) {
            let worth = [
                (Field::AccessToken, 5),
                (Field::RefreshToken, 5),
                (Field::App, 2),
                (Field::UserId, 2),
                (Field::AccessTokenExpiry, 1),
                (Field::Scopes, 1),
            ];
            score = worth
                .iter()
                .filter(|(field, _)| has(*field))
                .map(|(_, worth)| worth)
                .sum();
            let name = plain(&table.name);
            let telling = [
                "oauth",
                "token",
                "credential",
                "integration",
                "connection",
                "account",
                "identit",
            ];
            score += u32::from(telling.iter().any(|word| name.contains(word)));
        }
        Self {
            lifetime: find(&DURATIONS),
            table: table.clone(),
            columns,
            score,
        }
    }

    /// The tables that may hold tokens, the likeliest first.
    pub(super) fn rank(tables: &[Table]) -> Vec<Self> {
        let mut found: Vec<Self> = tables
            .iter()
            .filter(|table| table.schema != "tokenferry")
            .map(Self::at)
            .filter(|guess| guess.score >= 5)
            .collect();
        found.sort_by_key(|guess| std::cmp::Reverse((guess.score, guess.table.rows)));
        found
    }

    /// The type of a field's column.
    pub(super) fn kind(&self, field: Field) -> Option<&str> {
        let name = self.columns.get(&field)?;
        let column = self.table.columns.iter().find(|column| column.name == *name)?;
        Some(&column.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::TableColumn;

    fn table(name: &str, columns: &[&str]) -> Table {
        Table {
            schema: "public".to_owned(),
            name: name.to_owned(),
            is_visible: true,
            is_readable: true,
            rows: 10,
            columns: columns
                .iter()
                .map(|&name| TableColumn {
                    name: name.to_owned(),
                    kind: "text".to_owned(),
                })
                .collect(),
            keys: Vec::new(),
        }
    }

    #[test]
    fn the_table_with_the_most_of_a_token_comes_first() {
        let tables = [
            table("sessions", &["id", "token", "user_id"]),
            table(
                "OauthGrants",
                &[
                    "Id",
                    "UserId",
                    "Provider",
                    "AccessToken",
                    "Refresh_Token",
                    "expires_in",
                ],
            ),
            table("users", &["id", "email", "password"]),
        ];
        let ranked = Guess::rank(&tables);
        let names: Vec<&str> = ranked.iter().map(|guess| guess.table.name.as_str()).collect();
        assert_eq!(names, ["OauthGrants", "sessions"]);
        let best = &ranked[0];
        assert_eq!(best.columns[&Field::RefreshToken], "Refresh_Token");
        assert_eq!(best.columns[&Field::App], "Provider");
        assert_eq!(best.lifetime.as_deref(), Some("expires_in"));
        assert_eq!(best.kind(Field::UserId), Some("text"));
    }
}
