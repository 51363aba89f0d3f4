//! `migrate`: the job.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tracing::info;

use super::{
    Exit,
    args::{Global, MigrateArgs},
    exit,
    exit::UsageError,
    load,
    logging::Console,
    print, signals,
};
use crate::{
    config::LedgerAccess,
    ledger::Reports,
    model::{Mode, Selection, StopReason},
    pace::Stop,
    pipeline::{self, Canary, Ended, Online, Request},
    report::{Batches, Summary, View, show_progress},
};

pub(super) async fn run(global: &Global, args: MigrateArgs, console: &Console) -> anyhow::Result<Exit> {
    let canary = canary(&args)?;
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let access = loaded.ledger_access()?;
    let stop = Stop::new();
    let on_signal = stop.clone();
    signals::watch(move |signal| {
        info!(
            signal,
            "finishing what is in flight; a second signal ends at once"
        );
        on_signal.turn(StopReason::Signal(signal));
    });
    let (view, seen) = watch::channel(View::default());
    let watching = tokio::spawn(show_progress(seen, console.bars.clone()));
    let selection = if args.only_failed {
        Selection::Failed { code: args.code }
    } else {
        Selection::All
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Migrate };
    let request = Request {
        mode,
        selection,
        limit: args.limit,
        online: args.online.then_some(Online { sample: args.sample }),
        canary,
    };
    let ended = pipeline::migrate(&settings, &request, stop, &view).await;
    drop(view);
    // Nothing but showing went wrong if this fails.
    let _ = watching.await;
    let ended = ended?;

    let summary = summary(&access, &ended).await;
    if args.json {
        print(&(serde_json::to_string(&summary)? + "\n"))?;
    } else if !global.quiet {
        eprint!("{}", summary.text());
    }
    let exit = exit::of_run(&ended);
    match ended.error {
        Some(error) => Ok(exit::report(&error.into())),
        None => Ok(exit),
    }
}

fn canary(args: &MigrateArgs) -> Result<Option<Canary>, UsageError> {
    let failures = args.canary_failures;
    match args.canary {
        Some(tokens) if failures >= tokens.get() => Err(UsageError(format!(
            "--canary-failures {failures} would let a canary of {tokens} pass whatever becomes of it: it must be less"
        ))),
        tokens => Ok(tokens.map(|tokens| Canary { tokens, failures })),
    }
}

/// From the ledger, which knows what earlier processes did; from this process alone where the ledger is out of reach.
async fn summary(access: &LedgerAccess, ended: &Ended) -> Summary {
    match from_ledger(access, ended).await {
        Ok(Some(summary)) => summary,
        Ok(None) | Err(_) => Summary {
            run_id: ended.run_id,
            migration: access.migration.clone(),
            mode: ended.mode.as_str().to_owned(),
            status: ended.status.as_str().to_owned(),
            resumed: ended.resumed,
            tokens: ended.tally,
            batches: Batches {
                committed: ended.batches.0,
                failed: ended.batches.1,
            },
            requests: ended.counters.requests,
            retries: ended.counters.retries,
            rate_limited: ended.counters.rate_limited,
            lookups: ended.counters.lookups,
            duration_s: ended.counters.active_seconds,
            failures_by_code: BTreeMap::new(),
            warnings_by_code: BTreeMap::new(),
            estimate: ended.estimate,
            started_at: None,
            finished_at: None,
            stop_reason: ended.stopped.as_ref().map(ToString::to_string),
            failures: Vec::new(),
            warnings: Vec::new(),
        },
    }
}

async fn from_ledger(access: &LedgerAccess, ended: &Ended) -> anyhow::Result<Option<Summary>> {
    let mut reports = Reports::open(access).await?;
    let report = reports.run(Some(ended.run_id)).await?;
    reports.close().await;
    Ok(report.map(|report| Summary::from_report(&access.migration, report)))
}
