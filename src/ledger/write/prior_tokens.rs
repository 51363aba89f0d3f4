//! Prior tokens: the tokens at a destination, derived from everything that the ledger holds of it.

use std::collections::HashMap;

use crate::{
    domain::{DestinationId, Prior},
    secret::Parts,
};

/// Collects the traces that rows and former places hold of each destination.
#[derive(Debug, Default)]
pub(super) struct Priors(HashMap<DestinationId, Traces>);

/// The traces of one destination.
#[derive(Debug, Default)]
struct Traces {
    committed: u32,
    /// The parts of a committed token.
    parts: Option<Parts>,
    /// The last batch that committed a token there.
    batch: Option<i64>,
    /// The last batch of which it is unknown whether it was stored there.
    unresolved_batch: Option<i64>,
}

impl Priors {
    /// Adds a token that this batch committed there.
    pub(super) fn committed(&mut self, at: DestinationId, batch: Option<i64>, parts: Option<Parts>) {
        let traces = self.0.entry(at).or_default();
        traces.committed += 1;
        traces.parts = parts;
        traces.batch = traces.batch.max(batch);
    }

    /// Adds a former token, whose row no longer refers to this destination.
    pub(super) fn former(&mut self, at: DestinationId, unresolved_batch: Option<i64>) {
        self.0.entry(at).or_default().unresolved_batch = unresolved_batch;
    }

    pub(super) fn into_map(self) -> HashMap<DestinationId, Prior> {
        self.0
            .into_iter()
            .map(|(at, traces)| (at, traces.prior()))
            .collect()
    }
}

impl Traces {
    fn prior(&self) -> Prior {
        match (self.committed, self.parts) {
            // Batch IDs ascend: a commit after the unresolved batch has overwritten whatever that left.
            _ if self.unresolved_batch > self.batch => Prior::Unresolved,
            (1, Some(parts)) => Prior::Token(parts),
            _ => Prior::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{FingerprintKey, SentAttributes};

    fn at() -> DestinationId {
        DestinationId::from_slice(&[7; 16]).unwrap()
    }

    fn parts() -> Parts {
        FingerprintKey::new(&[1; 32], None)
            .parts()
            .parts(Some("a"), None, SentAttributes::default())
    }

    fn prior(collect: impl FnOnce(&mut Priors)) -> Option<Prior> {
        let mut prior_tokens = Priors::default();
        collect(&mut prior_tokens);
        prior_tokens.into_map().get(&at()).copied()
    }

    #[test]
    fn only_one_token_that_nothing_uncertain_came_after_is_known_to_be_there() {
        assert_eq!(prior(|_| {}), None);
        let one = |prior_tokens: &mut Priors| prior_tokens.committed(at(), Some(5), Some(parts()));
        assert_eq!(prior(one), Some(Prior::Token(parts())));
        let two = prior(|prior_tokens| {
            one(prior_tokens);
            prior_tokens.committed(at(), Some(6), Some(parts()));
        });
        assert_eq!(two, Some(Prior::Unknown));
        let old = prior(|prior_tokens| prior_tokens.committed(at(), Some(5), None));
        assert_eq!(old, Some(Prior::Unknown));
        for (unresolved, expected) in [
            (None, Prior::Token(parts())),
            (Some(4), Prior::Token(parts())),
            (Some(6), Prior::Unresolved),
        ] {
            let found = prior(|prior_tokens| {
                one(prior_tokens);
                prior_tokens.former(at(), unresolved);
            });
            assert_eq!(found, Some(expected), "{unresolved:?}");
        }
        assert_eq!(
            prior(|prior_tokens| prior_tokens.former(at(), None)),
            Some(Prior::Unknown),
            "nothing is committed there now"
        );
    }
}
