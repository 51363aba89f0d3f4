//! `migrate`: from the settings to a finished run, real or dry.

use std::{future::pending, sync::Arc};

use tokio::sync::watch;
use tracing::{Instrument, error_span, info, warn};

use super::{
    Canary, PipelineError, canary::CanaryGate, checkpointer::Checkpointer, estimate_stage::Estimator,
    outcome_sink::OutcomeSink, phase_cell::PhaseCell, progress::quota, retry::patiently,
    run_tracker::RunTracker, shortfall::Expected, sink::Sink, stages::Stages,
};
use crate::{
    config::{LedgerAccess, Settings},
    descope::Client,
    domain::{
        DryRun, Estimate, EventKind, Mode, OlderVersions, Rollback, RunId, RunStatus, Selection, StopReason,
        Tally, Verification,
    },
    ledger::{Counters, Ledger, LedgerError, Lock, LockKind, Run},
    lookup::LookupClient,
    postgres::Patience,
    rate::{Pacer, RunControl},
    reader::{Perspective, Source},
    report::View,
    secret::Fingerprint,
    uploader::{TokensFinished, Uploader},
};

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The run.
    pub run_id: RunId,
    /// What it did.
    pub mode: Mode,
    /// Whether an earlier process began it.
    pub resumed: bool,
    /// Where it stands now.
    pub status: RunStatus,
    /// Why it ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The books.
    pub tally: Tally,
    /// Requests and time, earlier processes included.
    pub counters: Counters,
    /// Batches committed and failed by this process.
    pub batches: (i64, i64),
    /// What a dry run expects of the real one.
    pub estimate: Option<Estimate>,
    /// What reading tokens back found.
    pub verification: Option<Verification>,
    /// What became of the tokens that were to be deleted.
    pub rollback: Option<Rollback>,
    /// What went wrong, where it was an error that ended the run.
    pub error: Option<PipelineError>,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Whether anything is sent.
    pub dry_run: DryRun,
    /// Which rows.
    pub selection: Selection,
    /// After how many tokens to end; the next run goes on.
    pub limit: Option<u64>,
    /// What is asked of the first tokens before the bulk opens.
    pub canary: Option<Canary>,
    /// Whether older versions of rows go over newer ones that were sent.
    pub older: OlderVersions,
    /// Whether a dry run asks the API about what the tokens name.
    pub online: Option<Preflight>,
}

impl Request {
    /// Whether the run looks at every row and sends what is to be sent.
    fn sees_all(&self) -> bool {
        self.dry_run == DryRun::Off && self.selection == Selection::All
    }

    fn mode(&self) -> Mode {
        match self.dry_run {
            DryRun::Off => Mode::Migrate,
            DryRun::On => Mode::DryRun,
        }
    }
}

/// What a dry run asks the API about: every app and tenant, and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preflight {
    /// So many users, evenly over the rows, in place of all.
    pub sample: Option<u64>,
}

/// Runs the migration, or goes on with it; or says what would happen, and changes nothing but the ledger's findings. The helm
/// ends it early or holds it back, and `view` is kept up to date meanwhile.
///
/// # Errors
/// If the run could not begin. Once it began, what went wrong is in [`Ended`].
pub async fn migrate(
    settings: &Settings,
    request: &Request,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let stop = control.stop.clone();
    let work = async |patience: &Patience| open(settings, request, control, view, patience).await;
    patiently(settings, &stop, work).await
}

