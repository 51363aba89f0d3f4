//! Reads the tokens back, several at a time, and keeps the books in the order of their keys.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fail::fail_point;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    ledger::{Committed, Counters, Ledger, VerifyRun},
    meter::Meter,
    model::{Finding, Probe, Severity, SourceKey, Verdict, Verification},
    pace::Stop,
    pipeline::{
        PipelineError,
        failed::Failed,
        originals::{Original, Originals},
    },
    report::View,
    screen::{AsSent, Origin},
    who::{Read, TokenReader, WhoError},
};

/// Tokens that are looked up in ledger and source at once.
const TOKENS_AT_ONCE: i64 = 200;

/// How often at least what was found is written, as long as anything is.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// How far it has come: what was found, up to which key. Both move together, in the order of the keys.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) cursor: Option<SourceKey>,
    pub(super) found: Verification,
}

/// The books of a verification.
pub(super) struct Progress {
    now: Mutex<Now>,
    /// What differs, by code.
    differing: Failed,
    before: Counters,
    meter: Meter,
    begin: Instant,
}

impl Progress {
    pub(super) fn new(begun: &VerifyRun, meter: Meter) -> Self {
        Self {
            now: Mutex::new(Now {
                cursor: begun.run.cursor.clone(),
                found: begun.verification,
            }),
            differing: Failed::default(),
            before: begun.run.counters,
            meter,
            begin: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Now {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token has its verdict.
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

    /// Says how far it has come.
    pub(super) fn renew(&self, view: &mut View) {
        view.tally = self.now().found.tally();
        view.failures = self.differing.by_code();
        view.requests = self.counters().requests;
    }

    /// Requests and time, earlier processes included.
    pub(super) fn counters(&self) -> Counters {
        Counters {
            requests: self.before.requests + self.meter.requests(),
            retries: self.before.retries,
            rate_limited: self.before.rate_limited + self.meter.rate_limited(),
            lookups: self.before.lookups + self.meter.lookups(),
            active_seconds: self.before.active_seconds + self.begin.elapsed().as_secs_f64(),
        }
    }
}

/// What it takes to check tokens.
pub(super) struct Checking<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) begun: &'a VerifyRun,
    pub(super) originals: Originals,
    pub(super) reader: TokenReader<'a>,
    pub(super) stop: &'a Stop,
    /// So many are read back at a time.
    pub(super) in_flight: usize,
    pub(super) progress: &'a Progress,
}

/// A committed token, and what is to be done about it.
enum Check {
    /// Without a question.
    Told(Committed, Verdict),
    /// To be held against what Descope has.
    Ask(Committed, Probe, Box<AsSent>),
}

impl Checking<'_> {
    /// Works until every chosen token has a verdict, or the switch is turned.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        loop {
            let after = self.progress.now().cursor;
            let tokens = self
                .ledger
                .committed(self.begun, after.as_ref(), TOKENS_AT_ONCE)
                .await?;
            if tokens.is_empty() {
                return self.count_the_rest().await;
            }
            let Some(checks) = self.prepare(tokens).await? else {
                return Ok(());
            };
            if !self.judge(checks).await? {
                return Ok(());
            }
        }
    }

    /// Looks the rows up, and sees what would be sent for them today. `None` if the run is stopped.
    async fn prepare(&mut self, tokens: Vec<Committed>) -> Result<Option<Vec<Check>>, PipelineError> {
        let Some(originals) = self.originals.of(tokens.iter()).await? else {
            return Ok(None);
        };
        let checks = tokens.into_iter().zip(originals).map(|(token, original)| {
            let today = match original {
                Original::Same(today) => today,
                Original::Changed => return Check::Told(token, Verdict::ChangedInSource),
                Original::Gone => return Check::Told(token, Verdict::GoneFromSource),
            };
            let with_refresh_token = matches!(
                today.origin,
                Origin::Row {
                    has_access_token: false,
                    ..
                }
            );
            let probe = Probe::new(&today.destination, with_refresh_token);
            Check::Ask(token, probe, Box::new(today))
        });
        Ok(Some(checks.collect()))
    }

    /// Asks, and enters the verdicts in the order of the keys. `false` if the run is stopped.
    async fn judge(&self, checks: Vec<Check>) -> Result<bool, PipelineError> {
        let mut verdicts = stream::iter(checks)
            .map(|check| self.verdict(check))
            .buffered(self.in_flight);
        let mut unwritten = Vec::new();
        let mut written_at = Instant::now();
        let mut stopped = false;
        while let Some(verdict) = verdicts.next().await {
            let (token, verdict) = match verdict {
                Ok(told) => told,
                Err(WhoError::Stopped) => {
                    stopped = true;
                    break;
                }
                Err(WhoError::Ledger(error)) => return Err(error.into()),
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
            // Findings come first: what the cursor has passed is not looked at again.
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

    async fn verdict(&self, check: Check) -> Result<(Committed, Verdict), WhoError> {
        let (token, probe, today) = match check {
            Check::Told(token, verdict) => return Ok((token, verdict)),
            Check::Ask(token, probe, today) => (token, probe, today),
        };
        let verdict = match self.reader.read(&probe, today.lifetime).await? {
            Read::Spared => Verdict::NotRead,
            Read::Found(held) if !held.is_of(&probe) => Verdict::Hidden,
            Read::Found(held) => match today.origin {
                Origin::Row { .. } => held.compare(&today.encoded, token.sent_at),
                Origin::Fetched => held.compare_around(&today.encoded, token.sent_at),
            },
            Read::Absent => Verdict::Missing,
            Read::Refused(refusal) => Verdict::NotTaken(refusal.code.into_owned()),
        };
        Ok((token, verdict))
    }

    /// Writes what was found up to the cursor.
    async fn write(&self, unwritten: &mut Vec<Finding>) -> Result<(), PipelineError> {
        let run = &self.begun.run;
        let now = self.progress.now();
        self.ledger.note(run, unwritten).await?;
        unwritten.clear();
        fail_point!("verified");
        self.ledger
            .advance_verification(run, now.cursor.as_ref(), &now.found, &self.progress.counters())
            .await?;
        self.ledger.keep_diary(run).await;
        Ok(())
    }

    /// Where all tokens were asked for: how many rows were not uploaded.
    async fn count_the_rest(&mut self) -> Result<(), PipelineError> {
        let found = self.progress.now().found;
        if found.sample.is_some() || found.of_run.is_some() {
            return Ok(());
        }
        match self.stop.unless_turned(self.originals.source.census()).await {
            None => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(None)) => warn!(
                "counting the source's rows takes longer than `source.statement_timeout`: how many were not uploaded is not known"
            ),
            Some(Ok(Some(census))) => {
                let rows = i64::try_from(census.rows).unwrap_or(i64::MAX);
                let uploaded = found.tally().selected - found.gone_from_source;
                self.progress
                    .change(|now| now.found.not_uploaded = Some((rows - uploaded).max(0)));
            }
        }
        Ok(())
    }
}
