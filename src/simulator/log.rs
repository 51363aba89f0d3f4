//! Which requests came and how they were answered.

use std::collections::{BTreeMap, HashSet};

use axum::http::StatusCode;
use tokio::time::Instant;

use crate::simulator::check::Item;

/// One request to a path that exists.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When it arrived.
    pub at: Instant,
    /// Its path, without a query.
    pub path: String,
    /// The rate-limit tier that it named.
    pub license: Option<String>,
    /// How it was answered; `None` while it is not, or if it never was.
    pub status: Option<u16>,
    /// The size of its body.
    pub bytes: usize,
    /// How many tokens it carried; `None` for a read, or if it could not be parsed.
    pub tokens: Option<usize>,
    /// How many of its tokens share app and user (or tenant) with another, so that a failure could not be
    /// told apart.
    pub ambiguous: usize,
}

/// The requests in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Vec<LoggedRequest>);

impl RequestLog {
    /// Every request.
    #[must_use]
    pub fn all(&self) -> &[LoggedRequest] {
        &self.0
    }

    /// How many requests there were by path and status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, Option<u16>), usize> {
        let mut counts = BTreeMap::new();
        for request in &self.0 {
            *counts.entry((request.path.clone(), request.status)).or_default() += 1;
        }
        counts
    }

    /// How many requests were answered with `status`.
    #[must_use]
    pub fn with_status(&self, status: u16) -> usize {
        self.0
            .iter()
            .filter(|request| request.status == Some(status))
            .count()
    }

    /// How many requests had a path that ends like this.
    #[must_use]
    pub fn to(&self, path_end: &str) -> usize {
        self.0
            .iter()
            .filter(|request| request.path.ends_with(path_end))
            .count()
    }

    /// How many requests fetched a token, whichever way it was asked for.
    #[must_use]
    pub fn fetches(&self) -> usize {
        let is_fetch = |path: &str| path.ends_with("/token") || path.ends_with("/token/latest");
        self.0
            .iter()
            .filter(|request| request.path.contains("/outbound/app/") && is_fetch(&request.path))
            .count()
    }

    /// The batches that could be parsed, by their number of tokens, in order of arrival.
    #[must_use]
    pub fn batch_sizes(&self) -> Vec<usize> {
        let batches = self
            .0
            .iter()
            .filter(|request| request.path.ends_with("/batch/upload"));
        batches.filter_map(|request| request.tokens).collect()
    }

    /// The requests to a path, or all others.
    pub(super) fn only(&self, path: &str, is_wanted: bool) -> Self {
        let requests = self.0.iter();
        let wanted = requests.filter(|request| (request.path == path) == is_wanted);
        Self(wanted.cloned().collect())
    }

    pub(super) fn arrived(&mut self, path: &str, license: Option<&str>) -> Entry {
        self.0.push(LoggedRequest {
            at: Instant::now(),
            path: path.to_owned(),
            license: license.map(Into::into),
            status: None,
            bytes: 0,
            tokens: None,
            ambiguous: 0,
        });
        Entry(self.0.len() - 1)
    }

    pub(super) fn read(&mut self, entry: Entry, bytes: usize) {
        self.0[entry.0].bytes = bytes;
    }

    pub(super) fn carries(&mut self, entry: Entry, items: &[Item]) {
        let identities: HashSet<_> = items.iter().map(Item::identity).collect();
        self.0[entry.0].tokens = Some(items.len());
        self.0[entry.0].ambiguous = items.len() - identities.len();
    }

    pub(super) fn answered(&mut self, entry: Entry, status: StatusCode) {
        self.0[entry.0].status = Some(status.as_u16());
    }
}

/// The place of a request in the log. Nothing is ever taken out of the log, so it stays valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry(usize);
