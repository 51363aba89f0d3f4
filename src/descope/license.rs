//! The licence handshake. A management call that does not name the project's rate-limit tier is put into the lowest bucket
//! whatever the plan, so the tier is asked for once and named from then on.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::Instant,
};
use tracing::{debug, warn};

use super::{Client, LookupOutcome, lookup_response::ask_bare};

const LICENSE: &str = "v1/mgmt/license";
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-descope-license");

/// The tier is worth a moment, not a run: without an answer by then, calls go without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often 429 leads to the question whether the plan has changed.
const AFTER_429_EVERY: Duration = Duration::from_secs(60);

/// The project's licence, and the server's clock beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    /// `tier1` to `tier4`; what a tier means in numbers is not published.
    pub rate_limit_tier: String,
    /// When the server gave the answer, by its own clock, in whole seconds.
    pub server_time: Option<SystemTime>,
}

/// Pays for a call that the client makes by itself: `false` if the run was stopped first.
pub type RateTier = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// What all clones of a client know of the licence.
pub(super) struct Licensing {
    tier: Mutex<Option<HeaderValue>>,
    begun: OnceCell<()>,
    /// When it was last asked for; held while it is.
    asked_at: AsyncMutex<Option<Instant>>,
    rate_tier: OnceLock<RateTier>,
    after_429_every: Duration,
}

impl Default for Licensing {
    fn default() -> Self {
        Self {
            tier: Mutex::default(),
            begun: OnceCell::new(),
            asked_at: AsyncMutex::default(),
            rate_tier: OnceLock::new(),
            after_429_every: AFTER_429_EVERY,
        }
    }
}

impl fmt::Debug for Licensing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Licensing")
            .field("tier", &self.tier())
            .finish_non_exhaustive()
    }
}

impl Licensing {
    /// What a call names now.
    pub(super) fn tier(&self) -> Option<HeaderValue> {
        self.tier.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, tier: HeaderValue) {
        *self.tier.lock().unwrap_or_else(PoisonError::into_inner) = Some(tier);
    }

