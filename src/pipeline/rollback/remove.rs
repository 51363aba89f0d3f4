//! The remover: reads tokens back concurrently and deletes those that match.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fail::fail_point;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{
    checkpoint,
    eligibility::{Question, eligible, left_after, left_alone, spared},
};
use crate::{
    descope::VerifiedMatch,
    domain::{DryRun, Reason, RollbackOutcome, StopReason},
    ledger::{Committed, IntendedDeletion, LedgerError, RollbackCandidate, RollbackRun},
    lookup::{Answered, LookupError, Read, TokenReader},
    pipeline::{PipelineError, progress::quota, session::Session, source_rows::SourceRows},
};

/// The tokens looked up in ledger and source at once.
const TOKENS_AT_ONCE: i64 = 200;

/// The longest interval between records of the counts.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// The errors that stop it.
const READING: &str = "tokens could not be read back";
const DELETING: &str = "tokens could not be deleted";

/// A match is valid for this long, or for as long as the quota delays two requests of each task. After that,
/// for example after a wait that the API asked for, the token is read again.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The state of the deletion.
pub(super) struct Remover<'a> {
    session: &'a Session<'a>,
    begun: &'a RollbackRun,
    reader: TokenReader<'a>,
    /// The time within which a sent deletion may still arrive.
    under_way_for: Duration,
    /// Tokens whose deletion may have arrived, and that must not be read.
    unsettled: AtomicU64,
}

/// The result of reading a token back.
enum Look {
    /// The token that was sent.
    There(VerifiedMatch),
    /// Nothing is there.
    Nothing,
    /// Another token that is kept, with its ID if shown.
    Other(Option<String>, Reason),
    /// Not read, as Descope would refresh it.
    Spared,
}

impl<'a> Remover<'a> {
    pub(super) fn new(session: &'a Session<'a>, begun: &'a RollbackRun) -> Self {
        let api = &session.settings.api;
        let margin = (!begun.rollback_request.include_expired).then_some(api.refresh_margin);
        Self {
            session,
            begun,
            reader: TokenReader::new(&session.lookup_client, margin, READING),
            under_way_for: api.timeout + api.settle_grace,
            unsettled: AtomicU64::new(0),
        }
    }

    /// Returns the number of concurrent tasks.
    fn in_flight(&self) -> usize {
        self.session.settings.batch.concurrency
    }

    /// Returns the validity of a match at the current rate, which may have been lowered.
    fn good_for(&self) -> Duration {
        let throttle = &self.session.control.throttle;
        let spacing = quota(throttle.slowed_to().unwrap_or_else(|| throttle.configured())).spacing;
        GOOD_FOR.max(spacing.mul_f64(2.0 * self.in_flight() as f64))
    }

    /// Records outcomes of tokens.
    async fn end(&self, ends: &[(Committed, RollbackOutcome)]) -> Result<(), LedgerError> {
        self.session.ledger.roll_back(self.begun, ends).await?;
        for (_, outcome) in ends {
            self.session.control.meter.ended(&outcome.tally());
        }
        Ok(())
    }

