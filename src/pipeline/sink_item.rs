//! Items for the last stage.

use tokio::sync::{mpsc, oneshot};

use crate::domain::Batch;

/// What is handed to the last stage.
#[derive(Debug)]
pub(super) enum SinkItem {
    /// To be delivered.
    Batch(Batch),
    /// To be answered once everything before it has an end.
    Barrier(oneshot::Sender<()>),
}

/// Waits until everything that was handed on has its end in the ledger. `false` if nobody takes work any more.
pub(super) async fn barrier(work: &mpsc::Sender<SinkItem>) -> bool {
    let (done, reached) = oneshot::channel();
    work.send(SinkItem::Barrier(done)).await.is_ok() && reached.await.is_ok()
}
