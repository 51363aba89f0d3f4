//! Tells which of the rows that share a destination are outdated, before any of them is read with its token.

use std::collections::HashMap;

use super::Screen;
use crate::model::{Decision, DestinationId, LegacyToken, Login, SourceKey, Superseded, Unsent};

/// Takes rows that may share a destination as the source finds them: those of one group behind one another, and of each group
/// the newest first. Holds one key for each destination of a group.
#[derive(Debug)]
pub struct Duplicates<'a> {
    screen: &'a Screen,
    group: Option<i64>,
    newest: HashMap<Contested, SourceKey>,
}

/// What several rows of a group may have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Contested {
    Destination(DestinationId),
    /// The row's user is not looked up yet: what its destination would be if its login ID were the user.
    OfLogin(DestinationId),
}

impl<'a> Duplicates<'a> {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(screen: &'a Screen) -> Self {
        Self {
            screen,
            group: None,
            newest: HashMap::new(),
        }
    }

    /// The row's end, if a row before it is newer and has the same destination. A row without a destination is none of these.
    pub fn next(&mut self, mut row: LegacyToken, group: i64) -> Option<Decision> {
        if self.group.replace(group) != Some(group) {
            self.newest.clear();
        }
        let (contested, destination, app) = match self.screen.destination(&row) {
            Ok(destination) => (Contested::Destination(destination.id()), Some(destination), None),
            Err(_) => {
                let Login::Id(login_id) = row.login else {
                    return None;
                };
                row.user_id = Some(login_id.reveal().to_owned());
                row.login = Login::Resolved(login_id);
                let destination = self.screen.destination(&row).ok()?;
                let contested = Contested::OfLogin(destination.id());
                (contested, None, Some(destination.app_id))
            }
        };
        match self.newest.get(&contested) {
            Some(newest) => Some(Decision {
                key: row.key,
                destination,
                app,
                version: row.version,
                end: Unsent::Superseded(Superseded::NewerRow(newest.clone())),
            }),
            None => {
                self.newest.insert(contested, row.key);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AppMap,
        model::{FingerprintKey, LoginId, Scopes},
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

    /// Key and successor of each outdated row.
    fn outdated(rows: Vec<(i64, LegacyToken)>) -> Vec<String> {
        let screen = Screen::new(AppMap::new(None), FingerprintKey::new(&[7; 32], None));
        let mut duplicates = Duplicates::new(&screen);
        rows.into_iter()
            .filter_map(|(group, row)| duplicates.next(row, group))
            .map(|decision| match decision.end {
                Unsent::Superseded(Superseded::NewerRow(by)) => format!("{} by {by}", decision.key),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_first_row_for_a_destination_is_the_newest() {
        let rows = ["3", "1", "2"].map(|key| (7, row(key, Some("u"), None, &[])));
        assert_eq!(outdated(rows.into()), ["1 by 3", "2 by 3"]);
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
        assert_eq!(outdated(rows), ["2 by 1"]);
    }

    #[test]
    fn rows_without_a_user_are_compared_by_their_login_ids_and_never_with_users() {
        let rows = vec![
            (7, row("1", None, Some("u"), &[])),
            (7, row("2", Some("u"), None, &[])),
            (7, row("3", None, Some("u"), &[])),
        ];
        assert_eq!(outdated(rows), ["3 by 1"]);
    }
}
