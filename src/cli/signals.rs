//! SIGINT and SIGTERM: the first asks to end, the second ends, and so does time.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Whoever runs this as a service kills it after a while, 90 seconds in the deploy files: it ends before that, and says what it
/// leaves.
const DEADLINE: Duration = Duration::from_secs(55);

/// Calls `first` with the first signal's number; a second signal ends the process at once, and so does the deadline. What is in
/// the ledger is true at any moment, so nothing is lost by that.
pub(super) fn watch(first: impl FnOnce(i32) + Send + 'static) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process by themselves.
        return;
    };
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    };
    tokio::spawn(async move {
        let asked = next().await;
        first(asked);
        let signal = tokio::select! {
            signal = next() => signal,
            () = sleep(DEADLINE) => {
                eprintln!(
                    "error: stopped {} s after the signal, and not everything was over: what has left and has no outcome stays in \
                     flight in the ledger, and the next run settles it before it sends anything",
                    DEADLINE.as_secs()
                );
                asked
            }
        };
        std::process::exit(128 + signal);
    });
}

/// For commands that just end.
pub(super) fn cancel_on_first(token: CancellationToken) {
    watch(move |_| token.cancel());
}
