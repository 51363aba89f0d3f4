//! `migrate`: from the settings to a finished run.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chrono::Utc;
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tracing::{Instrument, info, info_span, warn};

use super::{
    PipelineError,
    books::{Books, Snapshot},
    prepare::Prepare,
    upload_stage,
};
use crate::{
    chunk::{Chunker, Limits},
    config::{LedgerAccess, Settings},
    descope::{BODY_OVERHEAD, Client},
    ledger::{Counters, Ledger, Lock, Run},
    model::{Mode, RunId, RunStatus, StopReason, Tally},
    postgres::FailureKind,
    report::View,
    screen::Screen,
    source::{Page, Source, SourceError},
    upload::{Pacer, Stop, Traffic, Uploader},
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

/// How often the view is renewed, and how often at most the cursor is written.
const TICK: Duration = Duration::from_millis(200);

/// Runs the migration, or goes on with it. `stop` ends it early, and `view` is kept up to date meanwhile.
///
/// # Errors
/// If the run could not begin. Once it began, what went wrong is in [`Ended`].
pub async fn migrate(
    settings: &Settings,
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
    let mut lock = ledger.lock(&access).await?;
    let run = ledger.begin(Mode::Migrate, &holder()).await?;
    let span = info_span!("run", run_id = run.id);
    let expected = source.expected_rows().await;
    view.send_modify(|view| view.expected = expected);
    if run.resumed {
        info!(parent: &span, cursor = run.cursor.as_ref().map(tracing::field::display), "going on with an unfinished run");
    } else {
        info!(parent: &span, "started");
    }
    let guard = Guard {
        lock: &mut lock,
        access: &access,
    };
    let ended = work(settings, stop, view, client, source, ledger.clone(), run, guard)
        .instrument(span)
        .await;
    lock.release().await;
    ledger.close().await;
    Ok(ended)
}

/// The migration's lock, and what it takes to take it again.
struct Guard<'a> {
    lock: &'a mut Lock,
    access: &'a LedgerAccess,
}

/// The run itself: whatever happens in it, it gets a status.
async fn work(
    settings: &Settings,
    stop: Stop,
    view: &watch::Sender<View>,
    client: Client,
    source: Source,
    ledger: Ledger,
    run: Run,
    guard: Guard<'_>,
) -> Ended {
    let begin = Instant::now();
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
    let desk = Desk {
        ledger: ledger.clone(),
        run: run.clone(),
        books,
        traffic: Arc::clone(uploader.traffic()),
        pacer: Arc::clone(uploader.pacer()),
        begin,
    };
    let mut error = None;
    let finished = match stages(settings, &stop, view, &desk, source, uploader, guard).await {
        Ok(()) => !stop.is_turned(),
        Err(failure) => {
            stop.turn_silently();
            error = Some(failure);
            false
        }
    };
    let snapshot = desk.books.snapshot();
    let stopped = stop.reason();
    if finished && !(snapshot.closed.closes() && snapshot.live == snapshot.closed) {
        error = Some(PipelineError::BooksOpen {
            selected: snapshot.live.selected,
            settled: snapshot.live.settled(),
        });
    }
    let status = match (&stopped, &error) {
        (_, Some(_)) | (Some(StopReason::Signal(_)), None) => RunStatus::Interrupted,
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
        ledger
            .finish(&run, status, why.as_deref())
            .await
            .map_err(PipelineError::from)
    };
    if let Err(failure) = recorded.await {
        warn!(reason = %failure, "the end of the run could not be recorded: the next run finds it as it is and goes on");
        error.get_or_insert(failure);
    }
    Ended {
        run_id: run.id,
        resumed: run.resumed,
        status,
        stopped,
        tally: snapshot.closed,
        counters: desk.counters(),
        batches: desk.traffic.batches(),
        error,
    }
}

/// Settles what an earlier process left, then lets the stages work until the source is empty or the switch is turned.
async fn stages(
    settings: &Settings,
    stop: &Stop,
    view: &watch::Sender<View>,
    desk: &Desk,
    mut source: Source,
    uploader: Uploader,
    guard: Guard<'_>,
) -> Result<(), PipelineError> {
    settle_left_behind(&desk.ledger, &uploader, stop).await?;
    let limits = Limits {
        max_tokens: settings.batch.max_tokens,
        max_bytes: settings.batch.max_bytes,
        overhead: BODY_OVERHEAD,
    };
    let (pages_in, pages) = mpsc::channel(1);
    let (work_in, work) = mpsc::channel(1);
    let screen = Screen::new(
        settings.apps.clone(),
        desk.ledger.key().clone(),
        Utc::now().timestamp(),
    );
    if desk.run.cursor.is_none() {
        leave_out_outdated(settings, stop, desk, &mut source, &screen).await?;
    }
    let prepare = Prepare {
        screen: Arc::new(screen),
        ledger: desk.ledger.clone(),
        run: desk.run.id,
        books: Arc::clone(&desk.books),
        chunker: Chunker::new(limits),
        size_limit: uploader.size_limit().clone(),
        stop: stop.clone(),
        work: work_in,
        unsettled: VecDeque::new(),
    };
    // Each on a task of its own, so that they use all cores; joined here, so that none outlives the run.
    let reading =
        tokio::spawn(read(source, desk.run.cursor.clone(), stop.clone(), pages_in).in_current_span());
    let preparing = tokio::spawn(prepare.run(pages).in_current_span());
    let uploading = tokio::spawn(
        upload_stage::run(uploader, settings.batch.concurrency, stop.clone(), work).in_current_span(),
    );
    let stages = async {
        let (reader, preparer, sender) = tokio::join!(
            guarded(stop, reading),
            guarded(stop, preparing),
            guarded(stop, uploading)
        );
        // The cause comes before its consequences: a stage whose neighbour is gone ends without an error.
        reader.and(preparer).and(sender)
    };
    let mut stages = std::pin::pin!(stages);
    let error = tokio::select! {
        ended = &mut stages => return ended,
        Err(error) = desk.keep(view) => error,
        error = desk.ledger.keep(guard.lock, guard.access) => error.into(),
    };
    stop.turn_silently();
    // What follows from a ledger that is gone adds nothing to that.
    let _ = stages.await;
    Err(error)
}

