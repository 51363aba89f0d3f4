//! Rules about scopes.

use std::collections::HashSet;

use super::{Found, is_plain};
use crate::domain::{Reason, Rule, Scopes};

/// Up to this many scopes are compared pairwise, which is cheaper than a set.
const FEW: usize = 24;

pub(super) fn check(scopes: &Scopes, found: &mut Found) -> Result<(), Reason> {
    let scopes = match scopes {
        Scopes::Absent => return Ok(()),
        Scopes::Unreadable => return found.broken(Rule::ScopesUnreadable, None),
        Scopes::Listed(scopes) => scopes,
    };
    if !scopes.iter().all(|scope| !scope.is_empty() && is_plain(scope)) {
        if scopes.iter().any(|scope| scope.trim().is_empty()) {
            found.broken(Rule::ScopesEmpty, None)?;
        }
        if scopes
            .iter()
            .any(|scope| scope.trim().contains(char::is_whitespace))
        {
            found.broken(Rule::ScopesUnsplit, None)?;
        }
    }
    if has_duplicates(scopes) {
        found.broken(Rule::ScopesDuplicate, None)?;
    }
    Ok(())
}

fn has_duplicates(scopes: &[String]) -> bool {
    if scopes.len() <= FEW {
        return scopes
            .iter()
            .enumerate()
            .any(|(position, scope)| scopes[..position].contains(scope));
    }
    let mut seen = HashSet::with_capacity(scopes.len());
    !scopes.iter().all(|scope| seen.insert(scope))
}
