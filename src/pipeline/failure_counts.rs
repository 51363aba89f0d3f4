//! Failure counts of this process, by code.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tracing::warn;

/// The most codes that are distinguished. The API has a few dozen.
const MOST_CODES: usize = 200;

/// The failures that this process saw.
#[derive(Debug, Default)]
pub(super) struct Failed(Mutex<BTreeMap<String, i64>>);

impl Failed {
    /// Counts tokens that failed, would fail or differ with this code. Logs the first one.
    pub(super) fn add(&self, code: &str, reason: &str, count: i64) {
        let mut by_code = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = by_code.get_mut(code) {
            *counted += count;
        } else if by_code.len() < MOST_CODES {
            warn!(
                code,
                reason,
                "first failure with this code; `tokenferry failures --run` with this run's ID lists all"
            );
            by_code.insert(code.to_owned(), count);
        }
    }

    pub(super) fn by_code(&self) -> Vec<(String, i64)> {
        let by_code = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_code
            .iter()
            .map(|(code, count)| (code.clone(), *count))
            .collect()
    }
}
