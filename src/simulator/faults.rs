//! Faults of requests: by a script, else by chance.

use std::{
    collections::{HashMap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::simulator::barrier::Barrier;

/// A fault of one request. For a call that reads, "commit" means the lookup; for one that deletes, the
/// deletion.
#[derive(Debug, Clone, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The answer is right and comes this much later.
    Delay(Duration),
    /// This status without a Descope error body; nothing is committed.
    Status(u16),
    /// This status without a Descope error body, though everything was committed.
    StatusAfterCommit(u16),
    /// The connection ends without an answer; nothing is committed.
    CutBeforeCommit,
    /// The connection ends without an answer, though everything was committed.
    CutAfterCommit,
    /// The connection ends at once, and the commit comes this much later.
    CommitLate(Duration),
    /// 200 with a body that is no JSON, though everything was committed.
    Unreadable,
    /// 200, but the connection ends in the middle of the body, though everything was committed.
    Truncated,
    /// This answer in place of the real one.
    Answer {
        /// The status.
        status: u16,
        /// The body, sent as JSON whatever it is.
        body: String,
        /// The upload is committed all the same.
        committed: bool,
    },
    /// 429 with this `Retry-After`; nothing is committed.
    RateLimited(Duration),
    /// The same with whatever a server may write there.
    RetryAfter(String),
    /// Like [`Fault::RateLimited`], and so is every other request until the time has passed.
    Storm(Duration),
    /// The commit is done; the answer waits at the gate.
    Hold(Barrier),
    /// The request waits at the gate before it is committed, even when its client has left.
    HoldBeforeCommit(Barrier),
}

/// Random faults, each as a share of all requests between 0 and 1. A request has at most one fault, so the
/// shares should not add up to more than 1. Latency comes on top.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRates {
    /// The latency of every answer, drawn evenly from the range.
    pub latency: Option<RangeInclusive<Duration>>,
    /// One of `statuses`, nothing committed.
    pub error: f64,
    /// One of `statuses`, though committed.
    pub error_after_commit: f64,
    /// The statuses of `error` and `error_after_commit`.
    pub statuses: Vec<u16>,
    /// [`Fault::CutBeforeCommit`].
    pub cut_before_commit: f64,
    /// [`Fault::CutAfterCommit`].
    pub cut_after_commit: f64,
    /// [`Fault::Unreadable`].
    pub unreadable: f64,
    /// The beginning of a [`Fault::Storm`].
    pub storm: f64,
    /// The length of a storm.
    pub storm_lasts: Duration,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            latency: None,
            error: 0.0,
            error_after_commit: 0.0,
            statuses: vec![500, 502, 503, 504],
            cut_before_commit: 0.0,
            cut_after_commit: 0.0,
            unreadable: 0.0,
            storm: 0.0,
            storm_lasts: Duration::from_secs(5),
        }
    }
}

impl FaultRates {
    /// The share of requests that something goes wrong with.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.error
            + self.error_after_commit
            + self.cut_before_commit
            + self.cut_after_commit
            + self.unreadable
            + self.storm
    }
}

/// The scripted faults by kind of request, and the source of random ones.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) rates: FaultRates,
    /// Consumed by requests of their kind, one each, before chance decides.
    pub(super) scripts: HashMap<Call, VecDeque<Fault>>,
    dice: StdRng,
}

/// The script that a request consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Upload,
    Read,
    Lookup,
    Delete,
    License,
}

impl Faults {
    pub(super) fn new(rates: FaultRates, seed: u64) -> Self {
        Self {
            rates,
            scripts: HashMap::new(),
            dice: StdRng::seed_from_u64(seed),
        }
    }

    /// The latency and the fault of the next request.
    pub(super) fn next(&mut self, call: Call) -> (Duration, Fault) {
        let latency = match &self.rates.latency {
            Some(range) if !range.is_empty() => self.dice.random_range(range.clone()),
            _ => Duration::ZERO,
        };
        let scripted = self.scripts.get_mut(&call).and_then(VecDeque::pop_front);
        let fault = scripted.unwrap_or_else(|| match call {
            // Chance leaves them alone.
            Call::License => Fault::None,
            _ => self.throw(),
        });
        (latency, fault)
    }

    fn throw(&mut self) -> Fault {
        let mut left: f64 = self.dice.random();
        // The next share of the line from 0 to 1 that the throw may fall into.
        let mut within = |share: f64| {
            let hit = left < share;
            left -= share;
            hit
        };
        let rates = &self.rates;
        if within(rates.error) {
            Fault::Status(pick(&mut self.dice, &rates.statuses))
        } else if within(rates.error_after_commit) {
            Fault::StatusAfterCommit(pick(&mut self.dice, &rates.statuses))
        } else if within(rates.cut_before_commit) {
            Fault::CutBeforeCommit
        } else if within(rates.cut_after_commit) {
            Fault::CutAfterCommit
        } else if within(rates.unreadable) {
            Fault::Unreadable
        } else if within(rates.storm) {
            Fault::Storm(rates.storm_lasts)
        } else {
            Fault::None
        }
    }
}

fn pick(dice: &mut StdRng, statuses: &[u16]) -> u16 {
    match statuses {
        [] => 500,
        _ => statuses[dice.random_range(0..statuses.len())],
    }
}
