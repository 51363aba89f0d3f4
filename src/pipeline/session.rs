//! A run's session: opens what the run needs, publishes its progress and records its end.

use std::{future::Future, pin::pin, sync::Arc};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time::Instant};
use tracing::{Span, error_span, warn};

use super::{
    Ended, PipelineError,
    progress::{quota, show},
    retry::patiently,
};
use crate::{
    config::{Field, LedgerAccess, Settings},
    descope::Client,
    domain::{Counters, EventKind, Mode, RunStatus, StopReason, Summary, Tally},
    ledger::{Checkpoint, Ledger, LedgerError, Lock, LockKind, Run},
    lookup::LookupClient,
    postgres::Patience,
    rate::{RunControl, SharedQuotas},
    reader::Source,
    report::{Quota, View},
    secret::BufferPool,
    uploader::{Listener, SizeLimit, UploadLimits, Uploader},
};

/// The kind of run that a session is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) mode: Mode,
    /// The connections to the ledger.
    pub(super) connections: u32,
    /// The lock that excludes others. A dry run takes none.
    pub(super) lock: Option<LockKind>,
}

/// The open connections before a run exists.
pub(super) struct Opened<'a> {
    pub(super) settings: &'a Settings,
    pub(super) control: RunControl,
    pub(super) view: &'a watch::Sender<View>,
    pub(super) access: LedgerAccess,
    pub(super) source: Source,
    pub(super) ledger: Ledger,
    /// The quotas that are shared with other processes.
    pub(super) quotas: Option<SharedQuotas>,
    client: Client,
    buffers: Arc<BufferPool>,
    lock: RunLock,
    mode: Mode,
    last_success: Option<DateTime<Utc>>,
}

/// The resources of a run.
pub(super) struct Session<'a> {
    pub(super) settings: &'a Settings,
    pub(super) control: RunControl,
    pub(super) view: &'a watch::Sender<View>,
    pub(super) ledger: Ledger,
    client: Client,
    /// The memory of pages and request bodies, wiped and used again within the run.
    pub(super) buffers: Arc<BufferPool>,
    /// Sends all API requests except uploads.
    pub(super) lookup_client: Arc<LookupClient>,
    pub(super) run: Run,
    /// The span of all log lines of the run.
    pub(super) span: Span,
    mode: Mode,
    begin: Instant,
}

/// The lock of a run, if it has one.
pub(super) struct RunLock(Option<Lock>);

/// Opens a session and works in it. Waits for databases as configured, but only briefly once the run is
/// stopped.
pub(super) async fn run<'a>(
    settings: &'a Settings,
    kind: Kind,
    control: RunControl,
    view: &'a watch::Sender<View>,
    work: impl AsyncFnOnce(Opened<'a>) -> Result<Ended, PipelineError>,
) -> Result<Ended, PipelineError> {
    let stop = control.stop.clone();
    let open_and_work = async |patience: &Patience| {
        let opened = Opened::open(settings, kind, control, view, patience).await?;
        Box::pin(work(opened)).await
    };
    patiently(settings, &stop, open_and_work).await
}

impl<'a> Opened<'a> {
    async fn open(
        settings: &'a Settings,
        kind: Kind,
        control: RunControl,
        view: &'a watch::Sender<View>,
        patience: &Patience,
    ) -> Result<Self, PipelineError> {
        let access = LedgerAccess {
            migration: settings.migration.clone(),
            ledger: settings.ledger.clone(),
        };
        let (command, makes_ledger) = match kind.mode {
            Mode::Migrate | Mode::DryRun => ("", true),
            Mode::Verify => (" verify", false),
            Mode::Rollback => (" rollback", false),
        };
        let application_name = format!("tokenferry {}{command}", settings.migration);
        let source = Source::open(&settings.source, &application_name, patience).await?;
        // Only runs of `migrate` create a missing ledger.
        let ledger = if makes_ledger {
            Ledger::open(&access, kind.connections, patience).await?
        } else {
            Ledger::open_existing(&access, kind.connections, patience).await?
        };
        let ledger = ledger.bound_to(&settings.api.target());
        let used_by = format!("{} (migration \"{}\")", holder(), settings.migration);
        let quotas = SharedQuotas::new(&settings.api, &ledger, &used_by);
        // A dry run may send nothing; if it does, it claims what it uses.
        if let Some(quotas) = quotas.as_ref().filter(|_| kind.mode != Mode::DryRun) {
            control.stop.run_until_stopped(quotas.claim()).await.transpose()?;
        }
        let last_success = ledger.last_success(kind.mode).await?;
        let buffers = Arc::default();
        let client = Client::new(&settings.api, control.meter.clone())?.with_buffers(&buffers);
        let lock = match kind.lock {
            Some(lock) => Some(ledger.lock(&access, lock).await?),
            None => None,
        };
        Ok(Self {
            source: source
                .with_event_log(ledger.event_log().clone())
                .with_buffers(&buffers),
            settings,
            control,
            view,
            access,
            ledger,
            quotas,
            client,
            buffers,
            lock: RunLock(lock),
            mode: kind.mode,
            last_success,
        })
    }

