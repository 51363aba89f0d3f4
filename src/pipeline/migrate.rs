//! `migrate`: from the settings to a finished run.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{Instrument, info, info_span, warn};

use super::{PipelineError, books::Books, desk::Desk, stages::Stages};
use crate::{
    config::{LedgerAccess, Settings},
    descope::Client,
    ledger::{Counters, Ledger, LedgerError, Lock, Run},
    model::{Mode, RunId, RunStatus, Selection, StopReason, Tally},
    report::View,
    source::Source,
    upload::{Stop, Uploader},
};

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The run.
    pub run_id: RunId,
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
    /// What went wrong, where it was an error that ended the run.
    pub error: Option<PipelineError>,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Which rows.
    pub selection: Selection,
    /// After how many tokens to end; the next run goes on.
    pub limit: Option<u64>,
}

/// Runs the migration, or goes on with it. `stop` ends it early, and `view` is kept up to date meanwhile.
///
/// # Errors
/// If the run could not begin. Once it began, what went wrong is in [`Ended`].
pub async fn migrate(
    settings: &Settings,
    request: &Request,
    stop: Stop,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let access = LedgerAccess {
        migration: settings.migration.clone(),
        ledger: settings.ledger.clone(),
    };
    let patience = settings.stop.after_unreachable;
    let client = Client::new(&settings.api)?;
    let application_name = format!("tokenferry {}", settings.migration);
    let mut source = Source::open(&settings.source, &application_name, patience).await?;
    let connections = u32::try_from(settings.batch.concurrency)
        .unwrap_or(u32::MAX)
        .saturating_add(3);
    let ledger = Ledger::open(&access, connections, patience).await?;
    let lock = ledger.lock(&access).await?;
    let run = ledger.begin(Mode::Migrate, &request.selection, &holder()).await?;
    let span = info_span!("run", run_id = run.id);
    let expected = source.expected_rows().await;
    view.send_modify(|view| view.expected = expected);
    if run.resumed {
        let cursor = run.cursor.as_ref().map(tracing::field::display);
        info!(parent: &span, cursor, "going on with an unfinished run");
    } else {
        info!(parent: &span, "started");
    }
    let opened = Opened {
        access,
        client,
        source,
        ledger,
        lock,
        run,
    };
    Ok(opened.work(settings, request, stop, view).instrument(span).await)
}

/// Everything a run works with.
struct Opened {
    access: LedgerAccess,
    client: Client,
    source: Source,
    ledger: Ledger,
    lock: Lock,
    run: Run,
}

impl Opened {
    /// The run itself: whatever happens in it, it gets a status.
    async fn work(
        self,
        settings: &Settings,
        request: &Request,
        stop: Stop,
        view: &watch::Sender<View>,
    ) -> Ended {
        let Self {
            access,
            client,
            source,
            ledger,
            mut lock,
            run,
        } = self;
        let books = Arc::new(Books::new(run.cursor.clone(), run.tally));
        let listener = {
            let books = Arc::clone(&books);
            Box::new(move |settled| books.sent(settled))
        };
        let uploader = Uploader::new(
            client,
            ledger.clone(),
            run.clone(),
            stop.clone(),
            settings,
            listener,
        );
        let desk = Desk::new(ledger.clone(), run.clone(), books, &uploader);
        let stages = Stages {
            settings,
            request,
            stop: &stop,
            desk: &desk,
            access: &access,
        };
        let mut error = stages.run(source, uploader, &mut lock, view).await.err();

        let snapshot = desk.books.snapshot();
        let stopped = stop.reason();
        let finished = error.is_none() && stopped.is_none();
        if finished && !(snapshot.closed.closes() && snapshot.live == snapshot.closed) {
            let (selected, settled) = (snapshot.live.selected, snapshot.live.settled());
            error = Some(PipelineError::BooksOpen { selected, settled });
        }
        let status = match (&stopped, &error) {
            (_, Some(_)) | (Some(StopReason::Signal(_) | StopReason::Limit(_)), None) => {
                RunStatus::Interrupted
            }
            (Some(_), None) => RunStatus::Stopped,
            (None, None) if snapshot.closed.failed > 0 => RunStatus::CompletedWithFailures,
            (None, None) => RunStatus::Completed,
        };
        let why = stopped
            .as_ref()
            .map(describe)
            .or_else(|| error.as_ref().map(ToString::to_string));
        let recorded = async {
            desk.record(&snapshot).await?;
            Ok::<_, PipelineError>(ledger.finish(&run, status, why.as_deref()).await?)
        };
        if let Err(failure) = recorded.await {
            warn!(reason = %failure, "the end of the run could not be recorded: the next run finds it as it is and goes on");
            error = Some(cause(error, failure));
        }
        lock.release().await;
        ledger.close().await;
        Ended {
            run_id: run.id,
            resumed: run.resumed,
            status,
            stopped,
            tally: Tally {
                selected: snapshot.live.settled(),
                ..snapshot.live
            },
            counters: desk.counters(),
            batches: desk.batches(),
            error,
        }
    }
}

/// What ended the run, if its end could not be recorded either. What the ledger holds against a process that was replaced
/// is the other one's work, and no contradiction.
fn cause(first: Option<PipelineError>, last: PipelineError) -> PipelineError {
    match (first, &last) {
        (
            Some(PipelineError::Ledger(LedgerError::Contradiction(_))),
            PipelineError::Ledger(LedgerError::TakenOver),
        ) => last,
        (first, _) => first.unwrap_or(last),
    }
}

fn describe(reason: &StopReason) -> String {
    match reason {
        StopReason::Signal(signal) => format!("ended by signal {signal}"),
        StopReason::Credentials(text) => format!("the API refused the credentials: {text}"),
        StopReason::Endpoint(text) => format!("the API is not there, or not as expected: {text}"),
        StopReason::TooManyFailures(text) => text.clone(),
        StopReason::Unsettled(batch) => format!(
            "it is unknown whether batch {batch} of an earlier process was stored, and the API does not tell: nothing is sent \
             until it does"
        ),
        StopReason::Limit(count) => format!("{count} tokens were sent, as asked for"),
    }
}

/// Host and process, for whoever finds the migration locked.
fn holder() -> String {
    let host = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!(
        "process {} on {}",
        std::process::id(),
        if host.is_empty() { "an unnamed host" } else { &host }
    )
}
