//! The stages of a run, wired together by channels.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, warn};

use super::{
    PipelineError, Request,
    canary::CanaryGate,
    columns::Columns,
    holder_check::HolderCheck,
    lookup_stage,
    notices::Notices,
    outcome_sink::OutcomeSink,
    outdated::OutdatedRows,
    preflight,
    provider_tokens::ProviderTokens,
    read_stage,
    run_filter::RunFilter,
    run_tracker::RunTracker,
    session::Session,
    sink::Sink,
    sink_item::SinkItem,
    source_rows,
    stage_set::StageSet,
    unchanged_ranges::{CleanBefore, UnchangedRanges},
    validate_stage::{Limit, ValidateStage},
};
use crate::{
    chunker::{Chunker, Limits, Singly},
    descope::{BODY_OVERHEAD, SINGLE_OVERHEAD},
    domain::{Forgotten, Phase, Selection, StopReason},
    lookup::{ExistenceCheck, UserResolver},
    reader::{Page, Source},
    uploader::{Reconciliation, Uploader},
    validation::Validator,
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
    /// Resolves login IDs, if the source has any.
    resolver: Option<Arc<UserResolver>>,
    validator: Arc<Validator>,
    holder_check: HolderCheck,
    memory: RunFilter,
    forgotten: Forgotten,
    duplicates_resolved: bool,
    /// Checks apps, tenants and users at the API, if requested.
    check: Option<ExistenceCheck>,
}