    /// Starts the session of a run. `order` describes the request for the event log.
    pub(super) async fn begin(self, run: Run, order: &str) -> (Session<'a>, Source, RunLock) {
        let event_log = self.ledger.event_log();
        let order = format!("{order}, by {}", holder());
        event_log.record(EventKind::taking_up(run.resumed), Some(order));
        self.ledger.write_events(&run).await;
        let lookup_client = LookupClient::new(
            self.client.clone(),
            &self.settings.api,
            &self.control,
            event_log,
            self.quotas.as_ref(),
        );
        self.view.send_modify(|view| {
            view.run_id = Some(run.id);
            view.last_success = self.last_success;
            view.mode = self.mode;
            view.requests = run.counters.requests;
            view.lookups = run.counters.lookups;
            view.lookup_quota = lookup_quota(self.settings);
            view.quota = (self.mode != Mode::DryRun).then(|| quota(self.settings.api.rate_limit));
        });
        let session = Session {
            settings: self.settings,
            control: self.control,
            view: self.view,
            client: self.client,
            buffers: self.buffers,
            lookup_client: Arc::new(lookup_client),
            span: error_span!("run", run_id = run.id),
            ledger: self.ledger,
            run,
            mode: self.mode,
            begin: Instant::now(),
        };
        (session, self.source, self.lock)
    }
}

impl Session<'_> {
    /// Works until the work is done, the lock is lost or `failure` resolves, and publishes progress. In the
    /// latter cases the work is stopped and awaited, so that batches in flight get an outcome.
    pub(super) async fn work(
        &self,
        lock: &mut RunLock,
        work: impl Future<Output = Result<(), PipelineError>>,
        failure: impl Future<Output = PipelineError>,
        renew: impl Fn(&mut View),
    ) -> Option<PipelineError> {
        let guarded = async {
            let mut work = pin!(work);
            let error = tokio::select! {
                ended = &mut work => return ended.err(),
                error = failure => error,
                lost = lock.lost(&self.ledger) => lost.into(),
                failed = self.lookup_client.quota_failure() => failed.into(),
            };
            self.control.stop.cancel();
            // Errors caused by the unreachable ledger add nothing.
            let _ = work.await;
            Some(error)
        };
        let plain = self.lookup_client.plain();
        let allowed = || plain.allowed();
        let showing = show(
            &self.control,
            self.ledger.event_log(),
            self.view,
            allowed,
            |view| {
                let counters = self.counters();
                (view.requests, view.lookups) = (counters.requests, counters.lookups);
                view.held_for = self.lookup_client.held_for();
                renew(view);
            },
        );
        tokio::select! {
            error = guarded => error,
            never = showing => match never {},
        }
    }

    /// Returns true if the run uploads tokens.
    pub(super) fn is_migration(&self) -> bool {
        self.mode == Mode::Migrate
    }

    /// Builds the uploader of this run, which also reconciles batches in flight. `listener` is called for
    /// each outcome.
    pub(super) fn uploader(&self, size_limit: SizeLimit, listener: Listener) -> Uploader {
        Uploader::new(
            self.client.clone(),
            UploadLimits {
                pacer: self.lookup_client.plain(),
                size: size_limit,
            },
            self.ledger.clone(),
            self.run.clone(),
            self.settings,
            self.control.clone(),
            listener,
        )
    }

    /// Returns requests and time, including earlier processes.
    pub(super) fn counters(&self) -> Counters {
        let (before, meter) = (&self.run.counters, &self.control.meter);
        Counters {
            requests: before.requests + meter.requests(),
            retries: before.retries + meter.retries(),
            rate_limited: before.rate_limited + meter.rate_limited(),
            lookups: before.lookups + meter.lookups(),
            active_seconds: before.active_seconds + self.begin.elapsed().as_secs_f64(),
        }
    }

    /// Records the end of the run. `recorded` writes what must be in the ledger before that, and `remark` is
    /// a note for a run that ended by itself.
    pub(super) async fn finish(
        &self,
        error: Option<PipelineError>,
        checkpoint: &Checkpoint<'_>,
        recorded: impl Future<Output = Result<(), LedgerError>>,
        remark: impl FnOnce() -> Option<String>,
    ) -> Ended {
        let (ledger, run) = (&self.ledger, &self.run);
        let stopped = self.control.stop.reason();
        let status = status(stopped.as_ref(), error.as_ref(), self.mode, &checkpoint.tally);
        let why = stopped
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| error.as_ref().map(ToString::to_string))
            .or_else(remark);
        let finished = async {
            recorded.await?;
            ledger.finish(run, checkpoint, status, why.as_deref()).await
        };
        let error = match finished.await {
            Ok(()) => {
                ledger.close_events(run, status, why.as_deref()).await;
                error
            }
            Err(failure) => {
                warn!(reason = %failure, "the end of the run could not be recorded; the next run finds it unfinished");
                Some(cause(error, failure.into()))
            }
        };
        let summary = Summary {
            run_id: run.id,
            migration: self.settings.migration.clone(),
            mode: self.mode,
            status: status.as_str().to_owned(),
            resumed: run.resumed,
            tokens: Tally {
                selected: checkpoint.tally.settled(),
                ..checkpoint.tally
            },
            counters: checkpoint.counters,
            stop_reason: stopped.as_ref().map(ToString::to_string),
            ..Summary::default()
        };
        Ended {
            summary,
            status,
            stopped,
            error,
        }
    }

    /// Releases the lock and closes the connections.
    pub(super) async fn close(self, lock: RunLock) {
        if let Some(lock) = lock.0 {
            lock.release().await;
        }
        self.ledger.close().await;
    }
}

