//! The part of the configuration that is about an unknown table.

use std::fmt::Write as _;

use super::{
    draft::{Draft, configured_name, quoted},
    guess::Guess,
};
use crate::{config::Field, postgres::quote_identifier};

impl Draft {
    pub(super) fn write_table(&self, text: &mut String, guess: &Guess) {
        let table = &guess.table;
        let _ = writeln!(text, "table = {}", quoted(&configured_name(table)));
        match table.keys.iter().find(|key| table.can_order_by(key)) {
            Some(key) => {
                let _ = writeln!(text, "key = {}", list(key));
            }
            None => {
                let first = table.columns.first().map_or("id", |column| column.name.as_str());
                let _ = writeln!(
                    text,
                    "# OPEN: no key of integers, texts or UUIDs is unique and without nulls. Name columns that are.\nkey = {}",
                    quoted(first)
                );
            }
        }
        let app = guess.columns.get(&Field::App);
        self.write_condition(text, app.map(|column| quote_identifier(column)), None);
        text.push_str("\n[source.columns]\n");
        if app.is_none() {
            text.push_str("# OPEN: no column looks like the name of an app. For a single app, name it here.\napp = { sql = \"'app'\" }\n");
        }
        let owners = [Field::UserId, Field::LoginId, Field::TenantId];
        if !owners.iter().any(|owner| guess.columns.contains_key(owner)) {
            text.push_str("# OPEN: no column looks like the owner of a token. Map `user_id`, `login_id` or `tenant_id`.\n");
        } else if self.is_open && guess.columns.contains_key(&Field::UserId) {
            text.push_str(
                "# OPEN: `user_id` must be the user's ID at Descope. If it is not, map `login_id` instead.\n",
            );
        }
        let tokens = [Field::AccessToken, Field::RefreshToken];
        if !tokens.iter().any(|token| guess.columns.contains_key(token)) {
            text.push_str(
                "# OPEN: no column looks like a token. Map `access_token`, `refresh_token` or both.\n",
            );
        }
        for field in Field::COLUMNS {
            self.write_column(text, guess, field);
        }
        if let Some(sealed) = self.sealed {
            text.push_str(&sealed.configuration());
        }
    }

    fn write_column(&self, text: &mut String, guess: &Guess, field: Field) {
        let name = field.name();
        let is_token = field.is_token();
        match (guess.columns.get(&field), self.sealed) {
            (Some(column), Some(sealed)) if is_token => {
                let _ = writeln!(
                    text,
                    "{name} = {{ column = {}, decrypt = {} }}",
                    quoted(column),
                    quoted(sealed.format)
                );
            }
            (Some(column), _) => {
                let is_json = guess.kind(field).is_some_and(|kind| kind.starts_with("json"));
                if is_token && is_json {
                    text.push_str("# OPEN: the column holds JSON. Name the member with the token.\n");
                    let _ = writeln!(
                        text,
                        "{name} = {{ column = {}, json = {} }}",
                        quoted(column),
                        quoted(name)
                    );
                } else {
                    let _ = writeln!(text, "{name} = {}", quoted(column));
                }
            }
            (None, _) if field == Field::AccessTokenExpiry => {
                if let Some(lifetime) = &guess.lifetime {
                    let since = guess
                        .columns
                        .get(&Field::UpdatedAt)
                        .map_or("updated_at", String::as_str);
                    text.push_str("# OPEN: a lifetime in seconds. `since` must be the time of issue.\n");
                    let _ = writeln!(
                        text,
                        "{name} = {{ column = {}, since = {} }}",
                        quoted(lifetime),
                        quoted(since)
                    );
                }
            }
            (None, _) => {}
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [name] => quoted(name),
        names => format!(
            "[{}]",
            names
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}
