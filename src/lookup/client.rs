//! Lookup client: repeats a request until there is a usable response.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc};
use tracing::debug;

use super::LookupError;
use crate::{
    config::{ApiSettings, RetrySettings},
    descope::{Client, LookupOutcome, Refusal},
    domain::{EventKind, EventLog, StopReason},
    ledger::{LedgerError, SharedQuota},
    rate::{Pacer, RetryLoop, RunControl, SharedQuotas, StopSignal},
};

/// The quota that a request uses. The API counts each separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Apps, tenants and everything else that has no quota of its own.
    Plain,
    /// Users by their IDs.
    Users,
    /// The search for users.
    Search,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered<T> {
    /// The result.
    Found(T),
    /// The object does not exist.
    Absent,
    /// The API rejects the request.
    Refused(Refusal),
}

/// The client of all lookups, which share their quotas.
pub struct LookupClient {
    client: Client,
    /// Shared with uploads, which use the same quota.
    plain: Arc<Pacer>,
    users: Pacer,
    search: Pacer,
    /// Failures of the ledger in which the quotas are shared.
    failures: Mutex<mpsc::Receiver<LedgerError>>,
    /// Keeps the receiver waiting if no quota is shared.
    _failed: mpsc::Sender<LedgerError>,
    retry: RetrySettings,
    stop: StopSignal,
}

impl fmt::Debug for LookupClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupClient").finish_non_exhaustive()
    }
}

impl LookupClient {
    /// Returns a client with the quotas and retries of the settings. The stop signal ends it, and is
    /// triggered if further requests are useless. Waits that the API asks for are recorded in the event log.
    /// The quotas are shared with other processes if `shared` is given.
    #[must_use]
    pub fn new(
        client: Client,
        settings: &ApiSettings,
        control: &RunControl,
        event_log: &EventLog,
        shared: Option<&SharedQuotas>,
    ) -> Self {
        let (failed, failures) = mpsc::channel(1);
        let pacer = |name, quota, held, shared: Option<&SharedQuota>| {
            let pacer = Pacer::new(quota, control).recording(name, held, event_log.clone());
            match shared {
                Some(shared) => pacer.sharing(shared.clone(), failed.clone()),
                None => pacer,
            }
        };
        // Uploads wait for this one, too.
        let plain = shared.map(|shared| &shared.plain);
        let plain = Arc::new(pacer("calls", settings.rate_limit, EventKind::Held, plain));
        let (shared_pacer, stop) = (Arc::clone(&plain), control.stop.clone());
        client.pay_licenses_with(Arc::new(move || {
            let (pacer, stop) = (Arc::clone(&shared_pacer), stop.clone());
            Box::pin(async move {
                stop.run_until_stopped(pacer.acquire_through_pauses())
                    .await
                    .is_some()
            })
        }));
        Self {
            client,
            plain,
            users: pacer(
                "users",
                settings.lookup.users,
                EventKind::LookupsHeld,
                shared.map(|shared| &shared.users),
            ),
            search: pacer(
                "searches",
                settings.lookup.search,
                EventKind::LookupsHeld,
                shared.map(|shared| &shared.search),
            ),
            failures: Mutex::new(failures),
            _failed: failed,
            retry: settings.retry,
            stop: control.stop.clone(),
        }
    }

    /// Returns the pacer of all requests that have no quota of their own, including uploads.
    #[must_use]
    pub fn plain(&self) -> Arc<Pacer> {
        Arc::clone(&self.plain)
    }

    /// Waits for a failure of the ledger in which the quotas are shared. No request leaves after it.
    pub async fn quota_failure(&self) -> LedgerError {
        match self.failures.lock().await.recv().await {
            Some(error) => error,
            // This client has a sender.
            None => std::future::pending().await,
        }
    }

