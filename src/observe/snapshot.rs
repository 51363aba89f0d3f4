//! Snapshots of a run: the `report` page, rendered from the ledger while somebody watches.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    config::LedgerAccess,
    domain::RunId,
    ledger::{LedgerError, LedgerReader},
    report::{self, Depth, PageData, View},
};

/// The shortest interval between snapshots. If reading takes long, the interval grows so that the ledger is
/// busy for at most a tenth of the time.
const EVERY: Duration = Duration::from_secs(2);

/// The longest wait for the final snapshot.
pub(super) const LAST_RENDER: Duration = Duration::from_secs(1);

/// The latest snapshot, if any, shared by all viewers.
pub(super) type PageSnapshot = Option<Arc<str>>;

/// Renders until the run has ended, and once more then.
pub(super) async fn paint(
    ledger: LedgerAccess,
    view: watch::Receiver<View>,
    page_snapshot: watch::Sender<PageSnapshot>,
    closing: CancellationToken,
) {
    let mut reports = None;
    loop {
        // The final snapshot shows the result.
        let is_last = closing.is_cancelled();
        let run = view.borrow().run_id;
        let begin = Instant::now();
        if let Some(run) = run.filter(|_| page_snapshot.receiver_count() > 0) {
            match once(&ledger, &mut reports, run).await {
                Ok(painted) => drop(page_snapshot.send_replace(painted)),
                Err(error) => {
                    debug!(reason = %error, "ledger did not respond, live page keeps its snapshot");
                    reports = None;
                }
            }
        }
        if is_last {
            return;
        }
        let pause = EVERY.max(begin.elapsed() * 9);
        tokio::select! {
            () = sleep(pause) => {}
            () = closing.cancelled() => {}
        }
    }
}

async fn once(
    ledger: &LedgerAccess,
    reports: &mut Option<LedgerReader>,
    run: RunId,
) -> Result<PageSnapshot, LedgerError> {
    let reports = match reports {
        Some(reports) => reports,
        None => reports.insert(LedgerReader::open(ledger).await?),
    };
    let data = PageData::read(reports, Some(run), Depth::LIVE).await?;
    Ok(data.map(|data| report::body(&data).into_string().into()))
}
