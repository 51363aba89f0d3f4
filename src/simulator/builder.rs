//! Builder: configures and starts a simulator.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rand::distr::{Alphanumeric, SampleString};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    secret::Secret,
    simulator::{
        api::{Api, Shared},
        auth::Credentials,
        buckets::{Bucket, Buckets},
        directory::{App, Directory, User},
        disconnect::{Connection, DisconnectListener},
        faults::{FaultRates, Faults},
        handle::SimulatorHandle,
        license::License,
        limits::RateLimit,
        log::RequestLog,
        routes::router,
        rules::Rules,
        store::Store,
    },
};

/// A simulator that is not started yet.
#[derive(Debug, Clone)]
pub struct Simulator {
    listen: SocketAddr,
    project_id: String,
    management_key: Secret,
    rules: Rules,
    license: License,
    directory: Directory,
    limits: Buckets,
    faults: FaultRates,
    seed: u64,
}

impl Simulator {
    /// A simulator on a free port of the loopback address, with made-up credentials, that knows every app,
    /// user and tenant and never fails.
    #[must_use]
    pub fn builder() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            // Shorter than 32 characters, from which a client would read a region.
            project_id: format!("P{}", random_text(26)),
            management_key: Secret::new(format!("K{}", random_text(40))),
            rules: Rules::default(),
            license: License::default(),
            directory: Directory::default(),
            limits: Buckets::default(),
            faults: FaultRates::default(),
            seed: 0,
        }
    }

    /// Listens on this address; port 0 takes a free one.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// The project ID that clients must send.
    #[must_use]
    pub fn project_id(self, project_id: impl Into<String>) -> Self {
        Self {
            project_id: project_id.into(),
            ..self
        }
    }

    /// The management key that clients must send.
    #[must_use]
    pub fn management_key(self, management_key: Secret) -> Self {
        Self {
            management_key,
            ..self
        }
    }

    /// Changes some of the rules.
    #[must_use]
    pub fn rule(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    /// Sets all the rules at once.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The outbound apps that exist, in place of every one.
    #[must_use]
    pub fn apps<A: Into<App>>(mut self, apps: impl IntoIterator<Item = A>) -> Self {
        self.directory.set_apps(apps);
        self
    }

    /// The users that exist, in place of every one.
    #[must_use]
    pub fn users<U: Into<User>>(mut self, users: impl IntoIterator<Item = U>) -> Self {
        self.directory.set_users(users);
        self
    }

    /// The tenants that exist, in place of every one.
    #[must_use]
    pub fn tenants<T: Into<String>>(mut self, tenants: impl IntoIterator<Item = T>) -> Self {
        self.directory.set_tenants(tenants);
        self
    }

    /// See [`Rules::refused_users`].
    #[must_use]
    pub fn refused_users<I: Into<String>>(self, users: impl IntoIterator<Item = I>) -> Self {
        self.rule(|rules| rules.refused_users = users.into_iter().map(Into::into).collect())
    }

    /// Limits the rate of requests that have no limit of their own.
    #[must_use]
    pub fn rate_limit(self, limit: RateLimit) -> Self {
        self.limit(Bucket::Plain, Some(limit))
    }

    /// Limits the rate of one kind of request; `None` removes the limit.
    #[must_use]
    pub fn limit(mut self, bucket: Bucket, limit: Option<RateLimit>) -> Self {
        self.limits.set_limit(bucket, limit);
        self
    }

    /// The rate-limit tier of the project's licence, in place of `tier1`. Requests that name none or a wrong
    /// one are put into the lowest, `tier1`.
    #[must_use]
    pub fn license(mut self, tier: impl Into<String>) -> Self {
        self.license.tier = tier.into();
        self
    }

    /// Refuses requests that name a wrong tier with 403, in place of putting them into the lowest.
    #[must_use]
    pub fn refuse_wrong_license(mut self) -> Self {
        self.license.refuse_wrong = true;
        self
    }

    /// Limits the rate of all requests of a tier together. Without it there is no such limit.
    #[must_use]
    pub fn tier_limit(mut self, tier: &str, limit: RateLimit) -> Self {
        self.limits.set_tier_limit(tier, Some(limit));
        self
    }

    /// Sets the random faults.
    #[must_use]
    pub fn faults(self, faults: FaultRates) -> Self {
        Self { faults, ..self }
    }

    /// Makes random faults repeatable if requests come in the same order.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Starts to serve, in a task of its own.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start(self) -> io::Result<SimulatorHandle> {
        let listener = TcpListener::bind(self.listen).await?;
        let base_url = format!("http://{}", reachable(listener.local_addr()?));
        let stop = CancellationToken::new();
        let api = Arc::new(Api {
            credentials: Credentials::new(&self.project_id, &self.management_key),
            rules: Shared::new(self.rules),
            license: Shared::new(self.license),
            directory: Shared::new(self.directory),
            store: Shared::new(Store::default()),
            limiter: Shared::new(self.limits),
            faults: Shared::new(Faults::new(self.faults, self.seed)),
            log: Shared::new(RequestLog::default()),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        let service = router(Arc::clone(&api)).into_make_service_with_connect_info::<Connection>();
        let server =
            axum::serve(DisconnectListener(listener), service).with_graceful_shutdown(stop.cancelled_owned());
        let server = tokio::spawn(server.into_future());
        Ok(SimulatorHandle::new(
            api,
            server,
            base_url,
            self.project_id,
            self.management_key,
        ))
    }
}

/// An address for clients: one that listens everywhere is reached over the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

fn random_text(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
