//! The log of requests and their answers.

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
    /// The status of the answer; `None` if there is none yet, or never was.
    pub status: Option<u16>,
    /// The size of its body.
    pub bytes: usize,
    /// The number of tokens; `None` for a read, or if the body could not be parsed.
    pub tokens: Option<usize>,
    /// The number of tokens that share app and user (or tenant) with another one: a failure of them is
    /// ambiguous.
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

    /// Counts requests by path and status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, Option<u16>), usize> {
        let mut counts = BTreeMap::new();
        for request in &self.0 {
            *counts.entry((request.path.clone(), request.status)).or_default() += 1;
        }
        counts
    }

    /// Counts requests that were answered with `status`.
    #[must_use]
    pub fn with_status(&self, status: u16) -> usize {
        self.0
            .iter()
            .filter(|request| request.status == Some(status))
            .count()
    }

    /// Counts requests by the end of their path.
    #[must_use]
    pub fn to(&self, path_end: &str) -> usize {
        self.0
            .iter()
            .filter(|request| request.path.ends_with(path_end))
            .count()
    }

    /// Counts requests that fetched a token.
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
