//! A command with a run: signals, progress, the summary and the exit code.

use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    Exit,
    args::{Global, WatchArgs},
    exit,
    hooks::Hooks,
    load,
    logging::Console,
    paper::{self, Paper},
    print_json, signals,
    watch::Watching,
};
use crate::{
    config::{LedgerAccess, Settings},
    domain::{Mode, StopReason, Summary, visible_lines},
    ledger::{LedgerError, LedgerReader},
    metrics::Meter,
    observe::MonitoringServer,
    pipeline::{Ended, PipelineError},
    rate::RunControl,
    report::{View, show_progress},
};

/// A command with a run: its settings, its control and its output.
pub(super) struct RunCommand<'a> {
    pub(super) settings: Settings,
    /// Access to the ledger, for the summary of the run.
    pub(super) access: LedgerAccess,
    mode: Mode,
    watching: Watching,
    global: &'a Global,
    console: &'a Console,
    /// Prints one JSON object about the run.
    json: bool,
}

impl<'a> RunCommand<'a> {
    /// Loads the command from configuration and options.
    pub(super) fn load(
        global: &'a Global,
        console: &'a Console,
        mode: Mode,
        watch: &WatchArgs,
        json: bool,
    ) -> anyhow::Result<Self> {
        let loaded = load(global)?;
        let settings = loaded.settings()?;
        Ok(Self {
            access: loaded.ledger_access()?,
            watching: Watching::new(watch, global, &settings, mode)?,
            settings,
            mode,
            global,
            console,
            json,
        })
    }

    /// Runs `work` under a control that signals stop, shows its progress and reports its end.
    pub(super) async fn run(
        self,
        work: impl AsyncFnOnce(&Settings, RunControl, &watch::Sender<View>) -> Result<Ended, PipelineError>,
    ) -> anyhow::Result<Exit> {
        let Self {
            settings,
            access,
            mut watching,
            ..
        } = self;
        let meter = Meter::new(&settings.migration, self.mode);
        let control = RunControl::new(settings.api.rate_limit, meter);
        let on_signal = control.stop.clone();
        signals::watch(move |signal| {
            info!(
                signal,
                "signal received, finishing what is in flight; a second signal ends the process at once"
            );
            on_signal.trigger(StopReason::Signal(signal));
        });
        let (view, seen) = watch::channel(View::default());
        let monitoring = MonitoringServer::open(watching.take_orders(), &control, seen.clone()).await?;
        watching.tell(&monitoring);
        let hooks = Hooks::new(settings.notify.as_ref(), &access, &seen);
        let watching = tokio::spawn(show_progress(seen, self.console.live_area.clone()));
        let ended = Box::pin(work(&settings, control, &view)).await;
        if let Ok(ended) = &ended {
            view.send_modify(|view| {
                let summary = &ended.summary;
                view.end(ended.status, summary.tokens, summary.counters.requests);
            });
        }
        monitoring.close().await;
        drop(view);
        // A failure here affects only the progress display.
        let _ = watching.await;
        self.console.settle();
        let ended = ended?;
        if is_ledger_away(&ended) && matches!(ended.summary.mode, Mode::Migrate | Mode::Rollback) {
            warn!(
                "sent batches that could not be recorded stay in flight in the ledger; the next run reconciles them first"
            );
        }

        let summary = summary(&access, &ended).await;
        let exit = exit::of_run(&ended);
        if self.json {
            print_json(&summary)?;
        }
        if self.console.json {
            log(&summary, exit);
        } else if !self.json && !self.global.quiet {
            eprint!(
                "{}",
                paper::fitted(&visible_lines(&summary.text()), Paper::Stderr)
            );
        }
        hooks.over(&ended, &summary).await;
        match ended.error {
            Some(error) => Ok(self.console.report(&error.into())),
            None => Ok(exit),
        }
    }
}

/// Logs the summary if standard error contains only the log.
fn log(summary: &Summary, exit: Exit) {
    let (run_id, tokens) = (summary.run_id, &summary.tokens);
    if let Some(reason) = summary
        .stop_reason
        .as_ref()
        .filter(|_| exit == Exit::StoppedEarly)
    {
        warn!(run_id, reason, "stopped");
    }
    // Of a dry run.
    let estimate = summary.estimate;
    info!(
        run_id,
        mode = summary.mode.as_str(),
        run_status = summary.status,
        resumed = summary.resumed,
        exit_code = exit.code(),
        selected = tokens.selected,
        committed = tokens.committed,
        failed = tokens.failed,
        superseded = tokens.superseded,
        unchanged = tokens.unchanged,
        batches_committed = summary.batches.committed,
        batches_failed = summary.batches.failed,
        requests = summary.counters.requests,
        retries = summary.counters.retries,
        rate_limited = summary.counters.rate_limited,
        lookups = summary.counters.lookups,
        duration_s = summary.counters.active_seconds,
        stop_reason = summary.stop_reason,
        estimated_batches = estimate.map(|estimate| estimate.batches),
        estimated_requests = estimate.map(|estimate| estimate.requests),
        estimated_duration_s = estimate.map(|estimate| estimate.duration_s),
        "ended"
    );
}

/// Returns true if the run ended because the ledger was unreachable.
fn is_ledger_away(ended: &Ended) -> bool {
    matches!(&ended.error, Some(PipelineError::Ledger(LedgerError::Database(failure))) if failure.is_transient())
}

/// Returns true if the ledger went back in time, so that it knows less of the run than this process.
fn has_ledger_gone_back(ended: &Ended) -> bool {
    matches!(ended.error, Some(PipelineError::Ledger(LedgerError::WentBack)))
}

/// Reads the summary from the ledger, which includes earlier processes. Uses this process's counts if the
/// ledger is unreachable or went back in time.
async fn summary(access: &LedgerAccess, ended: &Ended) -> Summary {
    let recorded = if is_ledger_away(ended) || has_ledger_gone_back(ended) {
        None
    } else {
        LedgerReader::summary(access, ended.summary.run_id)
            .await
            .ok()
            .flatten()
    };
    recorded.unwrap_or_else(|| ended.summary.clone())
}
