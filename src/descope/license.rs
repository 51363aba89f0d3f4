//! Licensing of requests. A management call that does not name the rate-limit tier of the project is put into
//! the lowest bucket, whatever the plan. So the tier is fetched once and named from then on.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use reqwest::{
    RequestBuilder,
    header::{HeaderName, HeaderValue},
};
use serde::Deserialize;
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::Instant,
};
use tracing::{debug, warn};

use super::{
    LookupOutcome, Refusal,
    error_body::ErrorBody,
    lookup_response,
    status::StatusClass,
    transport::{NoReply, Reply, Transport},
};
use crate::metrics::Purpose;

const LICENSE: &str = "v1/mgmt/license";
const HEADER: HeaderName = HeaderName::from_static("x-descope-license");

/// Timeout for fetching the tier. A missing tier must not delay a run, so requests then name none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Minimum time between two requests for the licence after a 429.
const AFTER_429_EVERY: Duration = Duration::from_secs(60);

/// The licence of the project, and the time of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    /// `tier1` to `tier4`; the limits of a tier are not published.
    pub rate_limit_tier: String,
    /// Time of the response by the clock of the server, in whole seconds.
    pub server_time: Option<SystemTime>,
}

/// Payment for a licence request that the client sends on its own: `false` if the run was stopped first.
pub type PayForLicense = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A transport whose requests name the project's tier.
pub(super) struct Licensing {
    pub(super) transport: Transport,
    tier: Mutex<Option<HeaderValue>>,
    begun: OnceCell<()>,
    /// Time of the last licence request; locked during a request.
    asked_at: AsyncMutex<Option<Instant>>,
    pay: OnceLock<PayForLicense>,
    after_429_every: Duration,
}

impl fmt::Debug for Licensing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Licensing")
            .field("tier", &self.tier())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LicenseAnswer {
    rate_limit_tier: String,
}

