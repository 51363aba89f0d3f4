//! The scopes by which the API distinguishes tokens of one owner.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Scopes;

/// Scopes as a sorted set. The API ignores the order of scopes, so a destination does too. Empty if none are
/// sent: the source has none, or they cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct ScopeSet(
    /// `None` is the only form of the empty set and takes no memory: most sources have no scopes.
    Option<Arc<[String]>>,
);

impl From<Vec<String>> for ScopeSet {
    fn from(scopes: Vec<String>) -> Self {
        Self::of(&Scopes::Listed(scopes.into()))
    }
}

impl From<ScopeSet> for Vec<String> {
    fn from(scopes: ScopeSet) -> Self {
        scopes.as_slice().to_vec()
    }
}

impl ScopeSet {
    /// Returns the set of the scopes to send. A list that is already in order is shared, not copied.
    #[must_use]
    pub fn of(scopes: &Scopes) -> Self {
        match scopes {
            Scopes::Listed(listed) if listed.is_empty() => Self(None),
            Scopes::Listed(listed) if listed.is_sorted_by(|one, next| one < next) => {
                Self(Some(Arc::clone(listed)))
            }
            Scopes::Listed(listed) => {
                let mut sorted: Vec<&String> = listed.iter().collect();
                sorted.sort_unstable();
                sorted.dedup();
                Self(Some(sorted.into_iter().cloned().collect()))
            }
            Scopes::Absent | Scopes::Unreadable => Self(None),
        }
    }

    /// Returns the scopes in order.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns true if no scopes are sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(scopes: &[&str]) -> ScopeSet {
        ScopeSet::of(&Scopes::Listed(
            scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ))
    }

    #[test]
    fn order_and_repetition_make_no_difference_and_letter_case_does() {
        assert_eq!(set(&["b", "a", "b"]), set(&["a", "b"]));
        assert_eq!(set(&["b", "a"]).as_slice(), ["a", "b"]);
        assert_ne!(set(&["a"]), set(&["A"]));
        assert_ne!(set(&["a b"]), set(&["a", "b"]));
    }

    #[test]
    fn no_scopes_are_one_set_however_the_source_says_it() {
        for scopes in [Scopes::Absent, Scopes::Unreadable, Scopes::Listed([].into())] {
            assert_eq!(ScopeSet::of(&scopes), ScopeSet::default());
        }
        assert!(ScopeSet::default().is_empty() && !set(&["a"]).is_empty());
    }
}
