//! Retries of database work within a run.

use std::{convert::Infallible, future::pending, time::Duration};

use crate::{config::Settings, postgres::Patience, rate::StopSignal};

/// The longest wait for a database once the run is stopped. What cannot be recorded stays in flight in the
/// ledger, and the next run reconciles it.
const AFTER_STOP: Duration = Duration::from_secs(20);

/// Runs `work` with the configured patience, or with little patience once the run is stopped.
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
