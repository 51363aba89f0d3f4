//! The open batches of one subject.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;

use super::Limits;
use crate::domain::{Batch, BatchSize, Call, Identity, Item, Subject};

/// The most open batches; beyond it, the oldest is sent half full. It is reached only if one user has more
/// connections than this to one app, close together.
const MAX_OPEN: usize = 16;

/// The most tokens for which room is allocated in advance.
const MOST_ROOM: usize = 1000;

#[derive(Debug)]
pub(super) struct Lane {
    subject: Subject,
    /// The current limits of a batch.
    limits: Limits,
    /// Oldest first. Every identity of a later one stands in all earlier ones, so they are given out in this
    /// order only.
    open: VecDeque<Open>,
}

#[derive(Debug, Default)]
struct Open {
    items: Vec<Item>,
    bytes: usize,
    /// The number of items that were detached from their pages.
    detached: usize,
    /// The number of items when the last page ended.
    waited: usize,
    identities: HashSet<Identity, RandomState>,
}

impl Lane {
    pub(super) fn new(subject: Subject, limits: Limits) -> Self {
        Self {
            subject,
            limits,
            open: VecDeque::new(),
        }
    }

    /// Changes the limits of tokens and bytes per batch.
    pub(super) fn resize(&mut self, size: BatchSize) {
        self.limits.max_tokens = size.tokens;
        self.limits.max_bytes = size.bytes;
    }

    /// First fit, so that tokens of one identity leave in the order they came.
    pub(super) fn push(&mut self, item: Item, full: &mut Vec<Batch>) {
        let limits = self.limits;
        let identity = item.identity;
        let mut position = 0;
        while let Some(open) = self.open.get(position) {
            if !open.fits(&item, &limits) {
                // Those before it hold older tokens of its identities.
                for _ in 0..=position {
                    self.close(0, full);
                }
                position = 0;
            } else if open.identities.contains(&identity) {
                position += 1;
            } else {
                break;
            }
        }
        if position == MAX_OPEN {
            self.close(0, full);
            position -= 1;
        }
        if position == self.open.len() {
            self.open.push_back(Open {
                bytes: limits.overhead,
                // Further batches are open only for what cannot be in the first.
                items: Vec::with_capacity(if position == 0 {
                    limits.max_tokens.min(MOST_ROOM)
                } else {
                    0
                }),
                ..Open::default()
            });
        }
        let open = &mut self.open[position];
        open.bytes += item.encoded.len() + usize::from(!open.items.is_empty());
        open.identities.insert(identity);
        open.items.push(item);
        if open.items.len() >= limits.max_tokens {
            self.close(position, full);
        }
    }

    pub(super) fn flush(&mut self, full: &mut Vec<Batch>) {
        while !self.open.is_empty() {
            self.close(0, full);
        }
    }

    /// Those of the last page are left as they are: mostly the next page fills their batch up.
    pub(super) fn detach(&mut self) {
        for open in &mut self.open {
            for item in &mut open.items[open.detached..open.waited] {
                item.encoded.detach();
            }
            open.detached = open.waited;
            open.waited = open.items.len();
        }
    }

    fn close(&mut self, position: usize, full: &mut Vec<Batch>) {
        if let Some(open) = self.open.remove(position).filter(|open| !open.items.is_empty()) {
            full.push(Batch {
                subject: self.subject,
                call: Call::Batch,
                items: open.items,
                parent: None,
            });
        }
    }
}

impl Open {
    /// The limits may have been lowered since the batch was begun.
    fn fits(&self, item: &Item, limits: &Limits) -> bool {
        let separator = usize::from(!self.items.is_empty());
        self.items.len() < limits.max_tokens
            && self.bytes + separator + item.encoded.len() <= limits.max_bytes
    }
}
