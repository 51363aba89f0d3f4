//! An interner for values that many rows share: names of apps, types of tokens, scopes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::domain::Scopes;

/// The most values of a kind that are kept. Further ones are copied.
const MOST: usize = 256;

/// Longer values are not kept.
const LONGEST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Interner {
    names: HashSet<Arc<str>, RandomState>,
    /// By the text they were read from.
    scopes: HashMap<Box<str>, Scopes, RandomState>,
}

impl Interner {
    pub(super) fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.names.get(text) {
            return Arc::clone(name);
        }
        let name = Arc::<str>::from(text);
        if self.names.len() < MOST && text.len() <= LONGEST {
            self.names.insert(Arc::clone(&name));
        }
        name
    }

    /// The scopes of a text; `read` has to say the same of one text always.
    pub(super) fn scopes(&mut self, text: &str, read: impl FnOnce(&str) -> Scopes) -> Scopes {
        if let Some(scopes) = self.scopes.get(text) {
            return scopes.clone();
        }
        let scopes = read(text);
        if self.scopes.len() < MOST && text.len() <= LONGEST {
            self.scopes.insert(text.into(), scopes.clone());
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_shared_and_what_is_too_much_is_right_all_the_same() {
        let mut common = Interner::default();
        let first = common.name("google");
        assert!(Arc::ptr_eq(&first, &common.name("google")));
        for number in 0..2 * MOST {
            let text = number.to_string();
            assert_eq!(&*common.name(&text), text);
            let listed = Scopes::Listed([text.clone()].into());
            assert_eq!(common.scopes(&text, |_| listed.clone()), listed);
        }
        assert_eq!(common.names.len(), MOST);
        assert_eq!(
            common.scopes("0", |_| Scopes::Absent),
            Scopes::Listed(["0".to_owned()].into())
        );
    }
}
