//! Lookup client: asks until there is an answer.

use std::{fmt, sync::Arc, time::Duration};

use tracing::debug;

use super::LookupError;
use crate::{
    config::{ApiSettings, RetrySettings},
    descope::{Client, LookupOutcome, Refusal},
    domain::{EventKind, EventLog, StopReason},
    rate::{Pacer, RetryLoop, RunControl, StopSignal},
};

/// Which quota a question pays; the API counts them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Apps and tenants: all that has no quota of its own.
    Plain,
    /// Users by their IDs.
    Users,
    /// The search for users.
    Search,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered<T> {
    /// The answer.
    Found(T),
    /// It is not there.
    Absent,
    /// The API does not take the question as it is.
    Refused(Refusal),
}

/// Asks. Shared by all who do, since they share the quotas.
pub struct LookupClient {
    client: Client,
    /// Shared with uploads, which pay at the same place.
    plain: Arc<Pacer>,
    users: Pacer,
    search: Pacer,
    retry: RetrySettings,
    stop: StopSignal,
}

impl fmt::Debug for LookupClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupClient").finish_non_exhaustive()
    }
}

impl LookupClient {
    /// A client with the settings' quotas and retries. The stop signal ends it, and is triggered where asking makes no sense any
    /// more. Waits that the API asks for go to the event log.
    #[must_use]
    pub fn new(client: Client, settings: &ApiSettings, control: &RunControl, event_log: &EventLog) -> Self {
        let pacer = |name, quota, held| Pacer::new(quota, control).recording(name, held, event_log.clone());
        // Uploads pay there, too.
        let plain = Arc::new(pacer("calls", settings.rate_limit, EventKind::Held));
        let (pays, stop) = (Arc::clone(&plain), control.stop.clone());
        client.pay_licenses_with(Arc::new(move || {
            let (pays, stop) = (Arc::clone(&pays), stop.clone());
            Box::pin(async move { stop.run_until_stopped(pays.ready_to_settle()).await.is_some() })
        }));
        Self {
            client,
            plain,
            users: pacer("users", settings.lookup.users, EventKind::LookupsHeld),
            search: pacer("searches", settings.lookup.search, EventKind::LookupsHeld),
            retry: settings.retry,
            stop: control.stop.clone(),
        }
    }

    /// Where everything pays that has no quota of its own: uploads, too.
    #[must_use]
    pub fn plain(&self) -> Arc<Pacer> {
        Arc::clone(&self.plain)
    }

    /// How long the API asked us to wait, from now.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        let pacers = [&*self.plain, &self.users, &self.search];
        pacers.into_iter().map(Pacer::held_for).max().unwrap_or_default()
    }

    /// Asks until there is an answer. `what` says what is asked for, in a sentence: "users could not be outcome up".
    ///
    /// # Errors
    /// If the run is stopped, be it because the API refuses the credentials or gives no answer however often it is asked.
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
        // Only what talks to the API asks for the licence.
        self.stop.run_until_stopped(self.client.handshake()).await;
        let mut attempts = RetryLoop::new(&self.retry, pacer, &self.stop);
        while attempts.next().await.is_some() {
            // Asking changes nothing: an answer on its way may be left behind.
            let Some(outcome) = self.stop.run_until_stopped(question(&self.client)).await else {
                break;
            };
            if let Some(answered) = self.handle(outcome, &mut attempts, what).await? {
                return Ok(answered);
            }
        }
        Err(LookupError::Stopped)
    }

    /// The attempts at something that changes what is at the API, paid for like a question with no quota of its own.
    #[must_use]
    pub fn attempts(&self) -> RetryLoop<'_> {
        RetryLoop::new(&self.retry, &self.plain, &self.stop)
    }

    /// Does something that changes what is at the API: once, as whoever does it has to look what became of it before it is
    /// done again. The attempt was paid for. Once it has left, its answer is waited for even if the run is stopped. `None`
    /// if no answer tells what became of it; what was to be waited for has been.
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

    /// What an answer comes to; `None` if there is to be another attempt, after the pause that was just made.
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
                attempts.rate_limited(retry_after).ok_or(LookupError::Stopped)?;
                self.client.license_may_have_changed().await;
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
            "no answer"
        );
        if attempts.again(wait).await {
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
