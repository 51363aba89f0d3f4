//! The read stage: reads the source page by page.

use std::collections::HashMap;

use fail::fail_point;
use tokio::sync::mpsc;

use super::{PipelineError, unchanged_ranges::UnchangedRanges};
use crate::{
    domain::{RunId, SourceKey},
    ledger::{FailedRow, Ledger},
    rate::StopSignal,
    reader::{Page, Source},
};

/// The most rows that are requested by key at once.
const KEYS_AT_ONCE: i64 = 500;

/// Reads all rows after the cursor, but for those in unchanged ranges; the next page is read while the last
/// one is processed.
pub(super) async fn all(
    mut source: Source,
    cursor: Option<SourceKey>,
    mut unchanged: UnchangedRanges,
    stop: StopSignal,
    pages: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    let mut last = cursor;
    // The place in the channel is reserved first, so that no further page waits in memory.
    while let Some(Ok(place)) = stop.run_until_stopped(pages.reserve()).await {
        fail_point!("reading");
        match stop
            .run_until_stopped(unchanged.next(&mut source, last.as_ref()))
            .await
        {
            Some(Ok(Some(page))) => {
                last = Some(page.last.clone());
                place.send(page);
            }
            Some(Ok(None)) | None => break,
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the rows whose last outcome is `failed` in the ledger; `run` is the current run. Rows that are no
/// longer in the source keep their outcome.
pub(super) async fn failed(
    mut source: Source,
    ledger: Ledger,
    run: RunId,
    code: Option<String>,
    stop: StopSignal,
    pages: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    let mut last: Option<FailedRow> = None;
    while let Some(Ok(place)) = stop.run_until_stopped(pages.reserve()).await {
        let rows = ledger
            .failed_rows(run, code.as_deref(), last.as_ref(), KEYS_AT_ONCE)
            .await?;
        let keys: Vec<SourceKey> = rows.iter().map(|row| row.key.clone()).collect();
        last = rows.into_iter().last();
        if last.is_none() {
            break;
        }
        match stop.run_until_stopped(source.rows(&keys)).await {
            Some(Ok(Some(mut page))) => {
                // A run with a limit takes the first ones.
                let turns: HashMap<&SourceKey, usize> =
                    keys.iter().enumerate().map(|(turn, key)| (key, turn)).collect();
                page.tokens.sort_by_key(|token| turns.get(&token.key).copied());
                place.send(page);
            }
            Some(Ok(None)) => {}
            None => break,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}