    async fn pay(&self) -> bool {
        match self.rate_tier.get() {
            Some(rate_tier) => rate_tier().await,
            None => true,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LicenseAnswer {
    rate_limit_tier: String,
}

impl Client {
    /// From here on, whoever asks for the licence by itself pays like this. The first to say so counts.
    pub fn pay_licenses_with(&self, rate_tier: RateTier) {
        let _ = self.licensing.rate_tier.set(rate_tier);
    }

    /// The licence, asked for now. All later calls name its tier.
    pub async fn license(&self) -> LookupOutcome<License> {
        self.ask_for_license(&mut *self.licensing.asked_at.lock().await)
            .await
    }

    /// Asks for the licence before the first call of this process. Without an answer the calls go without its tier.
    pub async fn handshake(&self) {
        let shake_hands = async {
            if !self.licensing.pay().await {
                return;
            }
            let (code, status) = match self.license().await {
                LookupOutcome::Found(license) => {
                    debug!(tier = license.rate_limit_tier, "the licence's rate-limit tier");
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
                "the API does not tell the project's rate-limit tier: requests go without it, and may be put into the lowest bucket"
            );
        };
        self.licensing.begun.get_or_init(|| shake_hands).await;
    }

    /// The quota was used up: perhaps the plan has changed. Asks again, at most once a minute; whoever else comes meanwhile
    /// goes on.
    pub async fn license_may_have_changed(&self) {
        let Ok(mut asked_at) = self.licensing.asked_at.try_lock() else {
            return;
        };
        let is_recent = |at: Instant| at.elapsed() < self.licensing.after_429_every;
        if asked_at.is_some_and(is_recent) {
            return;
        }
        // Counts even if the run ends before: nobody else has to try.
        *asked_at = Some(Instant::now());
        if self.licensing.pay().await {
            self.ask_for_license(&mut asked_at).await;
        }
    }

    /// A call that named this tier was answered with 401 or 403. Whether it should have named another one.
    pub(super) async fn has_another_tier(&self, named: Option<&HeaderValue>) -> bool {
        let refused_at = Instant::now();
        let mut asked_at = self.licensing.asked_at.lock().await;
        let is_asked = asked_at.is_some_and(|at| at >= refused_at);
        if self.licensing.tier().as_ref() == named && !is_asked && self.licensing.pay().await {
            self.ask_for_license(&mut asked_at).await;
        }
        self.licensing.tier().as_ref() != named
    }

    async fn ask_for_license(&self, asked_at: &mut Option<Instant>) -> LookupOutcome<License> {
        let request = self.http.get(self.url(LICENSE)).timeout(PATIENCE);
        let (looked, server_time) = ask_bare::<LicenseAnswer>(self.lookup(), request).await;
        *asked_at = Some(Instant::now());
        let is_a_word =
            |tier: &str| (1..=40).contains(&tier.len()) && tier.bytes().all(|byte| byte.is_ascii_graphic());
        let looked = looked.if_about(|answer| is_a_word(&answer.rate_limit_tier));
        if let LookupOutcome::Found(answer) = &looked
            && let Ok(tier) = HeaderValue::from_str(&answer.rate_limit_tier)
        {
            self.licensing.remember(tier);
        }
        looked.map(|answer| License {
            rate_limit_tier: answer.rate_limit_tier,
            server_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        config::load,
        metrics::Meter,
        simulator::{Simulator, SimulatorHandle},
    };

    fn client(api: &SimulatorHandle, after_429_every: Duration) -> Client {
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
        let mut client = Client::new(&settings.api, Meter::default()).unwrap();
        client.licensing = Arc::new(Licensing {
            after_429_every,
            ..Licensing::default()
        });
        client
    }

    fn asked(api: &SimulatorHandle) -> usize {
        api.license_requests().all().len()
    }

    #[tokio::test]
    async fn a_429_asks_again_but_not_within_the_minute_and_each_call_is_paid_for() {
        let api = Simulator::builder().start().await.unwrap();
        let client = client(&api, Duration::from_millis(200));
        let paid = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&paid);
        client.pay_licenses_with(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { true })
        }));
        tokio::join!(client.handshake(), client.handshake());
        client.handshake().await;
        assert_eq!(asked(&api), 1, "once");
        client.license_may_have_changed().await;
        assert_eq!(asked(&api), 1, "just asked");
        api.set_license("tier4");
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::join!(
            client.license_may_have_changed(),
            client.license_may_have_changed()
        );
        assert_eq!(asked(&api), 2);
        assert_eq!(client.licensing.tier().unwrap(), "tier4");
        assert_eq!(paid.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn of_several_that_are_refused_one_asks() {
        let api = Simulator::builder().start().await.unwrap();
        let client = client(&api, AFTER_429_EVERY);
        client.handshake().await;
        let named = client.licensing.tier();
        let refused = || client.has_another_tier(named.as_ref());
        assert_eq!(tokio::join!(refused(), refused()), (false, false));
        api.set_license("tier2");
        assert_eq!(tokio::join!(refused(), refused()), (true, true));
        assert_eq!(asked(&api), 1 + 1 + 1);
        assert!(
            client.has_another_tier(None).await,
            "it named none, and there is one"
        );
        assert_eq!(asked(&api), 3);
    }

    #[tokio::test]
    async fn a_run_that_is_stopped_asks_no_more() {
        let api = Simulator::builder().start().await.unwrap();
        let client = client(&api, Duration::ZERO);
        client.pay_licenses_with(Arc::new(|| Box::pin(async { false })));
        client.handshake().await;
        client.license_may_have_changed().await;
        assert!(!client.has_another_tier(None).await);
        assert_eq!(asked(&api), 0);
    }
}