    /// Returns the remaining wait that the API has asked for.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        let pacers = [&*self.plain, &self.users, &self.search];
        pacers.into_iter().map(Pacer::held_for).max().unwrap_or_default()
    }

    /// Sends a request until there is a usable response. `what` describes its failure: "users could not be
    /// looked up".
    ///
    /// # Errors
    /// If the run is stopped, for example because the API rejects the credentials or all attempts fail.
    pub async fn ask<'a, T, F>(
        &'a self,
        quota: Quota,
        what: &str,
        question: impl Fn(&'a Client) -> F,
    ) -> Result<Answered<T>, LookupError>
    where
        F: Future<Output = LookupOutcome<T>>,
    {
        let pacer = match quota {
            Quota::Plain => &*self.plain,
            Quota::Users => &self.users,
            Quota::Search => &self.search,
        };
        // The licence is fetched here, so that a process without requests does not fetch it.
        self.stop.run_until_stopped(self.client.handshake()).await;
        let mut attempts = RetryLoop::new(&self.retry, pacer, &self.stop);
        while attempts.start().await.is_some() {
            // A lookup changes nothing, so a response on its way may be abandoned.
            let Some(outcome) = self.stop.run_until_stopped(question(&self.client)).await else {
                break;
            };
            if let Some(answered) = self.handle(outcome, &mut attempts, what).await? {
                return Ok(answered);
            }
        }
        Err(LookupError::Stopped)
    }

    /// Returns the retry loop of a change at the API, which uses the quota of requests without one of their
    /// own.
    #[must_use]
    pub fn attempts(&self) -> RetryLoop<'_> {
        RetryLoop::new(&self.retry, &self.plain, &self.stop)
    }

    /// Performs a change at the API, once: the caller must check its outcome before it repeats it. The
    /// attempt has already waited for the quota. Once the request has left, its response is awaited even if
    /// the run is stopped. `None` if no response shows the outcome; any wait before a retry is then over.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn perform<'a, T, F>(
        &'a self,
        attempts: &mut RetryLoop<'a>,
        what: &str,
        action: impl FnOnce(&'a Client) -> F,
    ) -> Result<Option<Answered<T>>, LookupError>
    where
        F: Future<Output = LookupOutcome<T>>,
    {
        let outcome = action(&self.client).await;
        self.handle(outcome, attempts, what).await
    }

    /// Handles an outcome. `None` if another attempt is due, after the wait that was made here.
    async fn handle<T>(
        &self,
        outcome: LookupOutcome<T>,
        attempts: &mut RetryLoop<'_>,
        what: &str,
    ) -> Result<Option<Answered<T>>, LookupError> {
        let (refusal, wait) = match outcome {
            LookupOutcome::Found(found) => return Ok(Some(Answered::Found(found))),
            LookupOutcome::Absent => return Ok(Some(Answered::Absent)),
            LookupOutcome::Refused(refusal) => return Ok(Some(Answered::Refused(refusal))),
            LookupOutcome::Credentials(refusal) => {
                return Err(self.end(StopReason::Credentials(because(what, &refusal))));
            }
            LookupOutcome::Endpoint(refusal) => {
                return Err(self.end(StopReason::Endpoint(because(what, &refusal))));
            }
            LookupOutcome::RateLimited { retry_after } => {
                attempts
                    .rate_limited(retry_after)
                    .await
                    .ok_or(LookupError::Stopped)?;
                let license = self.client.license_may_have_changed();
                self.stop
                    .run_until_stopped(license)
                    .await
                    .ok_or(LookupError::Stopped)?;
                return Ok(None);
            }
            LookupOutcome::TryAgain { retry_after, refusal } => {
                let asked = retry_after.unwrap_or_default().min(self.retry.max_retry_after);
                (refusal, asked.max(attempts.delay()))
            }
        };
        let number = attempts.number();
        debug!(
            attempt = number,
            status = refusal.status,
            code = %refusal.code,
            wait_s = wait.as_secs_f64(),
            "no usable response"
        );
        if attempts.wait_after_failure(wait).await {
            return Ok(None);
        }
        let text = format!("{} ({number} attempts)", because(what, &refusal));
        Err(self.end(StopReason::TooManyFailures(text)))
    }

    fn end(&self, reason: StopReason) -> LookupError {
        self.stop.trigger(reason);
        LookupError::Stopped
    }
}

fn because(what: &str, refusal: &Refusal) -> String {
    let status = refusal
        .status
        .map(|status| format!("{status} "))
        .unwrap_or_default();
    format!("{what}: {status}{}: {}", refusal.code, refusal.text)
}
