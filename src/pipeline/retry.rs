//! Patience of a run with its databases.

use std::{convert::Infallible, future::pending, time::Duration};

use crate::{config::Settings, postgres::Patience, rate::StopSignal};

/// What is waited for a database once the run is stopped. What cannot be recorded then is still in flight in the ledger, and the
/// next run settles it; whoever stopped this one does not wait for minutes.
const AFTER_STOP: Duration = Duration::from_secs(20);

/// Does `work` with as much patience as is configured, and little once the run is stopped.
pub(super) async fn patiently<T>(
    settings: &Settings,
    stop: &StopSignal,
    work: impl AsyncFnOnce(&Patience) -> T,
) -> T {
    let patience = Patience::new(settings.stop.after_unreachable);
    let shortening = async {
        stop.triggered().await;
        patience.shorten(AFTER_STOP);
        pending::<Infallible>().await
    };
    tokio::select! {
        done = work(&patience) => done,
        never = shortening => match never {},
    }
}