impl Stages<'_> {
    /// Reconciles what an earlier process left, then works until the source ends or the run is stopped.
    pub(super) async fn run(self, mut source: Source, sink: Sink) -> Result<(), PipelineError> {
        let (tracker, session) = (self.tracker, self.tracker.session);
        let (settings, stop) = (session.settings, &session.control.stop);
        tracker.phase.enter(Phase::Settling);
        let clean_before = CleanBefore::take(session, self.request, &mut source).await?;
        if let Sink::Upload(uploader) = &sink {
            reconcile_left_behind(session, uploader).await?;
        }
        let forgotten = self.record.forgotten().await?;
        if forgotten == Forgotten::Anything {
            warn!(
                "the ledger was restored to an earlier state and may not know all tokens that were sent: every row is \
                 sent again. Until that has completed, a batch with an unknown outcome is sent again too, since nothing can prove that it arrived"
            );
        }
        let mut memory = RunFilter::new();
        let validator = source_rows::validator(settings, &session.ledger).with_buffers(&session.buffers);
        let resolver = source_rows::resolver(session).await?.map(Arc::new);
        let mut unchanged = if forgotten == Forgotten::Nothing {
            tracker.phase.enter(Phase::Comparing);
            let comparing = clean_before.compare(&mut source);
            stop.run_until_stopped(comparing)
                .await
                .transpose()?
                .unwrap_or_default()
        } else {
            UnchangedRanges::default()
        };
        let mut outdated_stored = Vec::new();
        let duplicates_resolved = match self.request.selection {
            Selection::All if unchanged.are_all() => true,
            Selection::All => {
                tracker.phase.enter(Phase::Outdated);
                let outdated = OutdatedRows {
                    session,
                    record: self.record,
                    validator: &validator,
                };
                outdated
                    .find(&mut source, &mut memory, &mut outdated_stored)
                    .await?
            }
            // The other rows are not read.
            Selection::Failed { .. } => false,
            // The source does not know which login IDs belong to the same user.
        } && resolver.is_none();
        if duplicates_resolved {
            unchanged.drop_outdated(&mut source, &outdated_stored).await?;
        } else {
            unchanged.clear();
        }
        if let Some(seal) = unchanged.seal() {
            let _ = tracker.range_seal.set(seal.clone());
        }
        if self.request.online.is_some() {
            tracker.phase.enter(Phase::Asking);
        }
        let checking = preflight::check(settings, self.request, &mut source, &session.lookup_client);
        let check = stop.run_until_stopped(checking).await.transpose()?.flatten();
        let validator = Arc::new(validator);
        let holder_check =
            HolderCheck::beside(&source, resolver.as_ref(), &validator, self.request.older, stop);
        let start = Start {
            resolver,
            validator,
            holder_check,
            memory,
            forgotten,
            duplicates_resolved,
            check,
        };
        self.work(start, source, unchanged, sink).await
    }

    /// Connects the stages: read, look users up, validate and cut into batches, hold back for the canary,
    /// send.
    async fn work(
        &self,
        start: Start,
        source: Source,
        unchanged: UnchangedRanges,
        sink: Sink,
    ) -> Result<(), PipelineError> {
        let (tracker, session) = (self.tracker, self.tracker.session);
        let (batch, stop) = (session.settings.batch, &session.control.stop);
        match (&self.gate, &start.check) {
            (Some(_), _) => tracker.phase.enter(Phase::Canary),
            // Every page is checked.
            (None, Some(_)) => {}
            (None, None) => tracker.phase.enter(Phase::Sending),
        }
        let resolver = start.resolver.clone();
        let mut stages = StageSet::new(stop);
        let mut pages = stages.add(|pages| self.read(source, unchanged, pages));
        if let Some(resolver) = resolver {
            pages = stages.add(|resolved| lookup_stage::run(resolver, pages, resolved).in_current_span());
        }
        let mut work = stages.add(|work| {
            self.validate_stage(start, &sink, work)
                .run(pages)
                .in_current_span()
        });
        if let Some(gate) = self.gate.clone() {
            work = stages.add(|passed| gate.run(work, passed).in_current_span());
        }
        let phase = tracker.phase.clone();
        stages.add_last(sink.run(batch, stop.clone(), work, phase).in_current_span());
        stages.join().await
    }

    fn read(
        &self,
        source: Source,
        unchanged: UnchangedRanges,
        pages: mpsc::Sender<Page>,
    ) -> BoxFuture<'static, Result<(), PipelineError>> {
        let session = self.tracker.session;
        let stop = session.control.stop.clone();
        match self.request.selection.clone() {
            // Not instrumented: the driver enters the current span twice in a row. The source logs in the
            // span it is given.
            Selection::All => {
                let source = source.with_span(Span::current());
                Box::pin(read_stage::all(
                    source,
                    session.run.cursor.clone(),
                    unchanged,
                    stop,
                    pages,
                ))
            }
            Selection::Failed { code } => {
                let ledger = session.ledger.clone();
                let reading = read_stage::failed(source, ledger, session.run.id, code, stop, pages);
                Box::pin(reading.in_current_span())
            }
        }
    }

    fn validate_stage(&self, start: Start, sink: &Sink, work: mpsc::Sender<SinkItem>) -> ValidateStage {
        let session = self.tracker.session;
        let (settings, stop) = (session.settings, &session.control.stop);
        let limits = Limits {
            max_tokens: settings.batch.growth_limit(),
            max_bytes: settings.batch.max_bytes,
            overhead: BODY_OVERHEAD,
            single_overhead: SINGLE_OVERHEAD,
        };
        ValidateStage {
            validator: start.validator,
            record: self.record.clone(),
            checkpointer: Arc::clone(&self.tracker.checkpointer),
            chunker: Chunker::new(limits, self.singly()),
            size_limit: sink.size_limit().clone(),
            refresh_margin_seconds: settings.api.refresh_margin.seconds(),
            stop: stop.clone(),
            work,
            unsettled: VecDeque::new(),
            limit: self.request.limit.map(Limit::new),
            memory: start.memory,
            forgotten: start.forgotten,
            duplicates_resolved: start.duplicates_resolved,
            holder_check: start.holder_check,
            notices: Notices::default(),
            check: start.check,
            fetching: ProviderTokens::new(settings, sink, &session.lookup_client),
            columns: (self.request.selection == Selection::All).then(|| Columns::new(self.request.dry_run)),
        }
    }

    /// Returns which tokens are sent one by one.
    fn singly(&self) -> Singly {
        match self.request.canary {
            _ if self.tracker.session.settings.batch.verify_refresh => Singly::All,
            Some(canary) => Singly::First(canary.tokens.get()),
            None => Singly::First(0),
        }
    }
}

/// Reconciles the batches in flight of earlier processes one by one, before anything is sent. While one of
/// them is unresolved, nothing may be sent: it could be the same tokens.
pub(super) async fn reconcile_left_behind(
    session: &Session<'_>,
    uploader: &Uploader,
) -> Result<(), PipelineError> {
    let (ledger, stop) = (&session.ledger, &session.control.stop);
    for left in ledger.unsettled().await? {
        if stop.is_triggered() {
            break;
        }
        let reconciliation = uploader
            .reconcile_left_behind(&left, session.is_migration())
            .await?;
        if reconciliation == Reconciliation::Unknown {
            stop.trigger(StopReason::Unsettled(left.batch.id));
        }
    }
    Ok(())
}