async fn open(
    settings: &Settings,
    request: &Request,
    control: RunControl,
    view: &watch::Sender<View>,
    patience: &Patience,
) -> Result<Ended, PipelineError> {
    let access = LedgerAccess {
        migration: settings.migration.clone(),
        ledger: settings.ledger.clone(),
    };
    let application_name = format!("tokenferry {}", settings.migration);
    let mut source = Source::open(&settings.source, &application_name, patience).await?;
    let connections = settings.batch.ledger_statements();
    let target = settings.api.target();
    let ledger = Ledger::open(&access, connections, patience)
        .await?
        .bound_to(&target);
    let last_success = ledger.last_success(request.mode()).await?;
    let client = Client::new(&settings.api, control.meter.clone())?;
    let event_log = ledger.event_log();
    let lookup_client =
        LookupClient::new(client.clone(), &settings.api, &control).with_event_log(event_log.clone());
    let lookup_client = Arc::new(lookup_client);
    source = source.with_event_log(event_log.clone());
    let (run, errand) = match request.dry_run {
        DryRun::Off => {
            let lock = ledger.lock(&access, LockKind::Migration).await?;
            ledger.expect_target(&target).await?;
            ledger.expect_no_pending_deletions().await?;
            announce_siblings(&ledger, &target).await?;
            let about = selection(settings, &source, &ledger);
            let run = ledger.begin(&request.selection, &about, &holder()).await?;
            ledger.record_target(&run, &target).await?;
            let sending = Sending { client, lock };
            (run, Errand::Migrate(Box::new(sending)))
        }
        DryRun::On => {
            ledger.expect_target(&target).await?;
            ledger.expect_no_pending_deletions_without_lock(&access).await?;
            announce_siblings(&ledger, &target).await?;
            let run = ledger.begin_dry_run(&request.selection, &holder()).await?;
            (run, Errand::DryRun)
        }
    };
    let order = format!("{}, by {}", request.described(settings), holder());
    event_log.record(EventKind::taking_up(run.resumed), Some(order));
    let span = error_span!("run", run_id = run.id);
    let (whole, expected) = Expected::of(&mut source, &ledger, &run, &request.selection).await?;
    ledger.expect_rows(&run, expected).await?;
    view.send_modify(|view| {
        view.run_id = Some(run.id);
        view.last_success = last_success;
        view.mode = request.mode();
        view.tally = run.tally;
        view.expected = expected.filter(|_| request.limit.is_none());
        view.quota = (request.dry_run == DryRun::Off).then(|| quota(settings.api.rate_limit));
    });
    if let Some(left) = run.left {
        warn!(
            parent: &span, left,
            "the configuration selects other rows than an unfinished run did, or makes something else of them, or the ledger was restored since: \
             that run stays as it stands, and a new one begins with the first row"
        );
    }
    if run.resumed {
        let cursor = run.cursor.as_ref().map(tracing::field::display);
        info!(parent: &span, cursor, "going on with an unfinished run");
    } else {
        info!(parent: &span, mode = request.mode().as_str(), "started");
    }
    if request.dry_run == DryRun::Off {
        announce_verifying(settings, request, expected);
    }
    let opened = Opened {
        source,
        ledger,
        run,
        errand,
        lookup_client,
        whole,
    };
    Ok(opened
        .work(settings, request, control, view)
        .instrument(span)
        .await)
}

/// What should be heard of before anything is sent: a migration under another name is another one, and sends everything again; and
/// two that send at once do not see what the other one has under way.
async fn announce_siblings(ledger: &Ledger, target: &str) -> Result<(), LedgerError> {
    let siblings = ledger.possible_former_names(target).await?;
    if !siblings.is_empty() {
        let names: Vec<String> = siblings.iter().map(ToString::to_string).collect();
        warn!(
            migrations = names.join(", "),
            "this migration has no tokens in the ledger, and others have: if one of them is this one under a former name, everything is \
             sent again. Give `migration` its former name to go on with it"
        );
    }
    let at_work = ledger.siblings_at_work(target).await?;
    if !at_work.is_empty() {
        warn!(
            migrations = at_work.join(", "),
            "other migrations are sending to the same project now: of two tokens for one destination, the older may arrive last. Run them \
             one after the other, unless they have no destination in common"
        );
    }
    Ok(())
}

/// A digest of what a run is about.
fn selection(settings: &Settings, source: &Source, ledger: &Ledger) -> Fingerprint {
    let database = source.database();
    let mut parts = settings.selection();
    if let Some(database) = &database {
        parts.extend([&b"database"[..], database.as_bytes()]);
    }
    let Perspective { role, search_path } = source.perspective();
    parts.extend([&b"role"[..], role.as_bytes()]);
    parts.extend([&b"search_path"[..], search_path.as_bytes()]);
    ledger.key().selection_digest(&parts)
}

/// Verifying does something to tokens that nothing else here does, and takes its time: both are said before it begins.
fn announce_verifying(settings: &Settings, request: &Request, expected: Option<u64>) {
    if settings.batch.verify_refresh {
        let rows = expected.and_then(|rows| i64::try_from(rows).ok());
        let time = rows.map(|rows| Pacer::time_for(settings.api.rate_limit, rows).as_secs());
        info!(
            rows,
            hours_at_most = time.map(|seconds| seconds.div_ceil(3600)),
            "every token goes by itself, which takes a request each"
        );
    } else if let Some(canary) = request.canary {
        info!(
            tokens = canary.tokens,
            may_fail = canary.failures,
            "a canary goes first, token by token"
        );
    } else {
        return;
    }
    warn!(
        "refresh tokens are verified at their providers. Some of them answer with a new refresh token and end the old one: \
         the source's copy may stop working then"
    );
}

/// Everything a run works with.
struct Opened {
    source: Source,
    ledger: Ledger,
    run: Run,
    errand: Errand,
    lookup_client: Arc<LookupClient>,
    /// How many rows there should be.
    whole: Expected,
}

/// What only one of the modes works with: a dry run neither sends nor keeps others out.
enum Errand {
    Migrate(Box<Sending>),
    DryRun,
}

struct Sending {
    client: Client,
    lock: Lock,
}

