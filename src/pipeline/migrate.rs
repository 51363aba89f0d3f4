//! `migrate`: runs a migration or a dry run.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{Instrument, info, warn};

use super::{
    Ended, PipelineError, Request,
    canary::CanaryGate,
    checkpointer::Checkpointer,
    estimate_stage::Estimator,
    outcome_sink::OutcomeSink,
    phase_cell::PhaseCell,
    run_tracker::RunTracker,
    selection,
    session::{self, Kind, Opened, RunLock, Session, holder},
    shortfall::Expected,
    sink::Sink,
    stages::Stages,
    unchanged_ranges,
};
use crate::{
    config::{RateLimit, Settings},
    domain::{Batches, DryRun, Subject, Tally},
    ledger::{Ledger, LedgerError, LockKind, Run},
    rate::{Pacer, RunControl},
    reader::Source,
    report::View,
    uploader::{SizeLimit, TokensFinished},
};

/// Returns the kind of session. A dry run takes no lock.
fn kind(settings: &Settings, request: &Request) -> Kind {
    Kind {
        mode: request.mode(),
        connections: settings.batch.ledger_statements(),
        lock: (request.dry_run == DryRun::Off).then_some(LockKind::Migration),
    }
}

/// Runs or resumes the migration, or performs a dry run, which records only findings. `control` stops or
/// slows it down, and `view` is updated meanwhile.
///
/// # Errors
/// Fails if the run could not start. Later errors are in [`Ended`].
pub async fn migrate(
    settings: &Settings,
    request: &Request,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let work = async |opened: Opened<'_>| Box::pin(begin(opened, request)).await;
    session::run(settings, kind(settings, request), control, view, work).await
}

async fn begin(mut opened: Opened<'_>, request: &Request) -> Result<Ended, PipelineError> {
    let (settings, ledger) = (opened.settings, &opened.ledger);
    let target = settings.api.target();
    ledger.expect_target(&target).await?;
    let run = match request.dry_run {
        DryRun::Off => {
            ledger.expect_no_pending_deletions().await?;
            announce_siblings(ledger, &target).await?;
            let about = selection::digest(settings, &opened.source, ledger);
            let run = ledger.begin(&request.selection, &about, &holder()).await?;
            ledger.record_target(&run, &target).await?;
            run
        }
        DryRun::On => {
            ledger
                .expect_no_pending_deletions_without_lock(&opened.access)
                .await?;
            announce_siblings(ledger, &target).await?;
            ledger.begin_dry_run(&request.selection, &holder()).await?
        }
    };
    let (whole, expected) = Expected::of(&mut opened.source, ledger, &run, &request.selection).await?;
    ledger.expect_rows(&run, expected).await?;
    let rate_limit = match (&opened.quotas, request.dry_run) {
        (Some(quotas), DryRun::On) => quotas.plain.allowed().await?,
        _ => settings.api.rate_limit,
    };
    let [user, tenant] = Subject::ALL.map(|subject| ledger.learned_sizes(subject));
    let size_limit = SizeLimit::new(
        &settings.batch,
        settings.api.timeout,
        [user.await?, tenant.await?],
    );
    let (session, source, lock) = opened.begin(run, &request.described(settings)).await;
    session.view.send_modify(|view| {
        view.tally = session.run.tally;
        view.expected = expected.filter(|_| request.limit.is_none());
    });
    let span = session.span.clone();
    let plan = Plan {
        request,
        rate_limit,
        size_limit,
        whole,
        expected,
    };
    let work = Box::pin(work(session, source, lock, plan));
    Ok(work.instrument(span).await)
}

/// The order of a run, and what is known before it starts.
struct Plan<'a> {
    request: &'a Request,
    /// The rate of the estimate.
    rate_limit: RateLimit,
    size_limit: SizeLimit,
    whole: Expected,
    expected: Option<u64>,
}

/// Does the work; every run gets a status, whatever happens.
async fn work(session: Session<'_>, source: Source, mut lock: RunLock, plan: Plan<'_>) -> Ended {
    let Plan {
        request,
        rate_limit,
        size_limit,
        whole,
        expected,
    } = plan;
    announce(&session, request, expected);
    let beside = source.another();
    let settings = session.settings;
    let checkpointer = Arc::new(Checkpointer::new(
        session.run.cursor.clone(),
        session.run.tally,
        session.control.meter.clone(),
    ));
    let phase = PhaseCell::default();
    let (sink, gate) = match request.dry_run {
        DryRun::Off => {
            let gate = request
                .canary
                .map(|canary| CanaryGate::new(canary, session.control.stop.clone(), phase.clone()));
            let listener = count_and_watch(Arc::clone(&checkpointer), gate.clone());
            (
                Sink::Upload(session.uploader(size_limit, Box::new(listener))),
                gate,
            )
        }
        DryRun::On => {
            let estimator = Estimator::new(Arc::clone(&checkpointer), &settings.api, rate_limit, size_limit);
            (Sink::Count(estimator), None)
        }
    };
    let tracker = RunTracker::new(&session, checkpointer, sink.clone(), phase);
    let counted = gate.clone();
    let stages = Stages {
        request,
        tracker: &tracker,
        record: &OutcomeSink::new(session.ledger.clone(), session.run.clone(), request.dry_run),
        gate,
    };
    let mut error = session
        .work(
            &mut lock,
            Box::pin(stages.run(source, sink)),
            Box::pin(tracker.write_checkpoints()),
            |view| {
                tracker.renew(view);
                view.canary = counted.as_ref().map(CanaryGate::count);
            },
        )
        .await;

    let snapshot = tracker.checkpointer.snapshot();
    if error.is_none() && session.control.stop.reason().is_none() {
        error = left_open(&snapshot.closed, &snapshot.live);
    }
    let mut ended = session
        .finish(
            error,
            &tracker.checkpoint(&snapshot),
            tracker.record_estimate(),
            || whole.shortfall(snapshot.live.selected),
        )
        .await;
    if request.sees_all() && ended.stopped.is_none() && ended.error.is_none() {
        remember_all(&session.ledger, &session.run).await;
        keep_clean_ranges(&tracker, beside).await;
    }
    let (committed, failed) = session.control.meter.batches();
    ended.summary.batches = Batches { committed, failed };
    ended.summary.estimate = tracker.estimate();
    session.close(lock).await;
    ended
}

