//! Finds the users of login IDs, page after page, while the pages before are on their way.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::PipelineError;
use crate::{
    source::Page,
    who::{Resolver, WhoError},
};

/// Hands pages on with the users they need. When the run is stopped, the page in hand is dropped: the next run begins
/// there.
pub(super) async fn run(
    resolver: Arc<Resolver>,
    mut pages: mpsc::Receiver<Page>,
    on: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    while let Some(mut page) = pages.recv().await {
        match resolver.resolve(&mut page.tokens).await {
            Ok(()) => {}
            Err(WhoError::Stopped) => break,
            Err(WhoError::Ledger(error)) => return Err(error.into()),
        }
        if on.send(page).await.is_err() {
            break;
        }
    }
    Ok(())
}
