//! Reads the source, page after page.

use tokio::sync::mpsc;

use super::PipelineError;
use crate::{
    ledger::Ledger,
    model::SourceKey,
    pace::Stop,
    source::{Page, Source},
};

/// Rows that are asked for by their keys at once.
const KEYS_AT_ONCE: i64 = 500;

/// Reads all rows after the cursor, page after page; the next page is read while the last is worked on.
pub(super) async fn all(
    mut source: Source,
    cursor: Option<SourceKey>,
    stop: Stop,
    pages: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    let mut last = cursor;
    // The place in the channel comes first, so that no page waits in memory beside the one in the channel.
    while let Some(Ok(place)) = stop.unless_turned(pages.reserve()).await {
        match stop.unless_turned(source.page(last.as_ref())).await {
            Some(Ok(Some(page))) => {
                last = Some(page.last.clone());
                place.send(page);
            }
            Some(Ok(None)) | None => break,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads the rows whose last outcome is `failed`, as the ledger knows them. One that is not in the source any more keeps
/// its outcome.
pub(super) async fn failed(
    mut source: Source,
    ledger: Ledger,
    code: Option<String>,
    stop: Stop,
    pages: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    let mut last: Option<SourceKey> = None;
    while let Some(Ok(place)) = stop.unless_turned(pages.reserve()).await {
        let keys = ledger
            .failed_keys(code.as_deref(), last.as_ref(), KEYS_AT_ONCE)
            .await?;
        let Some(greatest) = keys.last() else { break };
        last = Some(greatest.clone());
        match stop.unless_turned(source.rows(&keys)).await {
            Some(Ok(Some(page))) => place.send(page),
            Some(Ok(None)) => {}
            None => break,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}
