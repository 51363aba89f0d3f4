//! Items for the last stage.

use tokio::sync::{mpsc, oneshot};

use crate::domain::Batch;

/// An item for the last stage.
#[derive(Debug)]
pub(super) enum SinkItem {
    /// A batch to deliver.
    Batch(Batch),
    /// A barrier, answered once everything before it has an outcome.
    Barrier(oneshot::Sender<()>),
}

/// Waits until everything sent before has an outcome in the ledger. Returns `false` if the receiver is gone.
pub(super) async fn barrier(work: &mpsc::Sender<SinkItem>) -> bool {
    let (done, reached) = oneshot::channel();
    work.send(SinkItem::Barrier(done)).await.is_ok() && reached.await.is_ok()
}
