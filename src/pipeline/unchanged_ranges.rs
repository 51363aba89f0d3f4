//! Unchanged ranges: key ranges of the source that need not be read, as every row of them is stored and none
//! has changed since.
//!
//! A digest stands for the rows that an earlier run read, not for what the source had at another moment. What
//! else decides whether a row is due is in the digest's basis, or keeps ranges from being used at all: login
//! IDs and provider tokens, which may change without the row, tokens of other migrations, a canary.

use std::collections::VecDeque;

use tracing::info;

use super::{PipelineError, Request, selection, session::Session};
use crate::{
    config::Field,
    domain::{DryRun, KeyRange, OlderVersions, RowsDigest, Selection, SourceKey},
    reader::{Page, Source},
    secret::{Fingerprint, FingerprintKey},
};

/// More outdated rows are not looked for in ranges one by one: then every range is read.
const MOST_OUTDATED: usize = 10_000;

/// The ranges that are ahead of the reader.
#[derive(Debug, Default)]
pub(super) struct UnchangedRanges {
    ranges: VecDeque<KeyRange<Fingerprint>>,
    /// The last key of the range that is being read.
    until: Option<SourceKey>,
    seal: Option<RangeSeal>,
    skipped_rows: i64,
}

/// Makes digests of rows into those that the ledger keeps: keyed, and of all else that decides whether a row
/// is due.
#[derive(Debug, Clone)]
pub(super) struct RangeSeal {
    key: FingerprintKey,
    basis: Fingerprint,
}

impl RangeSeal {
    fn new(session: &Session<'_>, source: &Source) -> Self {
        let settings = session.settings;
        let key = session.ledger.key().clone();
        let about = selection::digest(settings, source, &session.ledger);
        let (target, description) = (settings.api.target(), source.description());
        let tolerated = format!("{:?}", settings.tolerated);
        let basis = key.selection_digest(&[
            about.as_bytes(),
            target.as_bytes(),
            description.as_bytes(),
            tolerated.as_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
        ]);
        Self { key, basis }
    }

    fn seed(&self) -> i64 {
        self.key.row_hash_seed()
    }

    fn digest(&self, rows: RowsDigest) -> Fingerprint {
        self.key.range_digest(&self.basis, rows.rows, rows.sum)
    }

    /// Returns ranges as the ledger keeps them.
    pub(super) fn ranges(&self, ranges: Vec<KeyRange<RowsDigest>>) -> Vec<KeyRange<Fingerprint>> {
        ranges
            .into_iter()
            .map(|range| KeyRange {
                after: range.after,
                until: range.until,
                digest: self.digest(range.digest),
            })
            .collect()
    }
}

impl UnchangedRanges {
    /// Takes the ranges out of the ledger, for a run that may send tokens. There are none where rows cannot
    /// be compared by digests.
    pub(super) async fn take(
        session: &Session<'_>,
        request: &Request,
        source: &mut Source,
    ) -> Result<Self, PipelineError> {
        if request.dry_run == DryRun::On {
            return Ok(Self::default());
        }
        let (settings, ledger) = (session.settings, &session.ledger);
        // Also where they are not used: what is sent makes them invalid.
        let ranges = ledger.take_clean_ranges().await?;
        let is_by_row_alone =
            settings.source.provider.is_none() && !settings.source.columns.contains_key(&Field::LoginId);
        let is_plain = request.selection == Selection::All
            && request.canary.is_none()
            && request.limit.is_none()
            && request.older == OlderVersions::Refused;
        // On a first run the hashes would cost as much as they save on the next one.
        if !is_plain
            || !is_by_row_alone
            || ledger.is_new_to(&session.run).await?
            || ledger.has_siblings().await?
        {
            return Ok(Self::default());
        }
        let seal = RangeSeal::new(session, source);
        source.hash_rows(seal.seed());
        Ok(Self {
            // A resumed run left its ranges behind when it was begun; none may lead it back before its
            // cursor.
            ranges: if request.full || session.run.cursor.is_some() {
                VecDeque::new()
            } else {
                ranges.into()
            },
            seal: Some(seal),
            ..Self::default()
        })
    }

    /// Returns what seals the ranges that this run finds; `None` if it looks for none.
    pub(super) fn seal(&self) -> Option<&RangeSeal> {
        self.seal.as_ref()
    }

    /// Drops the ranges that hold one of these rows, which are outdated now; all of them, if that cannot be
    /// told.
    pub(super) async fn drop_outdated(
        &mut self,
        source: &mut Source,
        outdated: &[SourceKey],
    ) -> Result<(), PipelineError> {
        if outdated.len() > MOST_OUTDATED {
            self.ranges.clear();
        }
        let mut ranges: Vec<_> = std::mem::take(&mut self.ranges).into();
        // If that cannot be told, none is left.
        if drop_ranges_with(&mut ranges, source, outdated).await.is_ok() {
            self.ranges = ranges.into();
        }
        Ok(())
    }

    /// Drops all ranges: every row is read, and no range is found.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Reads the next page after a key, or skips the next range; `None` at the end.
    pub(super) async fn next(
        &mut self,
        source: &mut Source,
        after: Option<&SourceKey>,
    ) -> Result<Option<Page>, PipelineError> {
        if self.until.is_none()
            && let Some(seal) = &self.seal
            && let Some(range) = self.ranges.pop_front_if(|range| range.after.as_ref() == after)
        {
            let found = source.digest(after, &range.until, seal.seed()).await?;
            if let Some(digest) = found.filter(|found| seal.digest(*found) == range.digest) {
                self.skipped_rows += digest.rows;
                return Ok(Some(source.unread_page(KeyRange {
                    after: range.after,
                    until: range.until,
                    digest,
                })));
            }
            self.until = Some(range.until);
        }
        let until = match (&self.until, self.ranges.front()) {
            (Some(until), _) => Some(until.clone()),
            (None, Some(next)) => next.after.clone(),
            (None, None) => None,
        };
        let page = source.page(after, until.as_ref()).await?;
        if let Some(page) = &page
            && Some(&page.last) == self.until.as_ref()
        {
            self.until = None;
        }
        let (Some(until), None) = (until, &page) else {
            if page.is_none() {
                self.report();
            }
            return Ok(page);
        };
        // Nothing is left in the range: the next one begins at its last key.
        self.until = None;
        Ok(Some(source.unread_page(KeyRange {
            after: after.cloned(),
            until,
            digest: RowsDigest::default(),
        })))
    }

    fn report(&self) {
        if self.skipped_rows > 0 {
            info!(
                rows = self.skipped_rows,
                "rows in unchanged key ranges were not read"
            );
        }
    }
}

/// Drops the ranges that have one of these rows.
pub(super) async fn drop_ranges_with<D>(
    ranges: &mut Vec<KeyRange<D>>,
    source: &mut Source,
    rows: &[SourceKey],
) -> Result<(), PipelineError> {
    if !ranges.is_empty() && !rows.is_empty() {
        let mut dropped = source.ranges_with(ranges, rows).await?;
        dropped.sort_unstable();
        let mut position = 0;
        ranges.retain(|_| {
            let is_dropped = dropped.binary_search(&position).is_ok();
            position += 1;
            !is_dropped
        });
    }
    Ok(())
}