    /// Works until every token has an outcome or the run is stopped.
    pub(super) async fn run(self, mut source_rows: SourceRows) -> Result<(), PipelineError> {
        let mut after = None;
        loop {
            let candidates = self
                .session
                .ledger
                .rollback_candidates(self.begun, after.as_ref(), TOKENS_AT_ONCE)
                .await?;
            let Some(last) = candidates.last() else {
                let unsettled = self.unsettled.load(Ordering::Relaxed);
                if unsettled > 0 {
                    self.session.control.stop.trigger(StopReason::DeletionsUnsettled {
                        count: unsettled,
                        of_run: self.begun.rollback_request.of_run,
                    });
                }
                return Ok(());
            };
            after = Some(last.token.key.clone());
            let tokens = candidates.iter().map(|candidate| &candidate.token);
            let Some(source_rows) = source_rows.of(tokens).await? else {
                return Ok(());
            };
            let (mut asked, mut refused) = (Vec::new(), Vec::new());
            for (candidate, original) in candidates.into_iter().zip(source_rows) {
                match eligible(&candidate, original) {
                    Err(reason) if candidate.intended.is_none() => {
                        refused.push((candidate.token, RollbackOutcome::Refused(reason)));
                    }
                    question => asked.push((candidate, question)),
                }
            }
            self.end(&refused).await?;
            let goes_on = self.work(asked).await?;
            self.record().await?;
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Processes each token. Returns `false` if the run is stopped; requests in flight are then completed and
    /// recorded.
    async fn work(
        &self,
        asked: Vec<(RollbackCandidate, Result<Question, Reason>)>,
    ) -> Result<bool, PipelineError> {
        let mut ends = stream::iter(asked)
            .map(|(candidate, question)| self.one(candidate, question))
            .buffer_unordered(self.in_flight());
        let mut stopped = false;
        let mut failed = Ok(());
        let mut recorded_at = Instant::now();
        while let Some(end) = ends.next().await {
            match end {
                Ok(()) if recorded_at.elapsed() >= RECORD_EVERY => {
                    self.record().await?;
                    recorded_at = Instant::now();
                }
                Ok(()) => {}
                Err(LookupError::Stopped) => stopped = true,
                Err(LookupError::Ledger(error)) => {
                    self.session.control.stop.cancel();
                    failed = failed.and(Err(error.into()));
                }
            }
        }
        failed.map(|()| !stopped)
    }

    async fn one(
        &self,
        candidate: RollbackCandidate,
        question: Result<Question, Reason>,
    ) -> Result<(), LookupError> {
        let mut outcome = self.look_after(&candidate, &question).await?;
        if let (Some(RollbackOutcome::Refused(_)), Some(intended)) = (&outcome, &candidate.intended) {
            // The token exists now. That is final only when no deletion can still arrive.
            let rest = self.under_way_for.saturating_sub(intended.age);
            if !rest.is_zero() {
                let waited = self
                    .session
                    .control
                    .stop
                    .run_until_stopped(tokio::time::sleep(rest))
                    .await;
                waited.ok_or(LookupError::Stopped)?;
                outcome = self.look_after(&candidate, &question).await?;
            }
        }
        let Some(outcome) = outcome else {
            self.unsettled.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        fail_point!("undone");
        self.end(&[(candidate.token, outcome)]).await?;
        fail_point!("undone_recorded");
        Ok(())
    }

    async fn look_after(
        &self,
        candidate: &RollbackCandidate,
        question: &Result<Question, Reason>,
    ) -> Result<Option<RollbackOutcome>, LookupError> {
        match (question, &candidate.intended) {
            (Ok(question), _) => self.outcome(candidate, question).await,
            (Err(reason), Some(intended)) => self.aftermath(intended, reason.clone()).await,
            (Err(reason), None) => Ok(Some(RollbackOutcome::Refused(reason.clone()))),
        }
    }

    /// Reads, records the intent, deletes, and repeats until the outcome is known. Returns `None` if a
    /// deletion may have arrived and the token must not be read: it stays recorded as being deleted.
    async fn outcome(
        &self,
        candidate: &RollbackCandidate,
        question: &Question,
    ) -> Result<Option<RollbackOutcome>, LookupError> {
        let of_run = self.begun.rollback_request.of_run;
        let mut attempts = self.session.lookup_client.attempts();
        // The ID of an earlier deletion that may have arrived, whatever its response was.
        let mut sent_before = candidate
            .intended
            .as_ref()
            .map(|intended| intended.token_id.clone());
        loop {
            let recognised = match self.look(&candidate.token, question).await? {
                Look::There(recognised) => recognised,
                Look::Nothing if sent_before.is_some() => return Ok(Some(RollbackOutcome::Removed)),
                Look::Nothing => return Ok(Some(RollbackOutcome::Gone)),
                Look::Other(shown, reason) => {
                    return Ok(Some(left_after(sent_before.as_deref(), shown.as_deref(), reason)));
                }
                Look::Spared if sent_before.is_some() => return Ok(None),
                Look::Spared => return Ok(Some(RollbackOutcome::Refused(spared(of_run)))),
            };
            if self.begun.rollback_request.dry_run == DryRun::On {
                return Ok(Some(RollbackOutcome::Deletable));
            }
            let looked_at = Instant::now();
            if attempts.start().await.is_none() {
                return Err(LookupError::Stopped);
            }
            if looked_at.elapsed() > self.good_for() {
                continue;
            }
            // Fails if another process has taken over, which may already be sending the row again.
            let intended = question.deletion_of(&recognised);
            self.session
                .ledger
                .intend_deletion(self.begun, &candidate.token, &intended)
                .await?;
            fail_point!("intended");
            // The ledger may have been unreachable meanwhile.
            if looked_at.elapsed() > self.good_for() {
                continue;
            }
            let answered = self
                .session
                .lookup_client
                .perform(&mut attempts, DELETING, |client| client.delete(&recognised))
                .await?;
            match answered {
                Some(Answered::Found(())) => return Ok(Some(RollbackOutcome::Removed)),
                // The documentation does not say which response means that the token does not exist.
                Some(refused @ (Answered::Absent | Answered::Refused(_))) => {
                    let code = match refused {
                        Answered::Refused(refusal) => refusal.code.into_owned(),
                        _ => "not_found".to_owned(),
                    };
                    return Ok(Some(match self.look(&candidate.token, question).await? {
                        Look::Nothing if sent_before.is_some() => RollbackOutcome::Removed,
                        Look::Nothing => RollbackOutcome::Gone,
                        Look::There(_) => RollbackOutcome::Refused(Reason::api(
                            code,
                            "the API shows the token but does not delete it",
                        )),
                        Look::Other(shown, reason) => {
                            left_after(sent_before.as_deref(), shown.as_deref(), reason)
                        }
                        Look::Spared if sent_before.is_some() => return Ok(None),
                        Look::Spared => RollbackOutcome::Refused(spared(of_run)),
                    }));
                }
                None => sent_before = Some(intended.token_id),
            }
        }
    }

    /// Returns the outcome of a deletion if the source no longer tells what was sent. `None` if the token
    /// must not be read.
    async fn aftermath(
        &self,
        intended: &IntendedDeletion,
        reason: Reason,
    ) -> Result<Option<RollbackOutcome>, LookupError> {
        let sent = Some(intended.token_id.as_str());
        let Some(probe) = &intended.probe else {
            return Ok(Some(left_after(sent, None, reason)));
        };
        Ok(match self.reader.read(probe, intended.lifetime()).await? {
            Read::Absent => Some(RollbackOutcome::Removed),
            Read::Found(held) => Some(left_after(sent, held.id.as_deref(), reason)),
            Read::Refused(_) => Some(left_after(sent, None, reason)),
            Read::Spared => None,
        })
    }

    async fn look(&self, token: &Committed, question: &Question) -> Result<Look, LookupError> {
        let Question {
            probe,
            lifetime,
            sent,
        } = question;
        Ok(match self.reader.read(probe, *lifetime).await? {
            Read::Spared => Look::Spared,
            Read::Found(held) => match held.recognise(probe, sent, token.sent_at) {
                Ok(recognised) => Look::There(recognised),
                Err(why) => Look::Other(held.id, left_alone(&why)),
            },
            Read::Absent => Look::Nothing,
            Read::Refused(refusal) => {
                let text = format!("the API rejects reading back this token ({})", refusal.code);
                Look::Other(None, Reason::api("not_readable", text))
            }
        })
    }

    /// Writes the counts to ledger and view. The tokens' outcomes are already in the ledger.
    async fn record(&self) -> Result<(), PipelineError> {
        let tally = self.session.ledger.rolled_back(self.begun).await?.tally();
        let checkpoint = checkpoint(tally, self.session.counters());
        self.session.ledger.advance(&self.begun.run, &checkpoint).await?;
        self.session.ledger.write_events(&self.begun.run).await;
        self.session.view.send_modify(|view| view.tally = tally);
        Ok(())
    }
}
