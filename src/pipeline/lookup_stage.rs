//! The lookup stage: resolves login IDs page by page, while earlier pages are processed.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::PipelineError;
use crate::{
    lookup::{LookupError, UserResolver},
    reader::Page,
};

/// Forwards pages with resolved users. If the run is stopped, the current page is dropped; the next run
/// starts there.
pub(super) async fn run(
    resolver: Arc<UserResolver>,
    mut pages: mpsc::Receiver<Page>,
    on: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    while let Some(mut page) = pages.recv().await {
        match resolver.resolve(&mut page.tokens).await {
            Ok(()) => {}
            Err(LookupError::Stopped) => break,
            Err(LookupError::Ledger(error)) => return Err(error.into()),
        }
        if on.send(page).await.is_err() {
            break;
        }
    }
    Ok(())
}
