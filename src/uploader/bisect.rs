//! Bisection of a rejected batch: its failed tokens, and the batches to send again. Pure functions.

use crate::{
    descope::{Named, Refusal},
    domain::{Batch, Item, Reason},
};

/// The parts of a rejected batch. Each token is in exactly one of the two fields.
#[derive(Debug, Default)]
pub(super) struct Bisection {
    /// Positions in the rejected batch, with their reasons.
    pub(super) blamed: Vec<(usize, Reason)>,
    /// The tokens to send again. The caller sets the parent.
    pub(super) again: Option<Batch>,
}

/// Returns the tokens that a rejection names, with their reasons. The list may be incomplete, may name IDs
/// that are not in the batch, and may spell them in another letter case. The result is empty if none of the
/// named IDs is in the batch.
pub(super) fn by_name(batch: &Batch, named: &[Named]) -> Vec<(usize, Reason)> {
    batch
        .items
        .iter()
        .enumerate()
        .filter_map(|(position, item)| {
            let exact = named.iter().find(|named| {
                named.app_id == item.destination.app_id && named.subject_id == item.destination.subject_id()
            });
            // No two tokens of a batch differ only in letter case, so this cannot match the wrong one.
            let loose = || {
                named.iter().find(|named| {
                    same_letters(&named.app_id, &item.destination.app_id)
                        && same_letters(&named.subject_id, item.destination.subject_id())
                })
            };
            exact
                .or_else(loose)
                .map(|named| (position, api_reason(&named.refusal)))
        })
        .collect()
}

fn same_letters(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// Returns the code and text of the API as a reason.
pub(super) fn api_reason(refusal: &Refusal) -> Reason {
    Reason::api(refusal.code.clone(), refusal.text.clone())
}

/// Removes the blamed tokens; all others are sent again.
pub(super) fn without(batch: Batch, blamed: Vec<(usize, Reason)>) -> Bisection {
    let Batch {
        subject,
        call,
        items,
        parent,
    } = batch;
    let mut next = blamed.iter().map(|(position, _)| *position).peekable();
    let rest: Vec<Item> = items
        .into_iter()
        .enumerate()
        .filter_map(|(position, item)| {
            if next.next_if_eq(&position).is_some() {
                None
            } else {
                Some(item)
            }
        })
        .collect();
    let again = (!rest.is_empty()).then_some(Batch {
        subject,
        call,
        items: rest,
        parent,
    });
    Bisection { blamed, again }
}

/// Blames a single token that was rejected without a name; more of them are all sent again.
pub(super) fn blame_single(batch: Batch, reason: &Reason) -> Bisection {
    if batch.items.len() == 1 {
        return Bisection {
            blamed: vec![(0, reason.clone())],
            again: None,
        };
    }
    Bisection {
        blamed: Vec::new(),
        again: Some(batch),
    }
}

/// Splits a batch whose rejection names no token into halves. Repeated for one bad token among n, this takes
/// about 2 log2 n requests.
pub(super) fn halve(mut batch: Batch) -> [Batch; 2] {
    let second = Batch {
        subject: batch.subject,
        call: batch.call,
        items: batch.items.split_off(batch.items.len() / 2),
        parent: batch.parent,
    };
    [batch, second]
}

/// Fails all tokens. Those that were not named fail with the reason `other`.
pub(super) fn reject_all(count: usize, named: Vec<(usize, Reason)>, other: &Reason) -> Bisection {
    let mut named = named.into_iter().peekable();
    let blamed = (0..count)
        .map(|position| {
            named
                .next_if(|(at, _)| *at == position)
                .unwrap_or_else(|| (position, other.clone()))
        })
        .collect();
    Bisection { blamed, again: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Call, Destination, EncodedToken, Subject};

    fn batch(users: &[&str]) -> Batch {
        let items = users.iter().map(|user| Item {
            encoded: EncodedToken::new(br#"{"accessToken":"very-secret"}"#.to_vec()),
            ..Item::example(user, Destination::user("App", *user))
        });
        Batch {
            subject: Subject::User,
            call: Call::Batch,
            items: items.collect(),
            parent: None,
        }
    }

    fn named(app: &str, user: &str) -> Named {
        let refusal = Refusal {
            status: Some(200),
            code: "E1".into(),
            text: "no".into(),
        };
        Named {
            app_id: app.into(),
            subject_id: user.into(),
            refusal,
        }
    }

    fn keys(batch: &Batch) -> Vec<&str> {
        batch.items.iter().map(|item| item.key.as_str()).collect()
    }

    #[test]
    fn named_tokens_are_taken_out_whatever_their_letter_case() {
        let batch = batch(&["u1", "u2", "u3"]);
        let blamed = by_name(&batch, &[named("app", "U2"), named("App", "stranger")]);
        assert_eq!(blamed[0].0, 1);
        assert_eq!(blamed[0].1.text, "no");
        let isolated = without(batch, blamed);
        assert_eq!(keys(&isolated.again.unwrap()), ["u1", "u3"]);
    }

    #[test]
    fn names_of_strangers_blame_nobody() {
        let batch = batch(&["u1"]);
        assert!(by_name(&batch, &[named("App", "x"), named("Other", "u1")]).is_empty());
    }

    #[test]
    fn nothing_is_left_when_all_are_named() {
        let batch = batch(&["u1", "u2"]);
        let blamed = by_name(&batch, &[named("App", "u1"), named("App", "u2")]);
        assert!(without(batch, blamed).again.is_none());
    }

    #[test]
    fn halving_finds_one_culprit_in_few_requests() {
        let users: Vec<String> = (0..100).map(|user| format!("u{user}")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let (mut stack, mut requests, mut committed, mut culprits) = (vec![batch(&users)], 0, 0, Vec::new());
        while let Some(batch) = stack.pop() {
            requests += 1;
            if !batch.items.iter().any(|item| item.key.as_str() == "u37") {
                committed += batch.items.len();
                continue;
            }
            let first = batch.items[0].key.clone();
            let isolated = blame_single(batch, &Reason::api("E", "refused"));
            culprits.extend(isolated.blamed.iter().map(|_| first.as_str().to_owned()));
            stack.extend(isolated.again.into_iter().flat_map(halve));
        }
        assert_eq!((committed, culprits), (99, vec!["u37".to_owned()]));
        assert!(requests <= 2 * 7 + 1, "{requests}");
    }
}
