//! The stages of a run, wired together by channels.

use std::{collections::VecDeque, future::ready, pin::pin, sync::Arc};

use fail::fail_point;
use futures_util::{TryStreamExt, future::BoxFuture};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{Instrument, Span, warn};

use super::{
    PipelineError, Request,
    canary::CanaryGate,
    columns::Columns,
    holder_check::HolderCheck,
    ledger_filter::LedgerFilter,
    lookup_stage,
    notices::Notices,
    outcome_sink::OutcomeSink,
    preflight,
    provider_tokens::ProviderTokens,
    read_stage,
    run_tracker::RunTracker,
    sink::Sink,
    source_rows,
    validate_stage::{Limit, ValidateStage},
};
use crate::{
    chunker::{Chunker, Limits, Singly},
    descope::{BODY_OVERHEAD, SINGLE_OVERHEAD},
    domain::{Forgotten, Phase, Selection, StopReason},
    ledger::Ledger,
    lookup::{ExistenceCheck, UserResolver},
    postgres::FailureKind,
    rate::StopSignal,
    reader::{Source, SourceError},
    uploader::{OnUnresolved, Reconciliation, Uploader},
    validation::{Duplicates, Validator},
};

/// The shared parts of a run's stages.
pub(super) struct Stages<'a> {
    pub(super) request: &'a Request,
    pub(super) tracker: &'a RunTracker<'a>,
    pub(super) record: &'a OutcomeSink,
    /// Holds the rest back until the canary succeeded, if there is one.
    pub(super) gate: Option<CanaryGate>,
}

/// The initial parts of the stages.
struct Start {
    source: Source,
    /// Resolves login IDs, if the source has any.
    resolver: Option<Arc<UserResolver>>,
    validator: Validator,
    memory: LedgerFilter,
    forgotten: Forgotten,
    duplicates_resolved: bool,
    /// Checks apps, tenants and users at the API, if requested.
    check: Option<ExistenceCheck>,
}

