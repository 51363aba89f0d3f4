//! What happens when, drawn from the seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokenferry::{simulator::Fault, temp_postgres::StopMode};

/// A blow.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Kill,
    /// SIGTERM, and perhaps a second one.
    Terminate {
        twice: bool,
    },
    RestartSource(StopMode),
    RestartLedger(StopMode),
    /// Another `migrate`, which must be turned away.
    Rival,
    /// Another `migrate` while the ledger has lost all sessions, so that it may get the lock: one of the two
    /// must go.
    Takeover(StopMode),
    /// Rows are inserted, updated and deleted.
    Change(usize),
    /// For the next requests, beside those that go wrong by chance.
    Faults(Vec<Fault>),
    /// For the next times that tokens are read back.
    Reads(Vec<Fault>),
    /// The process is stopped for this long, wherever it is, and goes on.
    Pause(Duration),
    /// The same, while the ledger ends its sessions and another process takes the run over.
    Overtaken,
}

/// An event and the time before it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) after: Duration,
    pub(crate) event: Event,
}

/// Each kind of event equally often for every seed; their order and the times between them are drawn.
pub(crate) fn draw(seed: u64) -> Vec<Step> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x5eed);
    let mut events = Vec::new();
    let mut add = |count: usize, event: Event| events.extend(std::iter::repeat_n(event, count));
    add(14, Event::Kill);
    add(6, Event::Terminate { twice: false });
    add(2, Event::Terminate { twice: true });
    for mode in [StopMode::Fast, StopMode::Immediate] {
        add(3, Event::RestartSource(mode));
        add(3, Event::RestartLedger(mode));
        add(2, Event::Takeover(mode));
    }
    add(4, Event::Rival);
    add(16, Event::Change(12));
    add(3, Event::Faults(vec![Fault::Storm(Duration::from_secs(1))]));
    add(2, Event::Faults(vec![Fault::Status(503); 5]));
    add(
        2,
        Event::Faults(vec![Fault::StatusAfterCommit(503), Fault::StatusAfterCommit(521)]),
    );
    // Well within the grace after which such a request counts as dead.
    add(
        3,
        Event::Faults(vec![Fault::CommitLate(Duration::from_millis(400)); 2]),
    );
    // Half a second after the timeout.
    add(
        3,
        Event::Faults(vec![Fault::Delay(Duration::from_millis(1500)); 2]),
    );
    let odd = |status, body: &str| Fault::Answer {
        status,
        body: body.to_owned(),
        committed: false,
    };
    let page = "<html>blocked</html>";
    add(
        4,
        Event::Reads(vec![
            odd(400, r#"{"errorCode":"E011001","errorDescription":"bad request"}"#),
            odd(403, page),
            odd(404, page),
            odd(200, r#"{"message":"Forbidden"}"#),
        ]),
    );
    for millis in [50, 300, 1200, 2500] {
        add(4, Event::Pause(Duration::from_millis(millis)));
    }
    add(3, Event::Overtaken);
    add(2, Event::Faults(vec![Fault::Truncated; 3]));
    events.shuffle(&mut dice);
    events
        .into_iter()
        .map(|event| Step {
            after: Duration::from_millis(dice.random_range(50..700)),
            event,
        })
        .collect()
}
