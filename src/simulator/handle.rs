//! A running simulator: its tokens, its log, and its next faults.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::DropGuard;

use crate::{
    secret::Secret,
    simulator::{
        api::Api,
        buckets::Bucket,
        destination::{Destination, Wanted},
        directory::Directory,
        faults::{Call, Fault, FaultRates},
        license,
        limits::RateLimit,
        log::RequestLog,
        rules::{Rules, WithoutTenant},
        stored_token::StoredToken,
    },
};

/// The time that a client has to finish its current request when the simulator ends.
const GRACE: Duration = Duration::from_secs(3);

/// A running simulator. Dropping it ends it.
#[derive(Debug)]
pub struct SimulatorHandle {
    api: Arc<Api>,
    server: JoinHandle<io::Result<()>>,
    base_url: String,
    project_id: String,
    management_key: Secret,
    _stop_on_drop: DropGuard,
}

impl SimulatorHandle {
    pub(super) fn new(
        api: Arc<Api>,
        server: JoinHandle<io::Result<()>>,
        base_url: String,
        project_id: String,
        management_key: Secret,
    ) -> Self {
        let stop_on_drop = api.stop.clone().drop_guard();
        Self {
            api,
            server,
            base_url,
            project_id,
            management_key,
            _stop_on_drop: stop_on_drop,
        }
    }

    /// Returns the base URL, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The project ID that it accepts.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The management key that it accepts.
    #[must_use]
    pub fn management_key(&self) -> &Secret {
        &self.management_key
    }

    /// Every committed token in the order of creation.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredToken> {
        self.api.store.lock().all()
    }

    /// Counts committed tokens.
    #[must_use]
    pub fn stored_count(&self) -> usize {
        self.api.store.lock().len()
    }

    /// The last created token of an app and owner; tenant, external identifier and scopes select where they
    /// are given. Never refreshes it, as a fetch may.
    #[must_use]
    pub fn latest(&self, destination: &Destination) -> Option<StoredToken> {
        let scopes = &destination.scopes;
        let wanted = Wanted {
            destination: destination.clone(),
            scopes: (!scopes.is_empty()).then(|| scopes.clone()),
            without_tenant: WithoutTenant::NewestOfAll,
        };
        self.api.store.lock().latest(&wanted).cloned()
    }

    /// Changes what is stored behind the API's back; counts no write.
    pub fn alter_stored(&self, change: impl FnOnce(&mut Vec<StoredToken>)) {
        let mut store = self.api.store.lock();
        let mut tokens = store.all();
        change(&mut tokens);
        store.set_all(tokens);
    }

    /// Counts commits by destination.
    #[must_use]
    pub fn writes(&self) -> BTreeMap<Destination, u64> {
        self.api.store.lock().writes().clone()
    }

    /// Counts, by destination, the attempts to verify a refresh token at its provider.
    #[must_use]
    pub fn verifies(&self) -> BTreeMap<Destination, u64> {
        self.api.store.lock().verifies().clone()
    }

    /// Counts, by destination, the refreshes that fetches asked a provider for, failed ones included.
    #[must_use]
    pub fn refreshes(&self) -> BTreeMap<Destination, u64> {
        self.api.store.lock().refreshes().clone()
    }

    /// The requests so far, but for those for the licence, with which every client begins.
    #[must_use]
    pub fn requests(&self) -> RequestLog {
        self.api.log.lock().only(license::PATH, false)
    }

    /// The requests for the licence so far.
    #[must_use]
    pub fn license_requests(&self) -> RequestLog {
        self.api.log.lock().only(license::PATH, true)
    }

    /// The rate-limit tier of the project's licence from now on.
    pub fn set_license(&self, tier: impl Into<String>) {
        self.api.license.lock().tier = tier.into();
    }

    /// The rate limit of all requests together under one tier, from now on.
    pub fn set_tier_limit(&self, tier: &str, limit: Option<RateLimit>) {
        self.api.limiter.lock().set_tier_limit(tier, limit);
    }

    /// Counts requests that were answered with 429.
    #[must_use]
    pub fn rate_limited(&self) -> u64 {
        self.api.limiter.lock().refused()
    }

    /// Appends faults for the next uploads, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.extend_script(Call::Upload, faults);
    }

    /// Appends faults for the next calls that read tokens back.
    pub fn script_reads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.extend_script(Call::Read, faults);
    }

    /// Appends faults for the next lookups of users, apps or tenants.
    pub fn script_lookups(&self, faults: impl IntoIterator<Item = Fault>) {
        self.extend_script(Call::Lookup, faults);
    }

    /// Appends faults for the next deletions.
    pub fn script_deletes(&self, faults: impl IntoIterator<Item = Fault>) {
        self.extend_script(Call::Delete, faults);
    }

    /// Appends faults for the next licence calls.
    pub fn script_licenses(&self, faults: impl IntoIterator<Item = Fault>) {
        self.extend_script(Call::License, faults);
    }

    /// Removes all scripted faults.
    pub fn clear_scripts(&self) {
        self.api.faults.lock().scripts.clear();
    }

    /// Counts scripted faults that were not used yet.
    #[must_use]
    pub fn scripted(&self) -> usize {
        self.api.faults.lock().scripts.values().map(VecDeque::len).sum()
    }

    fn extend_script(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.api
            .faults
            .lock()
            .scripts
            .entry(call)
            .or_default()
            .extend(faults);
    }

    /// Changes the random faults.
    pub fn set_faults(&self, rates: FaultRates) {
        self.api.faults.lock().rates = rates;
    }

    /// The rate limit of requests that have none of their own, from now on.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        self.set_limit(Bucket::Plain, limit);
    }

    /// The rate limit of one kind of request from now on.
    pub fn set_limit(&self, bucket: Bucket, limit: Option<RateLimit>) {
        self.api.limiter.lock().set_limit(bucket, limit);
    }

    /// The users whose tokens are refused from now on.
    pub fn set_refused_users<I: Into<String>>(&self, users: impl IntoIterator<Item = I>) {
        self.change_rules(|rules| rules.refused_users = users.into_iter().map(Into::into).collect());
    }

    /// Changes which apps, users and tenants exist from now on.
    pub fn change_directory(&self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.api.directory.lock());
    }

    /// Changes how requests are judged from now on.
    pub fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.api.rules.lock());
    }

    /// Ends it: no new connection is accepted, and answers that are still held back are cut.
    pub async fn shutdown(mut self) {
        self.api.stop.cancel();
        self.api.tasks.close();
        self.api.tasks.wait().await;
        if timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}