impl Stages<'_> {
    /// Reconciles what an earlier process left, then works until the source ends or the run is stopped.
    pub(super) async fn run(self, mut source: Source, delivery: Sink) -> Result<(), PipelineError> {
        let (tracker, session) = (self.tracker, self.tracker.session);
        let (settings, stop) = (session.settings, &session.control.stop);
        tracker.phase.enter(Phase::Settling);
        if let Sink::Upload(uploader) = &delivery {
            settle_left_behind(&session.ledger, uploader, stop, OnUnresolved::SendAgain).await?;
        }
        let forgotten = self.record.forgotten().await?;
        if forgotten == Forgotten::Anything {
            warn!(
                "the ledger was restored to an earlier state and may not know all tokens that were sent: every row is \
                 sent again. Until that has completed, a batch with an unknown outcome is sent again too, since nothing can prove that it arrived"
            );
        }
        let mut memory = LedgerFilter::new(session.ledger.is_new_to(&session.run).await?);
        let validator = source_rows::validator(settings, &session.ledger);
        let resolver = source_rows::resolver(session).await?.map(Arc::new);
        let duplicates_resolved = match self.request.selection {
            Selection::All => {
                tracker.phase.enter(Phase::Outdated);
                self.leave_out_outdated(&mut source, &validator, &mut memory)
                    .await?
            }
            // The other rows are not read.
            Selection::Failed { .. } => false,
            // The source does not know which login IDs belong to the same user.
        } && resolver.is_none();
        if self.request.online.is_some() {
            tracker.phase.enter(Phase::Asking);
        }
        let checking = preflight::check(settings, self.request, &mut source, &session.lookup_client);
        let check = stop.run_until_stopped(checking).await.transpose()?.flatten();
        let start = Start {
            source,
            resolver,
            validator,
            memory,
            forgotten,
            duplicates_resolved,
            check,
        };
        self.spawn(start, delivery).await
    }

    /// Asks the source for outdated rows, and records them before any row is sent. Returns `false` if the
    /// source cannot tell, or not in time.
    async fn leave_out_outdated(
        &self,
        source: &mut Source,
        validator: &Validator,
        memory: &mut LedgerFilter,
    ) -> Result<bool, PipelineError> {
        let mut outage = source.outage();
        loop {
            let recording = self.record_outdated(source, validator, memory);
            let Some(recorded) = self
                .tracker
                .session
                .control
                .stop
                .run_until_stopped(recording)
                .await
            else {
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
                    match self
                        .tracker
                        .session
                        .control
                        .stop
                        .run_until_stopped(outage.wait_out(failure))
                        .await
                    {
                        Some(waited) => waited.map_err(SourceError::from)?,
                        None => return Ok(true),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn record_outdated(
        &self,
        source: &mut Source,
        validator: &Validator,
        memory: &mut LedgerFilter,
    ) -> Result<(), PipelineError> {
        let mut filter = Duplicates::new(validator);
        let duplicates = source
            .duplicates(
                &self.tracker.session.settings.apps,
                self.tracker.session.run.cursor.as_ref(),
            )
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
            self.record.outdated(decisions).await?;
            fail_point!("outdated");
        }
        Ok(())
    }

    /// Returns which tokens are sent one by one.
    fn singly(&self) -> Singly {
        match self.request.canary {
            _ if self.tracker.session.settings.batch.verify_refresh => Singly::All,
            Some(canary) => Singly::First(canary.tokens.get()),
            None => Singly::First(0),
        }
    }

    /// Spawns a task per stage to use all cores; joins them here, so that none outlives the run.
    async fn spawn(&self, start: Start, delivery: Sink) -> Result<(), PipelineError> {
        let Start {
            source,
            resolver,
            validator,
            memory,
            forgotten,
            duplicates_resolved,
            check,
        } = start;
        let (tracker, session) = (self.tracker, self.tracker.session);
        let (batch, stop) = (session.settings.batch, &session.control.stop);
        let limits = Limits {
            max_tokens: batch.max_tokens,
            max_bytes: batch.max_bytes,
            overhead: BODY_OVERHEAD,
            single_overhead: SINGLE_OVERHEAD,
        };
        let singly = self.singly();
        match (&self.gate, &check) {
            (Some(_), _) => tracker.phase.enter(Phase::Canary),
            // Every page is checked.
            (None, Some(_)) => {}
            (None, None) => tracker.phase.enter(Phase::Sending),
        }
        let validator = Arc::new(validator);
        let older = self.request.older;
        let holder_check = HolderCheck::beside(&source, resolver.as_ref(), &validator, older, stop);
        let (pages_in, mut pages) = mpsc::channel(1);
        let (work_in, mut work) = mpsc::channel(1);
        let prepare = ValidateStage {
            validator,
            record: self.record.clone(),
            checkpointer: Arc::clone(&tracker.checkpointer),
            chunker: Chunker::new(limits, singly),
            size_limit: delivery.size_limit(batch),
            refresh_margin_seconds: self.tracker.session.settings.api.refresh_margin.seconds(),
            stop: stop.clone(),
            work: work_in,
            unsettled: VecDeque::new(),
            limit: self.request.limit.map(Limit::new),
            memory,
            forgotten,
            duplicates_resolved,
            holder_check,
            notices: Notices::default(),
            check,
            fetching: ProviderTokens::new(self.tracker.session.settings, &delivery, &session.lookup_client),
            columns: (self.request.selection == Selection::All).then(|| Columns::new(self.request.dry_run)),
        };
        let reading: BoxFuture<'static, _> = match self.request.selection.clone() {
            // Not instrumented: the driver enters the current span twice in a row. The source logs in the
            // span it is given.
            Selection::All => Box::pin(read_stage::all(
                source.with_span(Span::current()),
                session.run.cursor.clone(),
                stop.clone(),
                pages_in,
            )),
            Selection::Failed { code } => Box::pin(
                read_stage::failed(
                    source,
                    session.ledger.clone(),
                    session.run.id,
                    code,
                    stop.clone(),
                    pages_in,
                )
                .in_current_span(),
            ),
        };
        let resolving: BoxFuture<'static, _> = match resolver {
            Some(resolver) => {
                let (known_in, known) = mpsc::channel(1);
                let read = std::mem::replace(&mut pages, known);
                Box::pin(lookup_stage::run(resolver, read, known_in))
            }
            None => Box::pin(ready(Ok(()))),
        };
        let gating: BoxFuture<'static, _> = match self.gate.clone() {
            Some(gate) => {
                let (passed_in, passed) = mpsc::channel(1);
                let prepared = std::mem::replace(&mut work, passed);
                Box::pin(gate.run(prepared, passed_in))
            }
            None => Box::pin(ready(Ok(()))),
        };
        let delivering = delivery.run(batch, stop.clone(), work, tracker.phase.clone());
        let reading = tokio::spawn(reading);
        let resolving = tokio::spawn(resolving.in_current_span());
        let preparing = tokio::spawn(prepare.run(pages).in_current_span());
        let gating = tokio::spawn(gating.in_current_span());
        let delivering = tokio::spawn(delivering.in_current_span());
        let (reader, resolver, preparer, gate, sender) = tokio::join!(
            guarded(stop, reading),
            guarded(stop, resolving),
            guarded(stop, preparing),
            guarded(stop, gating),
            guarded(stop, delivering)
        );
        // The cause precedes its consequences: a stage whose neighbour is gone ends without an error.
        reader.and(resolver).and(preparer).and(gate).and(sender)
    }
}

/// Outdated rows recorded per statement.
const OUTDATED_AT_ONCE: usize = 1000;

/// Ends all stages if one fails or panics.
async fn guarded(
    stop: &StopSignal,
    stage: JoinHandle<Result<(), PipelineError>>,
) -> Result<(), PipelineError> {
    let ended = stage.await.unwrap_or_else(|error| Err(error.into()));
    if ended.is_err() {
        stop.cancel();
    }
    ended
}

/// Reconciles the batches in flight of earlier processes one by one, before anything is sent. While one of
/// them is unresolved, nothing may be sent: it could be the same tokens.
pub(super) async fn settle_left_behind(
    ledger: &Ledger,
    uploader: &Uploader,
    stop: &StopSignal,
    on_unresolved: OnUnresolved,
) -> Result<(), PipelineError> {
    for left in ledger.unsettled().await? {
        if stop.is_triggered() {
            break;
        }
        if uploader.settle_left_behind(&left, on_unresolved).await? == Reconciliation::Unknown {
            stop.trigger(StopReason::Unsettled(left.batch.id));
        }
    }
    if !stop.is_triggered() {
        // Only now: reconciling may have packed batches.
        ledger.file_left_behind().await?;
    }
    Ok(())
}
