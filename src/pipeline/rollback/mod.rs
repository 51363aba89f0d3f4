//! `rollback`: deletes the tokens that one run uploaded, and nothing else.
//!
//! Three places guarantee that nothing else is deleted: [`eligible`](eligibility::eligible) decides which
//! rows may be read back at all, [`StoredToken::recognise`] is the only source of a deletion, and [`Remover`]
//! deletes only directly after such a match.
//!
//! [`StoredToken::recognise`]: crate::descope::StoredToken::recognise

mod eligibility;
mod remove;

use tokio::sync::watch;
use tracing::{Instrument, info};

use super::{
    Ended, PipelineError,
    session::{self, Kind, Opened, RunLock, Session, holder},
    source_rows::SourceRows,
    stages::reconcile_left_behind,
    verify::warn_of_refreshes,
};
use crate::{
    config::Settings,
    domain::{Counters, DryRun, Mode, Phase, RollbackRequest, Tally},
    ledger::{Checkpoint, LockKind, RollbackRun},
    rate::RunControl,
    reader::Source,
    report::View,
    uploader::SizeLimit,
};
use remove::Remover;

/// Rolls a run back, resumes that, or performs a dry run. `control` stops or slows it down, and `view` is
/// updated meanwhile.
///
/// # Errors
/// Fails if it could not start. Later errors are in [`Ended`].
pub async fn rollback(
    settings: &Settings,
    request: RollbackRequest,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let kind = Kind {
        mode: Mode::Rollback,
        connections: settings.batch.ledger_statements(),
        // The migration's own lock: nothing is uploaded meanwhile.
        lock: Some(LockKind::Migration),
    };
    let work = async |opened: Opened<'_>| begin(opened, request).await;
    session::run(settings, kind, control, view, work).await
}

async fn begin(opened: Opened<'_>, request: RollbackRequest) -> Result<Ended, PipelineError> {
    let target = opened.settings.api.target();
    let begun = opened.ledger.begin_rollback(request, &target, &holder()).await?;
    let tally = opened.ledger.rolled_back(&begun).await?.tally();
    let what = match request.dry_run {
        DryRun::Off => "taken back",
        DryRun::On => "looked at, whether it could be taken back",
    };
    let order = format!("run {} {what}", request.of_run);
    let (session, source, lock) = opened.begin(begun.run.clone(), &order).await;
    session.view.send_modify(|view| {
        view.tally = tally;
        view.phase = Phase::ReadingBack;
    });
    let span = session.span.clone();
    info!(
        parent: &span, of_run = request.of_run, resumed = begun.run.resumed, dry_run = ?request.dry_run,
        "reading tokens back to delete those that are unchanged"
    );
    Ok(work(session, source, lock, begun).instrument(span).await)
}

/// Builds a checkpoint without a cursor: the tokens' outcomes show where to resume.
fn checkpoint(tally: Tally, counters: Counters) -> Checkpoint<'static> {
    Checkpoint {
        cursor: None,
        up_to_cursor: tally,
        tally,
        counters,
    }
}

/// Does the work; every run gets a status, whatever happens.
async fn work(session: Session<'_>, source: Source, mut lock: RunLock, begun: RollbackRun) -> Ended {
    if begun.rollback_request.include_expired {
        warn_of_refreshes();
    }
    let removal = Box::pin(remove(&session, &begun, source));
    let error = session
        .work(&mut lock, removal, std::future::pending(), |_| ())
        .await;
    let found = session.ledger.rolled_back(&begun).await;
    let now = found.as_ref().copied().unwrap_or_default();
    let recorded = async { found.map(drop) };
    let checkpoint = checkpoint(now.tally(), session.counters());
    let mut ended = session.finish(error, &checkpoint, recorded, || None).await;
    ended.summary.rollback = Some(now);
    session.close(lock).await;
    ended
}

async fn remove(session: &Session<'_>, begun: &RollbackRun, source: Source) -> Result<(), PipelineError> {
    let stop = &session.control.stop;
    // Batches in flight may belong to the run, so they are reconciled first.
    let settings = session.settings;
    let size_limit = SizeLimit::new(&settings.batch, settings.api.timeout, [None, None]);
    let uploader = session.uploader(size_limit, Box::new(|_| {}));
    reconcile_left_behind(session, &uploader).await?;
    if stop.is_triggered() {
        return Ok(());
    }
    session.ledger.move_all_to_rows(begun).await?;
    session.ledger.refuse_former(begun).await?;
    let source_rows = SourceRows::new(session, source).await?;
    Remover::new(session, begun).run(source_rows).await
}
