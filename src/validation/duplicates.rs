//! Duplicates: outdated rows of a destination, found before any token is read.

use std::collections::HashMap;

use super::{Validator, is_newer};
use crate::domain::{
    Decision, Destination, DestinationId, LegacyToken, Login, SourceKey, Superseded, Unsent, Version,
};

/// Takes rows that may share a destination, group by group and usually the newest first, and keeps one row
/// per destination of the group. Compares versions itself instead of relying on the order: a database may
/// sort numbers and texts differently.
#[derive(Debug)]
pub struct Duplicates<'a> {
    validator: &'a Validator,
    group: Option<i64>,
    newest: HashMap<Contested, Held>,
}

/// The destination that rows of a group may share.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Contested {
    Destination(DestinationId),
    /// The row's user is not resolved yet; the destination as if its login ID were the user ID.
    OfLogin(DestinationId),
}

/// The newest row so far.
#[derive(Debug)]
struct Held {
    key: SourceKey,
    version: Version,
    destination: Option<Destination>,
    app: Option<String>,
    is_ahead: bool,
}

impl<'a> Duplicates<'a> {
    /// Starts empty.
    #[must_use]
    pub fn new(validator: &'a Validator) -> Self {
        Self {
            validator,
            group: None,
            newest: HashMap::new(),
        }
    }

    /// Adds a row, and returns the decision about the older one of two rows with the same destination. `None`
    /// if the row is the first, has no destination, or if the run has already passed the older one
    /// (`is_ahead` is false).
    pub fn next(&mut self, mut row: LegacyToken, group: i64, is_ahead: bool) -> Option<Decision> {
        if self.group.replace(group) != Some(group) {
            self.newest.clear();
        }
        let (contested, destination, app) = match self.validator.destination(&row) {
            Ok(destination) => (Contested::Destination(destination.id()), Some(destination), None),
            Err(_) => {
                let Login::Id(login_id) = row.login else {
                    return None;
                };
                row.user_id = Some(login_id.reveal().to_owned());
                row.login = Login::Resolved(login_id);
                let destination = self.validator.destination(&row).ok()?;
                let contested = Contested::OfLogin(destination.id());
                (contested, None, Some(destination.app_id))
            }
        };
        let next = Held {
            key: row.key,
            version: row.version,
            destination,
            app,
            is_ahead,
        };
        let Some(held) = self.newest.get_mut(&contested) else {
            self.newest.insert(contested, next);
            return None;
        };
        let older = if is_newer(next.version, &next.key, held.version, &held.key) {
            std::mem::replace(held, next)
        } else {
            next
        };
        older.is_ahead.then(|| Decision {
            key: older.key,
            destination: older.destination,
            app: older.app,
            version: older.version,
            row_digest: None,
            end: Unsent::Superseded(Superseded::NewerRow(held.key.clone())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AppMap,
        domain::{LoginId, Scopes},
        secret::FingerprintKey,
    };

    fn row(key: &str, user: Option<&str>, login: Option<&str>, scopes: &[&str]) -> LegacyToken {
        LegacyToken {
            app: Some("google".into()),
            user_id: user.map(Into::into),
            login: login.map_or(Login::Absent, |login| Login::Id(LoginId::from(login))),
            scopes: Scopes::Listed(scopes.iter().map(|&scope| scope.into()).collect()),
            ..LegacyToken::empty(SourceKey::from(key))
        }
    }

    /// Returns key and successor of each outdated row.
    fn outdated(rows: Vec<(i64, LegacyToken)>) -> Vec<String> {
        let validator = Validator::new(AppMap::new(None), FingerprintKey::new(&[7; 32], None));
        let mut duplicates = Duplicates::new(&validator);
        rows.into_iter()
            .filter_map(|(group, row)| duplicates.next(row, group, true))
            .map(|decision| match decision.end {
                Unsent::Superseded(Superseded::NewerRow(by)) => format!("{} by {by}", decision.key),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn of_rows_for_one_destination_the_newest_stays_in_whatever_order_they_come() {
        let rows = ["3", "1", "2"].map(|key| (7, row(key, Some("u"), None, &[])));
        assert_eq!(outdated(rows.into()), ["1 by 3", "2 by 3"]);
        let rows = ["2", "1", "3"].map(|key| (7, row(key, Some("u"), None, &[])));
        assert_eq!(outdated(rows.into()), ["1 by 2", "2 by 3"]);
    }

    #[test]
    fn rows_of_one_hash_that_differ_in_scopes_or_user_are_no_duplicates() {
        let rows = vec![
            (7, row("1", Some("u"), None, &["a", "b"])),
            (7, row("2", Some("u"), None, &["b", "a"])),
            (7, row("3", Some("u"), None, &["a"])),
            (7, row("4", Some("other"), None, &["a"])),
            (7, row("5", None, None, &["a"])),
            (8, row("6", Some("v"), None, &["a"])),
        ];
        assert_eq!(outdated(rows), ["1 by 2"]);
    }

    #[test]
    fn rows_without_a_user_are_compared_by_their_login_ids_and_never_with_users() {
        let rows = vec![
            (7, row("1", None, Some("u"), &[])),
            (7, row("2", Some("u"), None, &[])),
            (7, row("3", None, Some("u"), &[])),
        ];
        assert_eq!(outdated(rows), ["1 by 3"]);
    }
}