/// Returns the quota of the lookups that rows need, if they need any.
fn lookup_quota(settings: &Settings) -> Option<Quota> {
    let lookup = settings.api.lookup;
    if settings.source.columns.contains_key(&Field::LoginId) {
        return Some(quota(lookup.search));
    }
    settings.source.provider.as_ref().map(|_| quota(lookup.users))
}

impl RunLock {
    /// Waits until the lock is lost; without a lock, forever.
    async fn lost(&mut self, ledger: &Ledger) -> LedgerError {
        match &mut self.0 {
            Some(lock) => ledger.wait_for_lock_loss(lock).await,
            None => std::future::pending().await,
        }
    }
}

/// Returns the final status.
fn status(
    stopped: Option<&StopReason>,
    error: Option<&PipelineError>,
    mode: Mode,
    tally: &Tally,
) -> RunStatus {
    match (stopped, error) {
        (_, Some(_)) | (Some(StopReason::Signal(_) | StopReason::Person), None) => RunStatus::Interrupted,
        // After a limit, the next run resumes; a dry run with a limit is complete.
        (Some(StopReason::Limit(_)), None) if mode == Mode::Migrate => RunStatus::Interrupted,
        (None | Some(StopReason::Limit(_)), None) if tally.failed > 0 => RunStatus::CompletedWithFailures,
        (None | Some(StopReason::Limit(_)), None) => RunStatus::Completed,
        (Some(_), None) => RunStatus::Stopped,
    }
}

/// Returns the error that ended the run, given that its end could not be recorded either. Contradictions in
/// the ledger of a replaced process come from the other process's work.
fn cause(first: Option<PipelineError>, last: PipelineError) -> PipelineError {
    match (first, &last) {
        (
            Some(PipelineError::Ledger(LedgerError::Contradiction(_))),
            PipelineError::Ledger(LedgerError::TakenOver),
        ) => last,
        (first, _) => first.unwrap_or(last),
    }
}

/// Returns host and process, for the message about a locked migration.
pub(super) fn holder() -> String {
    let host = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!(
        "process {} on {}",
        std::process::id(),
        if host.is_empty() { "an unnamed host" } else { &host }
    )
}