/// Logs what matters before the run starts.
fn announce(session: &Session<'_>, request: &Request, expected: Option<u64>) {
    if let Some(left) = session.run.left {
        warn!(
            left,
            "an unfinished run cannot be resumed because the configuration selects or maps rows differently, or the ledger was restored: \
             that run stays as it is, and a new one starts from the first row"
        );
    }
    if session.run.resumed {
        let cursor = session.run.cursor.as_ref().map(tracing::field::display);
        info!(cursor, "resuming an unfinished run");
    } else {
        info!(mode = request.mode().as_str(), "started");
    }
    if request.dry_run == DryRun::Off {
        announce_verifying(session.settings, request, expected);
    }
}

/// Warns before anything is sent: a renamed migration sends everything again, and two migrations that run at
/// once do not see each other's batches in flight.
async fn announce_siblings(ledger: &Ledger, target: &str) -> Result<(), LedgerError> {
    let siblings = ledger.possible_former_names(target).await?;
    if !siblings.is_empty() {
        let names: Vec<String> = siblings.iter().map(ToString::to_string).collect();
        warn!(
            migrations = names.join(", "),
            "this migration has no tokens in the ledger, but others do: if one of them is this migration under its old name, everything is \
             sent again. Set `migration` to its old name to continue it"
        );
    }
    let at_work = ledger.siblings_at_work(target).await?;
    if !at_work.is_empty() {
        warn!(
            migrations = at_work.join(", "),
            "other migrations are currently sending to the same project: the older of two tokens for one destination may arrive last. Run them \
             one after the other, unless they share no destination"
        );
    }
    Ok(())
}

/// Announces verification at the providers: it may invalidate refresh tokens, and takes time.
fn announce_verifying(settings: &Settings, request: &Request, expected: Option<u64>) {
    if settings.batch.verify_refresh {
        let rows = expected.and_then(|rows| i64::try_from(rows).ok());
        let time = rows.map(|rows| Pacer::time_for(settings.api.rate_limit, rows).as_secs());
        info!(
            rows,
            hours_at_most = time.map(|seconds| seconds.div_ceil(3600)),
            "verifying every token at its provider, one request each"
        );
    } else if let Some(canary) = request.canary {
        info!(
            tokens = canary.tokens,
            may_fail = canary.failures,
            "sending a canary first, token by token"
        );
    } else {
        return;
    }
    warn!(
        "refresh tokens are verified at their providers. Some of them issue a new refresh token and invalidate the old one, \
         so the source's copy may stop working"
    );
}

/// Returns the listener that the uploader calls for each outcome.
fn count_and_watch(
    checkpointer: Arc<Checkpointer>,
    gate: Option<CanaryGate>,
) -> impl Fn(&TokensFinished) + Send + Sync {
    move |finished| {
        if let Some(gate) = &gate {
            gate.watch(finished);
        }
        checkpointer.sent(finished);
    }
}

/// Returns an error unless every row of a completed run has an outcome.
fn left_open(closed: &Tally, live: &Tally) -> Option<PipelineError> {
    (!closed.is_balanced() || live != closed).then(|| PipelineError::BooksOpen {
        selected: live.selected,
        settled: live.settled(),
    })
}

/// Stores the ranges that the next run need not read. Without them it reads every row.
async fn keep_clean_ranges(tracker: &RunTracker<'_>, mut source: Source) {
    let (Some(seal), Some((mut ranges, replaced))) =
        (tracker.range_seal.get(), tracker.checkpointer.take_clean())
    else {
        return;
    };
    let Session { ledger, run, .. } = tracker.session;
    let kept = async {
        // A row that changed during the run may have replaced the token of one that was read before.
        unchanged_ranges::drop_ranges_with(&mut ranges, &mut source, &replaced).await?;
        ledger.keep_clean_ranges(run, &seal.ranges(ranges)).await?;
        Ok::<(), PipelineError>(())
    };
    if let Err(failure) = kept.await {
        warn!(reason = %failure, "unchanged key ranges could not be recorded: the next run reads every row");
    }
}

/// Marks the ledger's memory as complete again. If that cannot be recorded, the ledger stays cautious.
async fn remember_all(ledger: &Ledger, run: &Run) {
    if let Err(failure) = ledger.remember_all(run).await {
        warn!(reason = %failure, "read-backs prove nothing until the next run over all rows completes");
    }
}
