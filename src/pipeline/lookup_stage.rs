//! Finds the users of login IDs, page after page, while the pages before are on their way.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::PipelineError;
use crate::{
    lookup::{LookupError, UserResolver},
    reader::Page,
};

/// Hands pages on with the users they need. When the run is stopped, the page in hand is dropped: the next run begins
/// there.
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
