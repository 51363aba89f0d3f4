//! Shared slots: the moments that a process has reserved in a quota that it shares with others.

use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::{LedgerError, Reservation, SharedQuota};

/// The longest time for which slots are reserved at once. One reservation takes about a millisecond, so a
/// quota of thousands of requests per second needs several slots each. With quotas below 100 requests per
/// second, each slot is reserved by itself.
const SPAN: Duration = Duration::from_millis(20);

/// A request that is later than this for its slot, and later than a tenth of the distance of two slots, takes
/// another one: it could leave together with the next ones.
const LATENESS: Duration = Duration::from_millis(20);

/// The slots of one process in one quota. It has at most one reservation that is not used up.
#[derive(Debug)]
pub(super) struct SharedSlots {
    quota: SharedQuota,
    reserved: Option<Slots>,
    /// The number of slots to reserve next.
    at_once: u32,
}

/// Slots at equal distances.
#[derive(Debug)]
struct Slots {
    next: Instant,
    left: u32,
    step: Duration,
    generation: i64,
    /// When the ledger said that nothing is held.
    checked_at: Instant,
}

/// The next slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextSlot {
    /// Its moment.
    pub(super) at: Instant,
    /// The time for which the API asked to wait, if it was reserved just now.
    pub(super) held_for: Duration,
    /// The time between two slots.
    pub(super) step: Duration,
}

impl SharedSlots {
    pub(super) fn new(quota: SharedQuota) -> Self {
        Self {
            quota,
            reserved: None,
            at_once: 1,
        }
    }

    /// Returns the next slot, and reserves some if none is left.
    pub(super) async fn next(&mut self) -> Result<NextSlot, LedgerError> {
        self.drop_missed();
        if let Some(slots) = &self.reserved {
            return Ok(NextSlot {
                at: slots.next,
                held_for: Duration::ZERO,
                step: slots.step,
            });
        }
        let at_once = self.at_once;
        let reservation = loop {
            if let Some(reservation) = self.quota.reserve(at_once).await? {
                break reservation;
            }
            self.quota.claim().await?;
        };
        let Reservation {
            wait,
            step,
            held_for,
            generation,
            ..
        } = reservation;
        let now = Instant::now();
        self.reserved = Some(Slots {
            next: now + wait,
            left: at_once,
            step,
            generation,
            checked_at: now,
        });
        Ok(NextSlot {
            at: now + wait,
            held_for,
            step,
        })
    }

    /// Takes the next slot, whose moment has come. Returns false if there is none any more: the API has asked
    /// to wait since it was reserved, or its moment is long over.
    pub(super) async fn take(&mut self) -> Result<bool, LedgerError> {
        self.drop_missed();
        let Some(slots) = &mut self.reserved else {
            return Ok(false);
        };
        // A request waits for its slot, and meanwhile the API may have told another process to wait.
        if slots.checked_at.elapsed() > SPAN {
            if !self.quota.is_current(slots.generation).await? {
                self.reserved = None;
                return Ok(false);
            }
            slots.checked_at = Instant::now();
        }
        slots.next += slots.step;
        slots.left -= 1;
        if slots.left == 0 {
            // They were used one after the other, so more are needed at once.
            let most = SPAN.as_nanos() / slots.step.as_nanos().max(1);
            let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
            self.at_once = self.at_once.saturating_mul(2).min(most);
            self.reserved = None;
        }
        Ok(true)
    }

    /// Drops the slots whose moments are over.
    fn drop_missed(&mut self) {
        let Some(slots) = &mut self.reserved else {
            return;
        };
        let Some(late) = slots.next.elapsed().checked_sub(LATENESS.max(slots.step / 10)) else {
            return;
        };
        let missed = late.as_nanos() / slots.step.as_nanos().max(1) + 1;
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        if missed >= slots.left {
            self.reserved = None;
            self.at_once = 1;
        } else {
            slots.left -= missed;
            slots.next += slots.step * missed;
        }
    }
}
