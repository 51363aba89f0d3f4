//! Signal handling for SIGINT and SIGTERM: the first signal stops the run, a second one or a deadline ends
//! the process.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A service manager kills the process after a while (90 seconds in the deploy files). The deadline comes
/// before that, so that the process can still report what it leaves.
const DEADLINE: Duration = Duration::from_secs(55);

/// Signals that follow the first one so soon are the same: `timeout` and other wrappers signal the process
/// and its process group.
const ECHO: Duration = Duration::from_millis(20);

/// Calls `first` with the number of the first signal. A second signal or the deadline ends the process at
/// once, which loses nothing: the ledger is consistent at any moment.
pub(super) fn watch(first: impl FnOnce(i32) + Send + 'static) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers, signals end the process by default.
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
        let _ = timeout(ECHO, async {
            loop {
                next().await;
            }
        })
        .await;
        let signal = tokio::select! {
            signal = next() => signal,
            () = sleep(DEADLINE) => {
                eprintln!(
                    "error: forced exit {} s after the signal: sent batches without an outcome stay in flight in the ledger, \
                     and the next run reconciles them first",
                    DEADLINE.as_secs()
                );
                asked
            }
        };
        std::process::exit(128 + signal);
    });
}

/// Cancels `token` on the first signal, for commands that can stop at any time.
pub(super) fn cancel_on_first(token: CancellationToken) {
    watch(move |_| token.cancel());
}
