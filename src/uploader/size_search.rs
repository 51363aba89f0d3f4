//! Size search: finds the largest batch that one endpoint of the API accepts. Pure.
//!
//! Batches begin at the configured size and double after two clean ones. A rejection for size bounds the
//! search from above, and the distance to what was accepted is bisected, tokens and bytes apart.

use crate::domain::{BatchSize, LearnedSizes};

/// The batches in a row that are stored without trouble before the size is doubled.
const CLEAN_BATCHES: u32 = 2;

/// The search ends at a distance of this part of the accepted size. Rejected sizes are at most twice the
/// accepted one, so that takes four bisections.
const PART: usize = 16;

/// The most rejected sizes that are remembered.
const MOST_REJECTED: usize = 16;

/// The search at one endpoint.
#[derive(Debug)]
pub(super) struct SizeSearch {
    /// The configured size, at which batches begin.
    start: BatchSize,
    /// The most tokens per batch.
    grow_to: usize,
    /// Tokens per batch, unless a rejection demands less.
    target: usize,
    /// Clean batches in a row at the target.
    clean: u32,
    /// The most tokens and the most bytes that were stored, not necessarily by one batch.
    accepted: BatchSize,
    /// Neither dimension tells by itself: each was too large in tokens, in bytes, or in both.
    rejected: Vec<Rejected>,
    /// The most tokens of which the API stores all, as far as this process knows.
    whole: usize,
    rejections: u64,
    saved: Option<LearnedSizes>,
}

#[derive(Debug, Clone, Copy)]
struct Rejected {
    id: RejectionId,
    size: BatchSize,
    /// Nothing but the size explains it.
    is_confirmed: bool,
}

/// Names one rejection for size, so that it can be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RejectionId(u64);

impl SizeSearch {
    /// Begins with what earlier runs have learned.
    pub(super) fn new(start: BatchSize, grow_to: usize, learned: Option<LearnedSizes>) -> Self {
        let saved = learned.clone();
        let LearnedSizes { accepted, rejected } = learned.unwrap_or_default();
        let mut search = Self {
            start,
            grow_to,
            target: accepted.tokens.min(grow_to).max(start.tokens),
            clean: 0,
            accepted,
            rejected: Vec::new(),
            // Whether the API still stores all of a larger batch is checked once more.
            whole: start.tokens,
            rejections: 0,
            saved,
        };
        for size in rejected {
            let id = search.add(size);
            search.confirm(id);
        }
        search
    }

    /// Returns the largest batch that may be sent now.
    pub(super) fn limit(&self) -> BatchSize {
        let (tokens, bytes) = self.rejected_bounds();
        BatchSize {
            tokens: within(self.accepted.tokens, tokens, self.target),
            bytes: within(self.accepted.bytes, bytes, self.start.bytes),
        }
    }

    /// Returns the smallest rejected number of tokens and of bytes. If a rejection is explained by neither,
    /// it is taken for one of bytes: batches of as many small tokens then prove or refute that, while a limit
    /// of tokens would never be tried again.
    fn rejected_bounds(&self) -> (Option<usize>, Option<usize>) {
        let (mut tokens, mut bytes) = (None, None);
        let lower =
            |bound: &mut Option<usize>, to: usize| *bound = Some(bound.map_or(to, |least| least.min(to)));
        for size in self.sizes() {
            match (
                size.tokens > self.accepted.tokens,
                size.bytes > self.accepted.bytes,
            ) {
                (true, false) => lower(&mut tokens, size.tokens),
                (false, true) => lower(&mut bytes, size.bytes),
                _ => {}
            }
        }
        for size in self.sizes() {
            let is_explained = tokens.is_some_and(|least| size.tokens >= least)
                || bytes.is_some_and(|least| size.bytes >= least);
            if !is_explained {
                lower(&mut bytes, size.bytes);
            }
        }
        (tokens, bytes)
    }

    fn sizes(&self) -> impl Iterator<Item = BatchSize> {
        self.rejected.iter().map(|rejected| rejected.size)
    }

    /// Returns true if batches of this size are stored, as far as it can tell.
    pub(super) fn is_proven(&self, size: BatchSize) -> bool {
        let most = self.accepted.bytes.saturating_add(self.accepted.bytes / PART);
        size.tokens <= self.accepted.tokens && size.bytes <= most
    }

    /// Returns true if all of a batch with this many tokens is stored, as far as this process knows.
    pub(super) fn is_whole(&self, tokens: usize) -> bool {
        tokens <= self.whole
    }

    /// Returns the number of tokens up to which the API stores all.
    pub(super) fn whole(&self) -> usize {
        self.whole
    }

