//! Matching of the users that a search found with the login IDs that were searched for. Pure functions.

use std::collections::{BTreeSet, HashMap};

use crate::{
    descope::User,
    domain::{LoginId, Unresolved},
};

/// The match of one login ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// This user has it.
    User(String),
    /// No user has it for certain, or several users have it.
    Unresolved(Unresolved),
}

/// Returns one match for each login ID, in their order.
///
/// It is not published whether letter case counts. A user with exactly a requested login ID has it. A user
/// with none of them can only have been found because the API ignores letter case: it has the requested login
/// ID that differs from one of its own in nothing else.
pub(super) fn match_users(login_ids: &[LoginId], users: &[User]) -> Vec<Match> {
    let asked: BTreeSet<&str> = login_ids.iter().map(LoginId::reveal).collect();
    let mut exact: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut folded: HashMap<String, BTreeSet<&str>> = HashMap::new();
    for user in users.iter().filter(|user| !user.id.is_empty()) {
        let mut any = false;
        for own in user.login_ids.iter().filter(|own| asked.contains(own.as_str())) {
            exact.entry(own).or_default().insert(&user.id);
            any = true;
        }
        if !any {
            for own in &user.login_ids {
                folded.entry(own.to_lowercase()).or_default().insert(&user.id);
            }
        }
    }
    login_ids
        .iter()
        .map(|login_id| {
            let holders = exact
                .get(login_id.reveal())
                .or_else(|| folded.get(&login_id.reveal().to_lowercase()));
            match holders.map(|holders| (holders.first(), holders.len())) {
                Some((Some(user), 1)) => Match::User((*user).to_owned()),
                Some(_) => Match::Unresolved(Unresolved::Ambiguous),
                None => Match::Unresolved(Unresolved::Unknown),
            }
        })
        .collect()
}

/// Returns true if a user may have the requested login ID. The API, which may ignore letter case and white
/// space, found the user by one of the login IDs that it shows.
pub(super) fn has(user: &User, login_id: &LoginId) -> bool {
    let asked = login_id.reveal().trim().to_lowercase();
    let mut own = user.login_ids.iter();
    !user.id.is_empty() && own.any(|own| own.trim().to_lowercase() == asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descope::UserStatus;

    fn matched(asked: &[&str], users: &[(&str, &[&str])]) -> Vec<String> {
        let asked: Vec<LoginId> = asked.iter().map(|&text| LoginId::from(text)).collect();
        let users: Vec<User> = users
            .iter()
            .map(|(id, login_ids)| User {
                id: (*id).to_owned(),
                login_ids: login_ids.iter().map(|&text| text.to_owned()).collect(),
                status: UserStatus::Active,
            })
            .collect();
        match_users(&asked, &users)
            .into_iter()
            .map(|found| match found {
                Match::User(id) => id,
                Match::Unresolved(why) => format!("{why:?}"),
            })
            .collect()
    }

    #[test]
    fn each_gets_its_own_whatever_the_order() {
        let users: &[(&str, &[&str])] = &[("U2", &["b@x", "+49"]), ("U1", &["a@x"])];
        assert_eq!(
            matched(&["a@x", "b@x", "+49", "c@x"], users),
            ["U1", "U2", "U2", "Unknown"]
        );
    }

    #[test]
    fn two_users_with_one_login_id_are_ambiguous() {
        assert_eq!(
            matched(&["a@x"], &[("U1", &["a@x"]), ("U2", &["a@x"])]),
            ["Ambiguous"]
        );
        assert_eq!(
            matched(&["a@x"], &[("U1", &["A@x"]), ("U2", &["a@X"])]),
            ["Ambiguous"]
        );
        assert_eq!(
            matched(&["a@x"], &[("U1", &["a@x"]), ("U1", &["a@x"])]),
            ["U1"],
            "once on each of two pages"
        );
    }

    #[test]
    fn letter_case_counts_only_where_it_must() {
        assert_eq!(matched(&["Bob@x"], &[("U1", &["bob@x"])]), ["U1"]);
        // The API may have found the user by the second login ID alone, so the first stays unknown.
        assert_eq!(
            matched(&["Bob@x", "bob@x"], &[("U1", &["bob@x"])]),
            ["Unknown", "U1"]
        );
        assert_eq!(
            matched(&["Bob@x", "bob@x"], &[("U1", &["bob@x"]), ("U2", &["Bob@x"])]),
            ["U2", "U1"]
        );
    }

    #[test]
    fn strangers_and_users_without_an_id_are_nobody() {
        assert_eq!(
            matched(&["a@x"], &[("U1", &["z@x"]), ("", &["a@x"])]),
            ["Unknown"]
        );
    }
}
