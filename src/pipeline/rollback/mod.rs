//! `rollback`: deletes at Descope what one run put there, token by token, and nothing else.
//!
//! What makes it certain that nothing else goes is in three places, and can be read there:
//! [`eligible`](eligibility::eligible) says which rows may be asked for at all, [`StoredToken::recognise`] makes the only thing that can be
//! deleted, and [`Remover`] sends a deletion right after such a recognition, never without one.
//!
//! [`StoredToken::recognise`]: crate::descope::StoredToken::recognise

mod eligibility;
mod remove;

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};
use tracing::{Instrument, error_span, info, warn};

use super::{
    Ended, PipelineError,
    migrate::{cause, holder},
    progress::{quota, show},
    retry::patiently,
    source_rows::SourceRows,
    stages::settle_left_behind,
    verify::warn_of_refreshes,
};
use crate::{
    config::{LedgerAccess, Settings},
    descope::Client,
    domain::{DryRun, EventKind, Mode, Phase, Rollback, RollbackRequest, RunStatus, StopReason, Tally},
    ledger::{Checkpoint, Counters, Ledger, LedgerError, LockKind, RollbackRun},
    lookup::LookupClient,
    metrics::Meter,
    postgres::Patience,
    rate::RunControl,
    reader::Source,
    report::View,
    uploader::{OnUnresolved, Uploader},
};
use remove::Remover;

/// Deletes what a run put at Descope, or goes on with that; or says what would be deleted. The helm ends it early or holds it
/// back, and `view` is kept up to date meanwhile.
///
/// # Errors
/// If it could not begin. Once it began, what went wrong is in [`Ended`].
pub async fn rollback(
    settings: &Settings,
    rollback_request: RollbackRequest,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let stop = control.stop.clone();
    let work = async |patience: &Patience| open(settings, rollback_request, control, view, patience).await;
    patiently(settings, &stop, work).await
}

async fn open(
    settings: &Settings,
    rollback_request: RollbackRequest,
    control: RunControl,
    view: &watch::Sender<View>,
    patience: &Patience,
) -> Result<Ended, PipelineError> {
    let access = LedgerAccess {
        migration: settings.migration.clone(),
        ledger: settings.ledger.clone(),
    };
    let connections = u32::try_from(settings.batch.concurrency)
        .unwrap_or(u32::MAX)
        .saturating_add(2);
    let ledger = Ledger::open_existing(&access, connections, patience).await?;
    let last_success = ledger.last_success(Mode::Rollback).await?;
    let application_name = format!("tokenferry {} rollback", settings.migration);
    let source = Source::open(&settings.source, &application_name, patience).await?;
    let client = Client::new(&settings.api, control.meter.clone())?;
    // The migration's own lock: nothing is uploaded meanwhile.
    let mut lock = ledger.lock(&access, LockKind::Migration).await?;
    let begun = ledger
        .begin_rollback(rollback_request, &settings.api.target(), &holder())
        .await?;
    let event_log = ledger.event_log();
    let source = source.with_event_log(event_log.clone());
    let what = match rollback_request.dry_run {
        DryRun::Off => "taken back",
        DryRun::On => "looked at, whether it could be taken back",
    };
    let order = format!("run {} {what}, by {}", rollback_request.of_run, holder());
    event_log.record(EventKind::taking_up(begun.run.resumed), Some(order));
    ledger.write_events(&begun.run).await;
    let lookup_client =
        LookupClient::new(client.clone(), &settings.api, &control).with_event_log(event_log.clone());
    let span = error_span!("run", run_id = begun.run.id);
    let tally = ledger.rolled_back(&begun).await?.tally();
    view.send_modify(|view| {
        view.run_id = Some(begun.run.id);
        view.tally = tally;
        view.requests = begun.run.counters.requests;
        view.last_success = last_success;
        view.mode = Mode::Rollback;
        view.phase = Phase::ReadingBack;
        view.quota = Some(quota(settings.api.rate_limit));
    });
    info!(
        parent: &span, of_run = rollback_request.of_run, resumed = begun.run.resumed, dry_run = ?rollback_request.dry_run,
        "reading tokens back, to delete those that are as they were sent"
    );
    if rollback_request.include_expired {
        warn_of_refreshes(&span);
    }
    let job = Job {
        settings,
        ledger: &ledger,
        counted: Counted {
            before: begun.run.counters,
            lookup_client: Arc::new(lookup_client),
            meter: control.meter.clone(),
            begin: Instant::now(),
        },
        client,
        begun,
        control,
        view,
    };
    let holding = async { ledger.hold_lock(&mut lock).await };
    let ended = Box::pin(job.work(source, holding)).instrument(span).await;
    lock.release().await;
    ledger.close().await;
    Ok(ended)
}

