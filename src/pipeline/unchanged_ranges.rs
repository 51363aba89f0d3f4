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
    /// In the order of their keys.
    ranges: VecDeque<KeyRange<RowsDigest>>,
    /// Every row that the source had when they were compared is in one of them.
    are_all: bool,
    seal: Option<RangeSeal>,
    skipped_rows: i64,
}

/// The ranges that an earlier run found clean.
pub(super) struct CleanBefore {
    ranges: Vec<KeyRange<Fingerprint>>,
    seal: Option<RangeSeal>,
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

impl CleanBefore {
    /// Takes the ranges out of the ledger, for a run that may send tokens. There are none where rows cannot
    /// be compared by digests.
    pub(super) async fn take(
        session: &Session<'_>,
        request: &Request,
        source: &mut Source,
    ) -> Result<Self, PipelineError> {
        let none = Self {
            ranges: Vec::new(),
            seal: None,
        };
        if request.dry_run == DryRun::On {
            return Ok(none);
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
            return Ok(none);
        }
        let seal = RangeSeal::new(session, source);
        source.hash_rows(seal.seed());
        // A resumed run left its ranges behind when it was begun; none may lead it back before its cursor.
        let are_used = !request.full && session.run.cursor.is_none();
        Ok(Self {
            ranges: if are_used { ranges } else { Vec::new() },
            seal: Some(seal),
        })
    }

    /// Returns those whose rows are still the same.
    pub(super) async fn compare(self, source: &mut Source) -> Result<UnchangedRanges, PipelineError> {
        let Self { ranges, seal } = self;
        let (Some(sealed_by), Some(last)) = (&seal, ranges.last().map(|range| range.until.clone())) else {
            return Ok(UnchangedRanges {
                seal,
                ..UnchangedRanges::default()
            });
        };
        let found = source.digests(&ranges, sealed_by.seed()).await?;
        let (mut unchanged, mut end, mut are_all) = (VecDeque::with_capacity(ranges.len()), None, true);
        for (range, found) in ranges.into_iter().zip(found) {
            let digest = found.filter(|found| sealed_by.digest(*found) == range.digest);
            are_all &= digest.is_some() && range.after == end;
            end = Some(range.until.clone());
            if let Some(digest) = digest {
                unchanged.push_back(KeyRange {
                    after: range.after,
                    until: range.until,
                    digest,
                });
            }
        }
        Ok(UnchangedRanges {
            ranges: unchanged,
            are_all: are_all && !source.may_have_rows_after(&last).await,
            seal,
            skipped_rows: 0,
        })
    }
}

impl UnchangedRanges {
    /// Returns true if no row has to be read. Then no two of them have the same destination, either: of such
    /// rows one is superseded, and its range is never clean.
    pub(super) fn are_all(&self) -> bool {
        self.are_all
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
        if let Some(range) = self.ranges.pop_front_if(|range| range.after.as_ref() == after) {
            self.skipped_rows += range.digest.rows;
            return Ok(Some(source.unread_page(range)));
        }
        let until = self.ranges.front().and_then(|next| next.after.clone());
        let page = source.page(after, until.as_ref()).await?;
        Ok(match (page, until) {
            // Nothing is left in between.
            (None, Some(until)) => Some(source.unread_page(KeyRange {
                after: after.cloned(),
                until,
                digest: RowsDigest::default(),
            })),
            (page, _) => {
                if page.is_none() {
                    self.report();
                }
                page
            }
        })
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