    /// Learns from a batch that was stored. Returns true if batches grow: it was the second clean one.
    pub(super) fn accept(&mut self, size: BatchSize, is_clean: bool) -> bool {
        self.accepted.tokens = self.accepted.tokens.max(size.tokens);
        self.accepted.bytes = self.accepted.bytes.max(size.bytes);
        // A rejection at or below a stored size had another reason.
        let accepted = self.accepted;
        self.rejected
            .retain(|other| other.size.tokens > accepted.tokens || other.size.bytes > accepted.bytes);
        // Smaller ones say nothing about the target; a few tokens may have been rejected by name.
        let is_full = size.tokens.saturating_mul(4) >= self.target.saturating_mul(3);
        match (is_full, is_clean) {
            (false, _) => return false,
            (true, false) => self.clean = 0,
            (true, true) => self.clean += 1,
        }
        let grows = self.clean >= CLEAN_BATCHES && self.may_grow();
        if grows {
            self.target = self.target.saturating_mul(2).min(self.grow_to);
            self.clean = 0;
        }
        grows
    }

    /// Returns true if clean batches make it larger.
    pub(super) fn may_grow(&self) -> bool {
        self.target < self.grow_to && self.rejected_bounds().0.is_none()
    }

    /// The last token of a batch was read back.
    pub(super) fn saw_whole(&mut self, tokens: usize) {
        self.whole = self.whole.max(tokens);
    }

    /// The last token of a larger batch cannot be read back: batches stay at the size that needs no proof.
    /// Returns whether they were to grow until now.
    pub(super) fn stop_growing(&mut self) -> bool {
        let grew = self.grow_to > self.whole;
        self.grow_to = self.whole;
        self.target = self.target.min(self.whole);
        grew
    }

    /// The API stored only the first tokens of a larger batch.
    pub(super) fn truncate(&mut self, tokens: usize) {
        self.accepted.tokens = tokens;
        self.whole = tokens;
        // Too many tokens, whatever their bytes.
        let id = self.add(BatchSize {
            tokens: tokens + 1,
            bytes: 0,
        });
        self.confirm(id);
    }

    /// Learns from a batch that may have been rejected for its size.
    pub(super) fn reject(&mut self, size: BatchSize) -> RejectionId {
        if size.tokens <= self.accepted.tokens && size.bytes <= self.accepted.bytes {
            // The API accepts less than before.
            self.accepted = BatchSize::default();
        }
        self.clean = 0;
        self.add(size)
    }

    fn add(&mut self, size: BatchSize) -> RejectionId {
        if self.rejected.len() == MOST_REJECTED {
            self.rejected.remove(0);
        }
        self.rejections += 1;
        let id = RejectionId(self.rejections);
        self.rejected.push(Rejected {
            id,
            size,
            is_confirmed: false,
        });
        id
    }

    /// Nothing but its size explains the rejection. Returns false if it was refuted meanwhile.
    pub(super) fn confirm(&mut self, id: RejectionId) -> bool {
        let found = self.rejected.iter_mut().find(|rejected| rejected.id == id);
        found.map(|rejected| rejected.is_confirmed = true).is_some()
    }

    /// Another reason explains the rejection.
    pub(super) fn withdraw(&mut self, id: RejectionId) {
        self.rejected.retain(|rejected| rejected.id != id);
    }

    /// Returns what was learned since the last call, if later runs should know it.
    pub(super) fn take_news(&mut self) -> Option<LearnedSizes> {
        let confirmed = self.rejected.iter().filter(|rejected| rejected.is_confirmed);
        let learned = LearnedSizes {
            accepted: self.accepted,
            rejected: confirmed.map(|rejected| rejected.size).collect(),
        };
        let is_news = match &self.saved {
            None => !learned.rejected.is_empty() || learned.accepted.tokens > self.start.tokens,
            Some(saved) => {
                let before = saved.accepted;
                learned.rejected != saved.rejected
                    || learned.accepted.tokens != before.tokens
                    || learned.accepted.bytes < before.bytes
                    || learned.accepted.bytes > before.bytes.saturating_add(before.bytes / PART)
            }
        };
        is_news.then(|| self.saved.insert(learned).clone())
    }
}

/// Returns the next size to try between an accepted and a rejected one, at most `most`.
fn within(accepted: usize, rejected: Option<usize>, most: usize) -> usize {
    let Some(rejected) = rejected else {
        return most;
    };
    let distance = rejected.saturating_sub(accepted);
    let next = if distance <= (accepted / PART).max(1) {
        accepted
    } else {
        accepted + distance / 2
    };
    next.clamp(1, most)
}

#[cfg(test)]
mod tests;
