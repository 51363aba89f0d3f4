//! A barrier at which a test holds a request, and lets it go on.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A gate that stops a request until [`Barrier::release`]. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Barrier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: Semaphore,
    open: Semaphore,
}

impl Barrier {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            waiting: Semaphore::new(0),
            open: Semaphore::new(0),
        }))
    }

    /// Waits until a request stands before the gate.
    pub async fn reached(&self) {
        take(&self.0.waiting).await;
    }

    /// Lets one request through, the one that waits or else the next that comes.
    pub fn release(&self) {
        self.0.open.add_permits(1);
    }

    /// Stands before the gate until it is released.
    pub(super) async fn pass(&self) {
        self.0.waiting.add_permits(1);
        take(&self.0.open).await;
    }
}

impl Default for Barrier {
    fn default() -> Self {
        Self::new()
    }
}

async fn take(permits: &Semaphore) {
    // Neither semaphore is ever closed.
    if let Ok(permit) = permits.acquire().await {
        permit.forget();
    }
}
