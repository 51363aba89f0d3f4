//! SIGINT and SIGTERM: the first asks to end, the second ends.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Calls `first` with the first signal's number; a second signal ends the process at once. What is in the ledger is true
/// at any moment, so nothing is lost by that.
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
        first(next().await);
        let signal = next().await;
        std::process::exit(128 + signal);
    });
}

/// For commands that just end.
pub(super) fn cancel_on_first(token: CancellationToken) {
    watch(move |_| token.cancel());
}
