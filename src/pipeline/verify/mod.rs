//! `verify`: reads tokens back and compares them with the source. Changes nothing, neither at the API nor in
//! `tokens`.

mod check;

use tokio::sync::watch;
use tracing::{Instrument, info, warn};

use super::{
    Ended, PipelineError,
    session::{self, Kind, Opened, RunLock, Session, holder},
    source_rows::SourceRows,
};
use crate::{
    config::Settings,
    domain::{Mode, Phase, VerifyRequest},
    ledger::{Checkpoint, LockKind, VerifyRun},
    lookup::TokenReader,
    rate::RunControl,
    reader::Source,
    report::View,
};
use check::{Progress, VerifyStage};

const KIND: Kind = Kind {
    mode: Mode::Verify,
    // Statements are short and mostly sequential.
    connections: 3,
    lock: Some(LockKind::Verification),
};

/// The error that stops it.
const WHAT: &str = "tokens could not be read back";

/// Compares tokens at Descope with the source, or resumes that. `control` stops or slows it down, and `view`
/// is updated meanwhile.
///
/// # Errors
/// Fails if it could not start. Later errors are in [`Ended`].
pub async fn verify(
    settings: &Settings,
    chosen: &VerifyRequest,
    control: RunControl,
    view: &watch::Sender<View>,
) -> Result<Ended, PipelineError> {
    let work = async |opened: Opened<'_>| Box::pin(begin(opened, chosen)).await;
    session::run(settings, KIND, control, view, work).await
}

async fn begin(opened: Opened<'_>, chosen: &VerifyRequest) -> Result<Ended, PipelineError> {
    let ledger = &opened.ledger;
    ledger.expect_target(&opened.settings.api.target()).await?;
    ledger
        .expect_no_pending_deletions_without_lock(&opened.access)
        .await?;
    let begun = ledger.begin_verification(chosen, &holder()).await?;
    let expected = ledger.count_committed(&begun).await?;
    let (session, source, lock) = opened.begin(begun.run.clone(), &chosen.to_string()).await;
    session.view.send_modify(|view| {
        view.phase = Phase::ReadingBack;
        view.tally = begun.verification.tally();
        view.expected = Some(expected.unsigned_abs());
    });
    let span = session.span.clone();
    let seed = begun.verification.seed;
    if begun.run.resumed {
        let cursor = begun.run.cursor.as_ref().map(tracing::field::display);
        info!(parent: &span, cursor, seed, "resuming an unfinished verification");
    } else {
        info!(parent: &span, tokens = expected, seed, "verifying {chosen}");
    }
    Ok(work(session, source, lock, begun).instrument(span).await)
}

/// Warns whenever tokens are read that Descope may refresh.
pub(super) fn warn_of_refreshes() {
    warn!(
        "tokens whose access tokens have expired are read too: Descope refreshes them, which invalidates the old system's copy if the \
         provider rotates refresh tokens"
    );
}

/// Does the work; every run gets a status, whatever happens.
async fn work(session: Session<'_>, source: Source, mut lock: RunLock, begun: VerifyRun) -> Ended {
    if begun.verification.include_expired {
        warn_of_refreshes();
    }
    let progress = Progress::new(&begun, session.control.meter.clone());
    let checking = Box::pin(check(&session, &begun, source, &progress));
    let error = session
        .work(&mut lock, checking, std::future::pending(), |view| {
            progress.renew(view);
        })
        .await;
    let now = progress.now();
    let tally = now.found.tally();
    let checkpoint = Checkpoint {
        cursor: now.cursor.as_ref(),
        up_to_cursor: tally,
        tally,
        counters: session.counters(),
    };
    let recorded = session.ledger.advance_verification(
        &session.run,
        now.cursor.as_ref(),
        &now.found,
        &checkpoint.counters,
    );
    let mut ended = session.finish(error, &checkpoint, recorded, || None).await;
    ended.summary.verify = Some(now.found);
    session.close(lock).await;
    ended
}

async fn check(
    session: &Session<'_>,
    begun: &VerifyRun,
    source: Source,
    progress: &Progress,
) -> Result<(), PipelineError> {
    let margin = (!begun.verification.include_expired).then_some(session.settings.api.refresh_margin);
    let checking = VerifyStage {
        session,
        source_rows: SourceRows::new(session, source).await?,
        reader: TokenReader::new(&session.lookup_client, margin, WHAT),
        begun,
        progress,
    };
    checking.run().await
}
