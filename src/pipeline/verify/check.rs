//! The verify stage: reads tokens back concurrently and counts the verdicts in key order.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fail::fail_point;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    domain::{Finding, Probe, Severity, SourceKey, Verdict, Verification},
    ledger::{Committed, VerifyRun},
    lookup::{LookupError, Read, TokenReader},
    metrics::Meter,
    pipeline::{
        PipelineError,
        failure_counts::Failed,
        session::Session,
        source_rows::{RowState, SourceRows},
    },
    report::View,
    validation::{EncodedRow, Origin},
};

/// The tokens that one query to the ledger lists: it has to look at all of them.
const LISTED_AT_ONCE: i64 = 5000;

/// The tokens whose rows are looked up in the source at once.
const TOKENS_AT_ONCE: usize = 200;

/// The longest interval between records of the findings.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// The progress: results and the key reached. Both advance in key order.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) cursor: Option<SourceKey>,
    pub(super) found: Verification,
}

/// The counts of a verification.
pub(super) struct Progress {
    now: Mutex<Now>,
    /// Differences by code.
    differing: Failed,
    meter: Meter,
}

impl Progress {
    pub(super) fn new(begun: &VerifyRun, meter: Meter) -> Self {
        Self {
            now: Mutex::new(Now {
                cursor: begun.run.cursor.clone(),
                found: begun.verification,
            }),
            differing: Failed::default(),
            meter,
        }
    }