impl Licensing {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            tier: Mutex::default(),
            begun: OnceCell::new(),
            asked_at: AsyncMutex::default(),
            pay: OnceLock::new(),
            after_429_every: AFTER_429_EVERY,
        }
    }

    /// Sets the payment for licence requests that the client sends on its own. Only the first call has an
    /// effect.
    pub(super) fn pay_with(&self, pay: PayForLicense) {
        let _ = self.pay.set(pay);
    }

    /// Sends a management call, once.
    pub(super) async fn send(&self, purpose: Purpose, request: RequestBuilder) -> Result<Reply, NoReply> {
        let tier = self.tier();
        let request = match &tier {
            Some(tier) => request.header(HEADER, tier.clone()),
            None => request,
        };
        let reply = self.transport.send(purpose, request).await?;
        // A gateway may reject requests that name a tier which the project no longer has.
        if StatusClass::of(reply.status) == StatusClass::Credentials
            && self.has_another_tier(tier.as_ref()).await
        {
            let refusal = Refusal {
                status: Some(reply.status),
                code: "license_changed".into(),
                text: "the project's rate-limit tier has changed".to_owned(),
            };
            // A response without a code of the service may have been sent after the service processed the
            // request.
            return Err(match ErrorBody::of(reply.body.as_deref()).service_code() {
                Some(_) => NoReply::NotProcessed(refusal),
                None => NoReply::Lost(refusal),
            });
        }
        Ok(reply)
    }

    /// Fetches the licence. All later requests name its tier.
    pub(super) async fn license(&self) -> LookupOutcome<License> {
        self.ask(&mut *self.asked_at.lock().await).await
    }

    /// Fetches the licence before the first request of this process. If that fails, requests name no tier.
    pub(super) async fn handshake(&self) {
        let shake_hands = async {
            if !self.pay().await {
                return;
            }
            let (code, status) = match self.license().await {
                LookupOutcome::Found(license) => {
                    debug!(tier = license.rate_limit_tier, "rate-limit tier of the licence");
                    return;
                }
                LookupOutcome::Absent => ("not_found".into(), Some(404)),
                LookupOutcome::RateLimited { .. } => ("rate_limited".into(), Some(429)),
                LookupOutcome::TryAgain { refusal, .. }
                | LookupOutcome::Refused(refusal)
                | LookupOutcome::Credentials(refusal)
                | LookupOutcome::Endpoint(refusal) => (refusal.code, refusal.status),
            };
            warn!(
                status, code = %code,
                "the API does not report the project's rate-limit tier: requests do not name it and may be put into the lowest bucket"
            );
        };
        self.begun.get_or_init(|| shake_hands).await;
    }

    /// Fetches the licence again after a 429, at most once a minute, because the plan may have changed.
    /// Concurrent callers continue without waiting.
    pub(super) async fn may_have_changed(&self) {
        let Ok(mut asked_at) = self.asked_at.try_lock() else {
            return;
        };
        if asked_at.is_some_and(|at| at.elapsed() < self.after_429_every) {
            return;
        }
        // The time is set even if the run is stopped now, so that no other task tries.
        *asked_at = Some(Instant::now());
        if self.pay().await {
            self.ask(&mut asked_at).await;
        }
    }

    /// Returns true if a request that named this tier, and was answered with 401 or 403, should have named
    /// another one.
    async fn has_another_tier(&self, named: Option<&HeaderValue>) -> bool {
        let refused_at = Instant::now();
        let mut asked_at = self.asked_at.lock().await;
        let is_asked = asked_at.is_some_and(|at| at >= refused_at);
        if self.tier().as_ref() == named && !is_asked && self.pay().await {
            self.ask(&mut asked_at).await;
        }
        self.tier().as_ref() != named
    }

    async fn ask(&self, asked_at: &mut Option<Instant>) -> LookupOutcome<License> {
        let transport = &self.transport;
        let request = transport.http.get(transport.url(LICENSE)).timeout(PATIENCE);
        let reply = transport.send(Purpose::Lookup, request).await;
        *asked_at = Some(Instant::now());
        let server_time = reply.as_ref().ok().and_then(|reply| reply.date);
        let answer = lookup_response::outcome::<LicenseAnswer>(reply, |_| LookupOutcome::Absent);
        let is_a_word =
            |tier: &str| (1..=40).contains(&tier.len()) && tier.bytes().all(|byte| byte.is_ascii_graphic());
        let answer = answer.if_about(|answer| is_a_word(&answer.rate_limit_tier));
        if let LookupOutcome::Found(answer) = &answer
            && let Ok(tier) = HeaderValue::from_str(&answer.rate_limit_tier)
        {
            *self.lock() = Some(tier);
        }
        answer.map(|answer| License {
            rate_limit_tier: answer.rate_limit_tier,
            server_time,
        })
    }

    /// Returns the tier that requests name now.
    fn tier(&self) -> Option<HeaderValue> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        self.tier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pay(&self) -> bool {
        match self.pay.get() {
            Some(pay) => pay().await,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        config::load,
        descope::Client,
        metrics::Meter,
        simulator::{Simulator, SimulatorHandle},
    };

    fn licensing(api: &SimulatorHandle, after_429_every: Duration) -> Licensing {
        let text = format!(
            r#"
            migration = "tests"
            [source]
            url = "postgres://localhost/none"
            table = "t"
            key = "id"
            [source.columns]
            app = "a"
            user_id = "u"
            access_token = "t"
            [api]
            base_url = "{}"
            project_id = "{}"
            management_key = "{}"
            "#,
            api.base_url(),
            api.project_id(),
            api.management_key().reveal()
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let settings = load(file.path(), true).unwrap().settings().unwrap();
        let client = Client::new(&settings.api, Meter::default()).unwrap();
        Licensing {
            after_429_every,
            ..Arc::into_inner(client.licensing).unwrap()
        }
    }

    fn asked(api: &SimulatorHandle) -> usize {
        api.license_requests().all().len()
    }

    #[tokio::test]
    async fn a_429_asks_again_but_not_within_the_minute_and_each_call_is_paid_for() {
        let api = Simulator::builder().start().await.unwrap();
        let licensing = licensing(&api, Duration::from_millis(200));
        let paid = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&paid);
        licensing.pay_with(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { true })
        }));
        tokio::join!(licensing.handshake(), licensing.handshake());
        licensing.handshake().await;
        assert_eq!(asked(&api), 1, "once");
        licensing.may_have_changed().await;
        assert_eq!(asked(&api), 1, "just asked");
        api.set_license("tier4");
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::join!(licensing.may_have_changed(), licensing.may_have_changed());
        assert_eq!(asked(&api), 2);
        assert_eq!(licensing.tier().unwrap(), "tier4");
        assert_eq!(paid.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn of_several_that_are_refused_one_asks() {
        let api = Simulator::builder().start().await.unwrap();
        let licensing = licensing(&api, AFTER_429_EVERY);
        licensing.handshake().await;
        let named = licensing.tier();
        let refused = || licensing.has_another_tier(named.as_ref());
        assert_eq!(tokio::join!(refused(), refused()), (false, false));
        api.set_license("tier2");
        assert_eq!(tokio::join!(refused(), refused()), (true, true));
        assert_eq!(asked(&api), 1 + 1 + 1);
        assert!(
            licensing.has_another_tier(None).await,
            "it named none, and there is one"
        );
        assert_eq!(asked(&api), 3);
    }

    #[tokio::test]
    async fn a_run_that_is_stopped_asks_no_more() {
        let api = Simulator::builder().start().await.unwrap();
        let licensing = licensing(&api, Duration::ZERO);
        licensing.pay_with(Arc::new(|| Box::pin(async { false })));
        licensing.handshake().await;
        licensing.may_have_changed().await;
        assert!(!licensing.has_another_tier(None).await);
        assert_eq!(asked(&api), 0);
    }
}
