//! Properties that hold for any tokens in any order: nothing lost, nothing twice, no limit passed, order
//! kept.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::{Chunker, Limits, Singly};
use crate::{
    descope::{BODY_OVERHEAD, RequestBody, SINGLE_OVERHEAD},
    domain::{Batch, BatchSize, Call, Destination, EncodedToken, Item, Subject},
    secret::{FingerprintKey, SentAttributes},
};

const LIMITS: Limits = Limits {
    max_tokens: 100,
    max_bytes: 1 << 20,
    overhead: BODY_OVERHEAD,
    single_overhead: SINGLE_OVERHEAD,
};

fn item(key: usize, subject: Subject, app: u8, id: u8, size: usize) -> Item {
    // Letter case varies, as it may in a source that never enforced one.
    let name = if key.is_multiple_of(2) {
        format!("id{id}")
    } else {
        format!("ID{id}")
    };
    let app_id = format!("app{app}");
    let destination = match subject {
        Subject::User => Destination::user(app_id, name),
        Subject::Tenant => Destination::tenant(app_id, name),
    }
    .identified_by(Some(key.to_string()));
    let refresh = key.is_multiple_of(3).then_some("rt");
    Item {
        parts: FingerprintKey::new(&[0; 32], None).parts().parts(
            Some("at"),
            refresh,
            SentAttributes::default(),
        ),
        encoded: EncodedToken::new(vec![b'}'; size]),
        ..Item::example(&key.to_string(), destination)
    }
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![3 => Just(Subject::User), 1 => Just(Subject::Tenant)]
}

fn identity(item: &Item) -> (String, String) {
    (
        item.destination.app_id.clone(),
        item.destination.subject_id().to_lowercase(),
    )
}

fn run(items: Vec<Item>, limits: Limits, singly: Singly, lower_at: Option<usize>) -> (Vec<Batch>, Vec<Item>) {
    let mut chunker = Chunker::new(limits, singly);
    let mut items = items;
    let (mut batches, too_large) = (Vec::new(), chunker.take_oversized(&mut items));
    for (position, item) in items.into_iter().enumerate() {
        if lower_at == Some(position) {
            let half = BatchSize {
                tokens: limits.max_tokens / 2,
                bytes: limits.max_bytes,
            };
            chunker.resize(Subject::User, half);
            chunker.resize(Subject::Tenant, half);
        }
        chunker.push(item, &mut batches);
    }
    chunker.flush(&mut batches);
    (batches, too_large)
}

proptest! {
    #[test]
    fn holds_for_any_tokens(
        tokens in prop::collection::vec((subject(), 0u8..3, 0u8..40, 1usize..300), 0..400),
        max_tokens in 1usize..30,
        max_bytes in 60usize..2000,
        lower_at in prop::option::of(0usize..400),
        singly in prop_oneof![
            Just(Singly::First(0)),
            (1u64..500).prop_map(Singly::First),
            Just(Singly::All),
        ],
    ) {
        let limits = Limits { max_tokens, max_bytes, ..LIMITS };
        let items: Vec<_> = tokens
            .iter()
            .enumerate()
            .map(|(key, &(subject, app, id, size))| item(key, subject, app, id, size))
            .collect();
        let count = items.len();
        let (batches, too_large) = run(items, limits, singly, lower_at);

        let mut seen = HashSet::new();
        for item in &too_large {
            prop_assert!(item.encoded.len() + SINGLE_OVERHEAD > max_bytes);
            prop_assert!(singly != Singly::First(0) || item.encoded.len() + BODY_OVERHEAD > max_bytes);
            prop_assert!(seen.insert(item.key.clone()));
        }
        let mut last_of: HashMap<(Subject, (String, String)), usize> = HashMap::new();
        for batch in &batches {
            prop_assert!(!batch.items.is_empty());
            prop_assert!(batch.items.len() <= max_tokens);
            prop_assert!(RequestBody::new(batch, &Arc::default()).len() <= max_bytes);
            let mut identities = HashSet::new();
            let mut last = None;
            for item in &batch.items {
                prop_assert!(seen.insert(item.key.clone()), "twice: {}", item.key);
                prop_assert_eq!(item.destination.subject, batch.subject);
                prop_assert!(identities.insert(identity(item)), "one identity twice in a batch");
                let key: usize = item.key.as_str().parse().unwrap();
                prop_assert!(last < Some(key), "order within a batch");
                last = Some(key);
                let before = last_of.insert((batch.subject, identity(item)), key);
                prop_assert!(before < Some(key), "order within an identity");
            }
        }
        prop_assert_eq!(seen.len(), count);

        // Those that go by themselves are the first that go at all.
        let expected = match singly {
            Singly::First(first) => usize::try_from(first).unwrap().min(count - too_large.len()),
            Singly::All => count - too_large.len(),
        };
        let single = batches.iter().take_while(|batch| batch.call == Call::Single);
        prop_assert!(single.clone().all(|batch| batch.items.len() == 1));
        prop_assert_eq!(single.count(), expected);
        prop_assert!(batches[expected..].iter().all(|batch| batch.call == Call::Batch));
    }
}

#[test]
fn five_thousand_tokens_at_a_hundred_are_fifty_batches() {
    let items = (0..5000).map(|key| {
        let mut item = item(key, Subject::User, 0, 0, 100);
        item.destination.user_id = Some(format!("user {key}"));
        item.identity = item.destination.identity();
        item
    });
    let (batches, _) = run(items.collect(), LIMITS, Singly::First(0), None);
    assert_eq!(batches.len(), 50);
}

#[test]
fn a_user_with_two_connections_does_not_halve_the_batches() {
    // Rows of one user stand side by side, as they do in a table that grew over time.
    let items = (0..1000).map(|key| {
        let mut item = item(key, Subject::User, 0, 0, 100);
        item.destination.user_id = Some(format!("user {}", key / 2));
        item.identity = item.destination.identity();
        item
    });
    let (batches, _) = run(items.collect(), LIMITS, Singly::First(0), None);
    assert_eq!(batches.len(), 10);
}

#[test]
fn a_later_batch_that_is_full_first_does_not_leave_first() {
    let limits = Limits {
        max_bytes: BODY_OVERHEAD + 300,
        ..LIMITS
    };
    // The second connections are larger, so their batch is full before that of the first ones.
    let sizes = [(0, 50), (0, 200), (1, 10), (1, 150)];
    let items = sizes.iter().enumerate();
    let items = items.map(|(key, &(user, size))| item(key, Subject::User, 0, user, size));
    let (batches, _) = run(items.collect(), limits, Singly::First(0), None);
    let keys: Vec<Vec<&str>> = batches
        .iter()
        .map(|batch| batch.items.iter().map(|item| item.key.as_str()).collect())
        .collect();
    assert_eq!(keys, [vec!["0", "2"], vec!["1"], vec!["3"]]);
}

#[test]
fn a_token_that_is_exactly_as_large_as_allowed_fits() {
    let limits = Limits {
        max_tokens: 10,
        max_bytes: BODY_OVERHEAD + 50,
        ..LIMITS
    };
    let (batches, too_large) = run(
        vec![item(0, Subject::User, 0, 0, 50), item(1, Subject::User, 0, 1, 51)],
        limits,
        Singly::First(0),
        None,
    );
    assert_eq!((batches.len(), too_large.len()), (1, 1));
}
