//! `verify`: reads tokens back and holds them against the source. Changes nothing, at the API or in `tokens`.

mod check;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{Instrument, Span, error_span, info, warn};

use super::{
    Ended, PipelineError,
    migrate::{cause, holder},
    progress::{quota, show},
    retry::patiently,
    source_rows::SourceRows,
};
use crate::{
    config::{LedgerAccess, Settings},
    descope::Client,
    domain::{EventKind, Mode, Phase, RefreshMargin, RunStatus, StopReason, VerifyRequest},
    ledger::{Checkpoint, Ledger, LockKind, VerifyRun},
    lookup::{LookupClient, TokenReader},
    postgres::Patience,
    rate::RunControl,
    reader::Source,
    report::View,
};
use check::{Progress, VerifyStage};

/// Holds what Descope has against the source, or goes on with that. The helm ends it early or holds it back, and
/// `view` is kept up to date meanwhile.
///
/// # Errors
/// If it could not begin. Once it began, what went wrong is in [`Ended`].
pub async fn verify(
    settings: &Settings,
    chosen: &VerifyRequest,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let stop = control.stop.clone();
    let work = async |patience: &Patience| open(settings, chosen, control, view, patience).await;
    patiently(settings, &stop, work).await
}

async fn open(
    settings: &Settings,
    chosen: &VerifyRequest,
    control: RunControl,
    view: &watch::Sender<View>,
    patience: &Patience,
) -> Result<Ended, PipelineError> {
    let access = LedgerAccess {
        migration: settings.migration.clone(),
        ledger: settings.ledger.clone(),
    };
    let ledger = Ledger::open_existing(&access, CONNECTIONS, patience).await?;
    let last_success = ledger.last_success(Mode::Verify).await?;
    let application_name = format!("tokenferry {} verify", settings.migration);
    let source = Source::open(&settings.source, &application_name, patience).await?;
    let client = Client::new(&settings.api, control.meter.clone())?;
    let mut lock = ledger.lock(&access, LockKind::Verification).await?;
    ledger.expect_target(&settings.api.target()).await?;
    ledger.expect_no_pending_deletions_without_lock(&access).await?;
    let begun = ledger.begin_verification(chosen, &holder()).await?;
    let event_log = ledger.event_log();
    let source = source.with_event_log(event_log.clone());
    event_log.record(
        EventKind::taking_up(begun.run.resumed),
        Some(format!("{chosen}, by {}", holder())),
    );
    ledger.write_events(&begun.run).await;
    let lookup_client = LookupClient::new(client, &settings.api, &control).with_event_log(event_log.clone());
    let span = error_span!("run", run_id = begun.run.id);
    let expected = ledger.count_committed(&begun).await?;
    view.send_modify(|view| {
        view.run_id = Some(begun.run.id);
        view.last_success = last_success;
        view.mode = Mode::Verify;
        view.phase = Phase::ReadingBack;
        view.tally = begun.verification.tally();
        view.requests = begun.run.counters.requests;
        view.quota = Some(quota(settings.api.rate_limit));
        view.expected = Some(expected.unsigned_abs());
    });
    let seed = begun.verification.seed;
    if begun.run.resumed {
        let cursor = begun.run.cursor.as_ref().map(tracing::field::display);
        info!(parent: &span, cursor, seed, "going on with an unfinished verification");
    } else {
        info!(parent: &span, tokens = expected, seed, "verifying {chosen}");
    }
    if chosen.include_expired {
        warn_of_refreshes(&span);
    }
    let job = Job {
        settings,
        ledger: &ledger,
        begun,
        lookup_client: Arc::new(lookup_client),
        control,
        view,
    };
    let holding = async { ledger.hold_lock(&mut lock).await };
    let ended = Box::pin(job.work(source, holding)).instrument(span).await;
    lock.release().await;
    ledger.close().await;
    Ok(ended)
}

/// What is said when it cannot go on.
const WHAT: &str = "tokens could not be read back";

/// Statements are short, and mostly one after the other.
const CONNECTIONS: u32 = 3;

/// Said wherever tokens are read that Descope may refresh.
pub(super) fn warn_of_refreshes(span: &Span) {
    warn!(
        parent: span,
        "tokens whose access tokens have expired are read as well: Descope refreshes them, and at a provider that rotates refresh tokens \
         the copy that the old system holds ends"
    );
}

/// What one verification works with.
struct Job<'a> {
    settings: &'a Settings,
    ledger: &'a Ledger,
    begun: VerifyRun,
    /// Reads tokens back, and finds the users of login IDs.
    lookup_client: Arc<LookupClient>,
    control: RunControl,
    view: &'a watch::Sender<View>,
}

impl Job<'_> {
    /// The run itself: whatever happens in it, it gets a status.
    async fn work(self, source: Source, holding: impl Future<Output = crate::ledger::LedgerError>) -> Ended {
        let progress = Progress::new(&self.begun, self.control.meter.clone());
        let mut checked = std::pin::pin!(self.check(source, &progress));
        let showing = show(&self.control, self.ledger.event_log(), self.view, |view| {
            progress.renew(view);
            view.held_for = self.lookup_client.held_for();
        });
        let mut error = tokio::select! {
            checked = &mut checked => checked.err(),
            lost = holding => Some(lost.into()),
            never = showing => match never {},
        };
        let (ledger, run) = (self.ledger, &self.begun.run);
        let stopped = self.control.stop.reason();
        let now = progress.now();
        let status = match (&stopped, &error) {
            (_, Some(_)) | (Some(StopReason::Signal(_) | StopReason::Person), None) => RunStatus::Interrupted,
            (Some(_), None) => RunStatus::Stopped,
            (None, None) if now.found.tally().failed > 0 => RunStatus::CompletedWithFailures,
            (None, None) => RunStatus::Completed,
        };
        let why = stopped
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| error.as_ref().map(ToString::to_string));
        let counters = progress.counters();
        let recorded = async {
            ledger
                .advance_verification(run, now.cursor.as_ref(), &now.found, &counters)
                .await?;
            let tally = now.found.tally();
            let checkpoint = Checkpoint {
                cursor: now.cursor.as_ref(),
                up_to_cursor: tally,
                tally,
                counters,
            };
            ledger.finish(run, &checkpoint, status, why.as_deref()).await
        };
        if let Err(failure) = recorded.await {
            warn!(reason = %failure, "the end of the run could not be recorded: the next one finds it as it is and goes on");
            error = Some(cause(error, failure.into()));
        } else {
            ledger.close_events(run, status, why.as_deref()).await;
        }
        Ended {
            run_id: run.id,
            mode: Mode::Verify,
            resumed: run.resumed,
            status,
            stopped,
            tally: now.found.tally(),
            counters,
            batches: (0, 0),
            estimate: None,
            verification: Some(now.found),
            rollback: None,
            error,
        }
    }

    /// By which margin tokens are not read.
    fn spared(&self) -> Option<RefreshMargin> {
        (!self.begun.verification.include_expired).then_some(self.settings.api.refresh_margin)
    }

    async fn check(&self, source: Source, progress: &Progress) -> Result<(), PipelineError> {
        let (people, stop) = (Arc::clone(&self.lookup_client), self.control.stop.clone());
        let checking = VerifyStage {
            ledger: self.ledger,
            begun: &self.begun,
            source_rows: SourceRows::new(self.settings, source, self.ledger, people, stop).await?,
            reader: TokenReader::new(&self.lookup_client, self.spared(), WHAT),
            stop: &self.control.stop,
            in_flight: self.settings.batch.concurrency,
            progress,
        };
        Box::pin(checking.run()).await
    }
}