    pub(super) fn now(&self) -> Now {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, verdict: &Verdict, key: SourceKey) {
        let mut one = Verification::default();
        one.add(verdict);
        self.meter.ended(&one.tally());
        self.change(|now| {
            now.found.add(verdict);
            now.cursor = Some(key);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Updates the view.
    pub(super) fn renew(&self, view: &mut View) {
        view.tally = self.now().found.tally();
        view.failures = self.differing.by_code();
    }
}

/// The parts of the stage.
pub(super) struct VerifyStage<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) begun: &'a VerifyRun,
    pub(super) source_rows: SourceRows,
    pub(super) reader: TokenReader<'a>,
    pub(super) progress: &'a Progress,
}

/// A committed token and its check.
enum ExistenceCheck {
    /// Decided without a request.
    Told(Committed, Verdict),
    /// To be compared with Descope.
    Ask(Committed, Probe, Box<EncodedRow>),
}

impl VerifyStage<'_> {
    /// Works until every selected token has a verdict or the run is stopped.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        loop {
            let after = self.progress.now().cursor;
            let tokens = self
                .session
                .ledger
                .committed(self.begun, after.as_ref(), LISTED_AT_ONCE)
                .await?;
            if tokens.is_empty() {
                return self.count_the_rest().await;
            }
            let mut tokens = tokens.into_iter().peekable();
            while tokens.peek().is_some() {
                let next = tokens.by_ref().take(TOKENS_AT_ONCE).collect();
                let Some(checks) = self.prepare(next).await? else {
                    return Ok(());
                };
                if !self.judge(checks).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Looks the rows up and encodes them as they would be sent now. `None` if the run is stopped.
    async fn prepare(
        &mut self,
        tokens: Vec<Committed>,
    ) -> Result<Option<Vec<ExistenceCheck>>, PipelineError> {
        let Some(source_rows) = self.source_rows.of(tokens.iter()).await? else {
            return Ok(None);
        };
        let checks = tokens.into_iter().zip(source_rows).map(|(token, original)| {
            let row_status = match original {
                RowState::Same(row_status) => row_status,
                RowState::Changed => return ExistenceCheck::Told(token, Verdict::ChangedInSource),
                RowState::Gone => return ExistenceCheck::Told(token, Verdict::GoneFromSource),
            };
            let with_refresh_token = matches!(
                row_status.origin,
                Origin::Row {
                    has_access_token: false,
                    ..
                }
            );
            let probe = Probe::new(&row_status.destination, with_refresh_token);
            ExistenceCheck::Ask(token, probe, Box::new(row_status))
        });
        Ok(Some(checks.collect()))
    }

    /// Reads back and records the verdicts in key order. Returns `false` if the run is stopped.
    async fn judge(&self, checks: Vec<ExistenceCheck>) -> Result<bool, PipelineError> {
        let mut verdicts = stream::iter(checks)
            .map(|check| self.verdict(check))
            .buffered(self.session.settings.batch.concurrency);
        let mut unwritten = Vec::new();
        let mut written_at = Instant::now();
        let mut stopped = false;
        while let Some(verdict) = verdicts.next().await {
            let (token, verdict) = match verdict {
                Ok(told) => told,
                Err(LookupError::Stopped) => {
                    stopped = true;
                    break;
                }
                Err(LookupError::Ledger(error)) => return Err(error.into()),
            };
            for (severity, reason) in verdict.findings() {
                if severity == Severity::Error {
                    self.progress.differing.add(&reason.code, &reason.text, 1);
                }
                unwritten.push(Finding {
                    key: token.key.clone(),
                    destination: Some(token.destination.clone()),
                    app: None,
                    kind: severity.into(),
                    reason,
                    superseded_by: None,
                });
            }
            // Findings are written first: what the cursor has passed is not checked again.
            if written_at.elapsed() >= RECORD_EVERY {
                self.write(&mut unwritten).await?;
                written_at = Instant::now();
            }
            self.progress.add(&verdict, token.key);
        }
        drop(verdicts);
        self.write(&mut unwritten).await?;
        Ok(!stopped)
    }

    async fn verdict(&self, check: ExistenceCheck) -> Result<(Committed, Verdict), LookupError> {
        let (token, probe, row_status) = match check {
            ExistenceCheck::Told(token, verdict) => return Ok((token, verdict)),
            ExistenceCheck::Ask(token, probe, row_status) => (token, probe, row_status),
        };
        let verdict = match self.reader.read(&probe, row_status.lifetime).await? {
            Read::Spared => Verdict::NotRead,
            Read::Found(held) if !held.is_of(&probe) => Verdict::Hidden,
            Read::Found(held) => match row_status.origin {
                Origin::Row { .. } => match held.compare(&row_status.encoded, token.sent_at) {
                    // None were sent, so this may be a newer token of the same owner.
                    Verdict::Different(fields)
                        if probe.scopes.is_empty()
                            && !held.has_scopes_of(&probe)
                            && fields.iter().any(|field| field.is_of_the_token()) =>
                    {
                        Verdict::Hidden
                    }
                    verdict => verdict,
                },
                Origin::Fetched => held.compare_around(&row_status.encoded, token.sent_at),
            },
            Read::Absent => Verdict::Missing,
            Read::Refused(refusal) => Verdict::NotTaken(refusal.code.into_owned()),
        };
        Ok((token, verdict))
    }

    /// Writes the findings up to the cursor.
    async fn write(&self, unwritten: &mut Vec<Finding>) -> Result<(), PipelineError> {
        let Session { ledger, run, .. } = self.session;
        let now = self.progress.now();
        ledger.record_findings(run, unwritten).await?;
        unwritten.clear();
        fail_point!("verified");
        ledger
            .advance_verification(run, now.cursor.as_ref(), &now.found, &self.session.counters())
            .await?;
        ledger.write_events(run).await;
        Ok(())
    }

    /// Counts the rows that were not uploaded, if all tokens were selected.
    async fn count_the_rest(&mut self) -> Result<(), PipelineError> {
        let found = self.progress.now().found;
        if found.sample.is_some() || found.of_run.is_some() {
            return Ok(());
        }
        match self
            .session
            .control
            .stop
            .run_until_stopped(self.source_rows.source.count_rows_and_users())
            .await
        {
            None => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(None)) => warn!(
                "counting the source's rows takes longer than `source.statement_timeout`: the number of rows that were not uploaded is unknown"
            ),
            Some(Ok(Some(row_counts))) => {
                let rows = i64::try_from(row_counts.rows).unwrap_or(i64::MAX);
                let uploaded = found.tally().selected - found.gone_from_source;
                self.progress
                    .change(|now| now.found.not_uploaded = Some((rows - uploaded).max(0)));
            }
        }
        Ok(())
    }
}
