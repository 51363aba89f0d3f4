//! Hooks of a run, called at its first failure and at its end.

use std::time::Duration;

use tokio::{
    sync::watch::{self, error::RecvError},
    task::JoinHandle,
    time::timeout,
};
use tracing::warn;

use crate::{
    config::{LedgerAccess, NotifySettings, Occasion},
    domain::{StopReason, Summary},
    ledger::LedgerReader,
    observe::notify::notify,
    pipeline::Ended,
    report::View,
};

/// The hooks of one run.
pub(super) struct Hooks {
    settings: Option<NotifySettings>,
    first_failure: Option<JoinHandle<()>>,
}

impl Hooks {
    /// Starts waiting for the first failure while the run works.
    pub(super) fn new(
        settings: Option<&NotifySettings>,
        access: &LedgerAccess,
        view: &watch::Receiver<View>,
    ) -> Self {
        let wanted = |occasion| {
            settings
                .filter(|settings| settings.on.contains(&occasion))
                .cloned()
        };
        let first_failure = wanted(Occasion::FirstFailure).map(|settings| {
            let (access, mut view) = (access.clone(), view.clone());
            tokio::spawn(async move {
                // The view is closed when the run has ended.
                let _ = tell_of_failure(&settings, &access, &mut view).await;
            })
        });
        Self {
            settings: settings.cloned(),
            first_failure,
        }
    }

    /// Calls the hook for the end of the run, and waits for a running one for at most its timeout.
    pub(super) async fn over(self, ended: &Ended, summary: &Summary) {
        let occasion = match (&ended.stopped, &ended.error) {
            (None | Some(StopReason::Limit(_)), None) => Occasion::End,
            _ => Occasion::Stop,
        };
        let last = async {
            if let Some(settings) = self.settings.filter(|settings| settings.on.contains(&occasion)) {
                notify(&settings, occasion, ended.summary.run_id, summary).await;
            }
        };
        let first = async {
            if let Some(first) = self.first_failure {
                // A failure here affects only the notification.
                let _ = first.await;
            }
        };
        tokio::join!(first, last);
    }
}

/// The longest wait for the ledger's summary while the run continues, and the time between two looks at it.
const LEDGER_MAY_TAKE: Duration = Duration::from_secs(5);

/// Waits for the first failure of a run that is not acknowledged, and calls the hook. An earlier process has
/// already seen the failures that are there at the start.
async fn tell_of_failure(
    settings: &NotifySettings,
    access: &LedgerAccess,
    view: &mut watch::Receiver<View>,
) -> Result<(), RecvError> {
    let began = view.wait_for(|view| view.run_id.is_some()).await?.clone();
    let Some(run_id) = began.run_id.filter(|_| began.tally.failed == 0) else {
        return Ok(());
    };
    let mut known = 0;
    loop {
        let seen = view.wait_for(|view| view.tally.failed > known).await?.clone();
        match timeout(LEDGER_MAY_TAKE, LedgerReader::summary(access, run_id)).await {
            Ok(Ok(Some(summary)))
                if !summary.acknowledged.is_empty() && summary.new_failures().is_empty() =>
            {
                known = seen.tally.failed;
                // Many may follow, and each look is a connection.
                let _ = timeout(LEDGER_MAY_TAKE, view.wait_for(|view| view.ended.is_some())).await;
            }
            Ok(Ok(Some(mut summary))) => {
                // The ledger's counts lag behind.
                summary.tokens = seen.tally;
                let requests = &mut summary.counters.requests;
                *requests = (*requests).max(seen.requests);
                notify(settings, Occasion::FirstFailure, run_id, &summary).await;
                return Ok(());
            }
            _ => {
                warn!(
                    run_id,
                    hook = "first_failure",
                    "the ledger did not respond, hook not called"
                );
                return Ok(());
            }
        }
    }
}