/// What one rollback works with.
struct Job<'a> {
    settings: &'a Settings,
    ledger: &'a Ledger,
    client: Client,
    begun: RollbackRun,
    counted: Counted,
    control: RunControl,
    view: &'a watch::Sender<View>,
}

/// Who asks, and how much was asked.
struct Counted {
    /// By earlier processes.
    before: Counters,
    /// Reads tokens back, and deletes them; finds the users of login IDs.
    lookup_client: Arc<LookupClient>,
    meter: Meter,
    begin: Instant,
}

impl Counted {
    /// Requests and time, earlier processes included.
    fn counters(&self) -> Counters {
        Counters {
            requests: self.before.requests + self.meter.requests(),
            retries: self.before.retries,
            rate_limited: self.before.rate_limited + self.meter.rate_limited(),
            lookups: self.before.lookups + self.meter.lookups(),
            active_seconds: self.before.active_seconds + self.begin.elapsed().as_secs_f64(),
        }
    }
}

/// There is no cursor: what became of each token says where to go on.
fn checkpoint(tally: Tally, counters: Counters) -> Checkpoint<'static> {
    Checkpoint {
        cursor: None,
        up_to_cursor: tally,
        tally,
        counters,
    }
}

impl Job<'_> {
    /// The run itself: whatever happens in it, it gets a status.
    async fn work(self, source: Source, holding: impl Future<Output = LedgerError>) -> Ended {
        let mut removal = std::pin::pin!(self.remove(source));
        let showing = show(&self.control, self.ledger.event_log(), self.view, |view| {
            view.requests = self.counted.counters().requests;
            view.held_for = self.counted.lookup_client.held_for();
        });
        let mut error = tokio::select! {
            removed = &mut removal => removed.err(),
            lost = holding => Some(lost.into()),
            never = showing => match never {},
        };
        let run = &self.begun.run;
        let stopped = self.control.stop.reason();
        let counters = self.counted.counters();
        let found = self.ledger.rolled_back(&self.begun).await;
        let now = *found.as_ref().unwrap_or(&Rollback::default());
        let status = match (&stopped, &error) {
            (_, Some(_)) | (Some(StopReason::Signal(_) | StopReason::Person), None) => RunStatus::Interrupted,
            (Some(_), None) => RunStatus::Stopped,
            (None, None) if now.refused > 0 => RunStatus::CompletedWithFailures,
            (None, None) => RunStatus::Completed,
        };
        let why = stopped
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| error.as_ref().map(ToString::to_string));
        let checkpoint = checkpoint(now.tally(), counters);
        let recorded = match found {
            Ok(_) => self.ledger.finish(run, &checkpoint, status, why.as_deref()).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = recorded {
            warn!(reason = %failure, "the end of the run could not be recorded: the next one finds it as it is and goes on");
            error = Some(cause(error, failure.into()));
        } else {
            self.ledger.close_events(run, status, why.as_deref()).await;
        }
        Ended {
            run_id: run.id,
            mode: Mode::Rollback,
            resumed: run.resumed,
            status,
            stopped,
            tally: now.tally(),
            counters,
            batches: (0, 0),
            estimate: None,
            verification: None,
            rollback: Some(now),
            error,
        }
    }

    async fn remove(&self, source: Source) -> Result<(), PipelineError> {
        let Self {
            settings,
            ledger,
            begun,
            counted,
            control,
            view,
            ..
        } = self;
        let stop = &control.stop;
        // What is in flight may be the run's, too: it is found out first.
        let uploader = Uploader::new(
            self.client.clone(),
            counted.lookup_client.plain(),
            Ledger::clone(ledger),
            begun.run.clone(),
            settings,
            control.clone(),
            Box::new(|_| {}),
        );
        settle_left_behind(ledger, &uploader, stop, OnUnresolved::LeaveInFlight).await?;
        if stop.is_triggered() {
            return Ok(());
        }
        ledger.refuse_former(begun).await?;
        let people = Arc::clone(&counted.lookup_client);
        let source_rows = SourceRows::new(settings, source, ledger, people, stop.clone()).await?;
        let remover = Remover::new(settings, ledger, begun, counted, &self.control, view);
        Box::pin(remover.run(source_rows)).await
    }
}