/// An error, or a panic, of one stage ends all of them.
async fn guarded(
    stop: &Stop,
    stage: tokio::task::JoinHandle<Result<(), PipelineError>>,
) -> Result<(), PipelineError> {
    let ended = stage
        .await
        .unwrap_or_else(|error| Err(PipelineError::Panicked(error.to_string())));
    if ended.is_err() {
        stop.turn_silently();
    }
    ended
}

/// Records which rows share a destination with a newer one, before the first of them could be sent. Only once per run: a
/// run that goes on has done so.
async fn leave_out_outdated(
    settings: &Settings,
    stop: &Stop,
    desk: &Desk,
    source: &mut Source,
    screen: &Screen,
) -> Result<(), PipelineError> {
    let mut outdated = source.outdated(&settings.apps).chunks(OUTDATED_AT_ONCE);
    while let Some(Some(rows)) = stop.unless_turned(outdated.next()).await {
        let rows: Vec<_> = match rows.into_iter().collect() {
            Ok(rows) => rows,
            Err(SourceError::Database(failure)) if failure.kind == FailureKind::Timeout => {
                warn!(
                    "looking for rows of one destination takes longer than `source.statement_timeout`: where the older of \
                     two is read first, it is uploaded and then overwritten by the newer"
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        desk.ledger.decide(desk.run.id, &screen.outdated(rows)).await?;
    }
    Ok(())
}

/// Outdated rows that are recorded in one statement.
const OUTDATED_AT_ONCE: usize = 1000;

/// Reads page after page; the next one is read while the last is worked on.
async fn read(
    mut source: Source,
    cursor: Option<crate::model::SourceKey>,
    stop: Stop,
    pages: mpsc::Sender<Page>,
) -> Result<(), PipelineError> {
    let mut last = cursor;
    // The place in the channel comes first, so that no page waits in memory beside the one in the channel.
    while let Some(Ok(place)) = stop.unless_turned(pages.reserve()).await {
        match stop.unless_turned(source.page(last.as_ref())).await {
            Some(Ok(Some(page))) => {
                last = Some(page.last.clone());
                place.send(page);
            }
            Some(Ok(None)) | None => break,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Batches in flight whose process is gone, found out one by one before anything new is sent.
async fn settle_left_behind(ledger: &Ledger, uploader: &Uploader, stop: &Stop) -> Result<(), PipelineError> {
    for left in ledger.unsettled().await? {
        if stop.is_turned() {
            break;
        }
        let age = (Utc::now() - left.submitted_at).to_std().unwrap_or_default();
        uploader.settle_left_behind(&left, age).await?;
    }
    Ok(())
}

/// Where the books are kept while the stages work.
struct Desk {
    ledger: Ledger,
    run: Run,
    books: Arc<Books>,
    traffic: Arc<Traffic>,
    pacer: Arc<Pacer>,
    begin: Instant,
}

/// A type without a value: what never ends has no result.
#[derive(Debug)]
enum Never {}

impl Desk {
    /// Moves the ledger's cursor along, and keeps the view up to date.
    async fn keep(&self, view: &watch::Sender<View>) -> Result<Never, PipelineError> {
        let recording = async {
            loop {
                self.books.moved().await;
                self.record(&self.books.snapshot()).await?;
                sleep(TICK).await;
            }
        };
        let showing = async {
            loop {
                self.show(view);
                sleep(TICK).await;
            }
        };
        tokio::select! {
            recorded = recording => recorded,
            () = showing => std::future::pending().await,
        }
    }

    async fn record(&self, snapshot: &Snapshot) -> Result<(), PipelineError> {
        self.ledger
            .advance(
                &self.run,
                snapshot.cursor.as_ref(),
                &snapshot.closed,
                &self.counters(),
            )
            .await?;
        Ok(())
    }

    fn show(&self, view: &watch::Sender<View>) {
        view.send_modify(|view| {
            view.tally = self.books.snapshot().live;
            view.requests = self.traffic.requests().0;
            view.in_flight = self.traffic.in_flight();
            view.held_for = self.pacer.held_for();
        });
    }

    fn counters(&self) -> Counters {
        let (requests, retries, rate_limited) = self.traffic.requests();
        Counters {
            requests: self.run.counters.requests + requests,
            retries: self.run.counters.retries + retries,
            rate_limited: self.run.counters.rate_limited + rate_limited,
            active_seconds: self.run.counters.active_seconds + self.begin.elapsed().as_secs_f64(),
        }
    }
}

fn describe(reason: &StopReason) -> String {
    match reason {
        StopReason::Signal(signal) => format!("ended by signal {signal}"),
        StopReason::Credentials(text) => format!("the API refused the credentials: {text}"),
        StopReason::Endpoint(text) => format!("the API is not there, or not as expected: {text}"),
        StopReason::TooManyFailures(text) => text.clone(),
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
