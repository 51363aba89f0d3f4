//! Reads the source: first which rows are outdated, then page after page.

use fail::fail_point;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tracing::warn;

use super::PipelineError;
use crate::{
    config::AppMap,
    ledger::{Ledger, Run},
    model::SourceKey,
    postgres::FailureKind,
    screen::Screen,
    source::{Page, Source, SourceError},
    upload::Stop,
};

/// Outdated rows that are recorded in one statement.
const OUTDATED_AT_ONCE: usize = 1000;

/// Records which rows share a destination with a newer one, before the first of them could be sent.
pub(super) async fn leave_out_outdated(
    source: &mut Source,
    apps: &AppMap,
    screen: &Screen,
    ledger: &Ledger,
    run: &Run,
    stop: &Stop,
) -> Result<(), PipelineError> {
    let mut outdated = source.outdated(apps).chunks(OUTDATED_AT_ONCE);
    while let Some(Some(rows)) = stop.unless_turned(outdated.next()).await {
        let rows: Vec<_> = match rows.into_iter().collect() {
            Ok(rows) => rows,
            Err(SourceError::Database(failure)) if failure.kind == FailureKind::Timeout => {
                warn!(
                    "looking for rows of one destination takes longer than `source.statement_timeout`: where the older of \
                     two is read first, it is uploaded and then overwritten by the newer"
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        ledger.decide(run, &screen.outdated(rows)).await?;
        fail_point!("outdated");
    }
    Ok(())
}

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
