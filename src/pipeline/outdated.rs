//! Outdated rows: another row of the same destination is newer. They are recorded before the first of them
//! could be sent.

use std::{future::ready, pin::pin};

use fail::fail_point;
use futures_util::TryStreamExt;
use tracing::warn;

use super::{PipelineError, outcome_sink::OutcomeSink, run_filter::RunFilter, session::Session};
use crate::{
    domain::SourceKey,
    postgres::FailureKind,
    reader::{Source, SourceError},
    validation::{Duplicates, Validator},
};

/// Outdated rows that are recorded in one statement.
const OUTDATED_AT_ONCE: usize = 1000;

/// Finds the outdated rows of a source and records them.
pub(super) struct OutdatedRows<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) record: &'a OutcomeSink,
    pub(super) validator: &'a Validator,
}

impl OutdatedRows<'_> {
    /// Asks the source for outdated rows, and records them; `stored` gets the keys of those that are stored.
    /// Returns `false` if the source cannot tell, or not in time.
    pub(super) async fn find(
        &self,
        source: &mut Source,
        memory: &mut RunFilter,
        stored: &mut Vec<SourceKey>,
    ) -> Result<bool, PipelineError> {
        let stop = &self.session.control.stop;
        let mut outage = source.outage();
        loop {
            let Some(recorded) = stop.run_until_stopped(self.record(source, memory, stored)).await else {
                return Ok(true);
            };
            match recorded {
                Ok(()) => {
                    source.record_recovery(&outage);
                    return Ok(true);
                }
                Err(PipelineError::Source(SourceError::Database(failure)))
                    if failure.kind == FailureKind::Timeout =>
                {
                    warn!(
                        "finding rows with the same destination takes longer than `source.statement_timeout`: if the older \
                         of two rows is read first, it is uploaded and then overwritten by the newer one"
                    );
                    return Ok(false);
                }
                Err(PipelineError::Source(error)) if error.is_about_a_value() => {
                    warn!(
                        "rows with the same destination cannot be found, because the database fails on a value of a row's \
                         destination: if the older of two rows is read first, it is uploaded and then overwritten by the newer one"
                    );
                    return Ok(false);
                }
                Err(PipelineError::Source(SourceError::Database(failure))) => {
                    source.disconnect();
                    match stop.run_until_stopped(outage.wait_out(failure)).await {
                        Some(waited) => waited.map_err(SourceError::from)?,
                        None => return Ok(true),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn record(
        &self,
        source: &mut Source,
        memory: &mut RunFilter,
        stored: &mut Vec<SourceKey>,
    ) -> Result<(), PipelineError> {
        let mut filter = Duplicates::new(self.validator);
        let session = self.session;
        let duplicates = source
            .duplicates(&session.settings.apps, session.run.cursor.as_ref())
            .await?;
        let mut outdated = pin!(
            duplicates
                .try_filter_map(|duplicate| ready(Ok(filter.next(
                    duplicate.row,
                    duplicate.group,
                    duplicate.is_ahead
                ))))
                .try_chunks(OUTDATED_AT_ONCE)
        );
        while let Some(decisions) = outdated.try_next().await.map_err(|failed| failed.1)? {
            for decision in &decisions {
                memory.add_outdated(&decision.key);
            }
            stored.extend(self.record.outdated(decisions).await?);
            fail_point!("outdated");
        }
        Ok(())
    }
}