impl Opened {
    /// The run itself: whatever happens in it, it gets a status.
    async fn work(
        self,
        settings: &Settings,
        request: &Request,
        control: RunControl,
        view: &watch::Sender<View>,
    ) -> Ended {
        let Self {
            source,
            ledger,
            run,
            errand,
            lookup_client,
            whole,
        } = self;
        let checkpointer = Arc::new(Checkpointer::new(
            run.cursor.clone(),
            run.tally,
            control.meter.clone(),
        ));
        let at = PhaseCell::default();
        let (delivery, gate, mut locked) = match errand {
            Errand::Migrate(sending) => {
                let Sending { client, lock } = *sending;
                let checkpointer = Arc::clone(&checkpointer);
                let gate = request
                    .canary
                    .map(|canary| CanaryGate::new(canary, control.stop.clone(), at.clone()));
                let listener = Box::new(count_and_watch(checkpointer, gate.clone()));
                let (ledger, run) = (ledger.clone(), run.clone());
                let pacer = lookup_client.plain();
                let uploader = Uploader::new(client, pacer, ledger, run, settings, control.clone(), listener);
                (Sink::Upload(uploader), gate, Some(lock))
            }
            Errand::DryRun => {
                let counter = Estimator::new(Arc::clone(&checkpointer), &settings.api);
                (Sink::Count(counter), None, None)
            }
        };
        let tracker = RunTracker::new(
            ledger.clone(),
            run.clone(),
            checkpointer,
            delivery.clone(),
            lookup_client,
            at,
            control.clone(),
        );
        let stages = Stages {
            settings,
            request,
            stop: &control.stop,
            tracker: &tracker,
            record: &OutcomeSink::new(ledger.clone(), run.clone(), request.dry_run),
            gate,
        };
        let holding = async {
            match &mut locked {
                Some(lock) => ledger.hold_lock(lock).await,
                None => pending().await,
            }
        };
        let mut error = Box::pin(stages.run(source, delivery, holding, view)).await.err();

        let snapshot = tracker.checkpointer.snapshot();
        let stopped = control.stop.reason();
        if error.is_none() && stopped.is_none() {
            error = left_open(&snapshot.closed, &snapshot.live);
        }
        let status = status(stopped.as_ref(), error.as_ref(), request.dry_run, &snapshot.live);
        let early = stopped.as_ref().map(ToString::to_string);
        let why = early
            .or_else(|| error.as_ref().map(ToString::to_string))
            .or_else(|| whole.shortfall(snapshot.live.selected));
        if let Err(failure) = tracker.close(&snapshot, status, why.as_deref()).await {
            warn!(reason = %failure, "the end of the run could not be recorded: the next run finds it as it is and goes on");
            error = Some(cause(error, failure));
        } else {
            ledger.close_events(&run, status, why.as_deref()).await;
            if request.sees_all() && stopped.is_none() && error.is_none() {
                remember_all(&ledger, &run).await;
            }
        }
        if let Some(lock) = locked {
            lock.release().await;
        }
        ledger.close().await;
        Ended {
            run_id: run.id,
            mode: request.mode(),
            resumed: run.resumed,
            status,
            stopped,
            tally: Tally {
                selected: snapshot.live.settled(),
                ..snapshot.live
            },
            counters: tracker.counters(),
            batches: tracker.batches(),
            estimate: tracker.estimate(),
            verification: None,
            rollback: None,
            error,
        }
    }
}

/// What the uploader calls for each outcome.
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

/// A run that is through its rows has an end for each of them.
fn left_open(closed: &Tally, live: &Tally) -> Option<PipelineError> {
    (!closed.is_balanced() || live != closed).then(|| PipelineError::BooksOpen {
        selected: live.selected,
        settled: live.settled(),
    })
}

/// What the ledger had forgotten is known again. Where that cannot be recorded, it stays as careful as it is.
async fn remember_all(ledger: &Ledger, run: &Run) {
    if let Err(failure) = ledger.remember_all(run).await {
        warn!(reason = %failure, "read-backs prove nothing until the next run over all rows has completed");
    }
}

/// Where the run stands at its end.
fn status(
    stopped: Option<&StopReason>,
    error: Option<&PipelineError>,
    dry_run: DryRun,
    checkpointer: &Tally,
) -> RunStatus {
    match (stopped, error) {
        (_, Some(_)) | (Some(StopReason::Signal(_) | StopReason::Person), None) => RunStatus::Interrupted,
        // The next run goes on behind a canary; a dry run is done with what it was asked for.
        (Some(StopReason::Limit(_)), None) if dry_run == DryRun::Off => RunStatus::Interrupted,
        (None | Some(StopReason::Limit(_)), None) if checkpointer.failed > 0 => {
            RunStatus::CompletedWithFailures
        }
        (None | Some(StopReason::Limit(_)), None) => RunStatus::Completed,
        (Some(_), None) => RunStatus::Stopped,
    }
}

/// What ended the run, if its end could not be recorded either. What the ledger holds against a process that was replaced
/// is the other one's work, and no contradiction.
pub(super) fn cause(first: Option<PipelineError>, last: PipelineError) -> PipelineError {
    match (first, &last) {
        (
            Some(PipelineError::Ledger(LedgerError::Contradiction(_))),
            PipelineError::Ledger(LedgerError::TakenOver),
        ) => last,
        (first, _) => first.unwrap_or(last),
    }
}

/// Host and process, for whoever finds the migration locked.
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
