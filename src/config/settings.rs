//! Validated settings.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;
use reqwest::header::HeaderValue;
use url::Url;

use super::{
    ConfigError, Loaded, NotifySettings, Problem, base_url,
    load::variable,
    mistakes, notify,
    reader::{Reader, Visibility},
    rules,
    source::{self, SourceSettings, SourceShape},
    watch::{self, LiveSettings, MetricsSettings},
};
use crate::{
    domain::{RefreshMargin, RuleSet, quotable},
    postgres::Address,
    secret::Secret,
};

/// All settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the migration in the ledger.
    pub migration: String,
    /// The source of the tokens.
    pub source: SourceSettings,
    /// The map from legacy apps to outbound apps.
    pub apps: AppMap,
    /// The rules that are downgraded to warnings.
    pub tolerated: RuleSet,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// The API.
    pub api: ApiSettings,
    /// Settings for building and sending batches.
    pub batch: BatchSettings,
    /// The conditions to give up.
    pub stop: StopSettings,
    /// The hook.
    pub notify: Option<NotifySettings>,
    /// The metrics.
    pub metrics: MetricsSettings,
    /// The live page.
    pub live: LiveSettings,
}

/// The settings needed to read the ledger.
#[derive(Debug, Clone)]
pub struct LedgerAccess {
    /// The name of the migration in the ledger.
    pub migration: String,
    /// The ledger.
    pub ledger: LedgerSettings,
}

/// The map from legacy app names to outbound app IDs.
#[derive(Debug, Clone, Default)]
pub struct AppMap(Option<HashMap<String, String, RandomState>>);

impl AppMap {
    /// Builds a map; `None` means that names are already IDs.
    #[must_use]
    pub fn new(entries: Option<HashMap<String, String>>) -> Self {
        Self(entries.map(|entries| entries.into_iter().collect()))
    }

    /// Returns the legacy names and app IDs; `None` if names are already IDs.
    #[must_use]
    pub fn entries(&self) -> Option<impl Iterator<Item = (String, String)>> {
        self.0
            .as_ref()
            .map(|entries| entries.iter().map(|(name, id)| (name.clone(), id.clone())))
    }

    /// Iterates over the entries; empty if names are already IDs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.iter().flatten();
        entries.map(|(name, id)| (name.as_str(), id.as_str()))
    }

    /// Returns the outbound app of a legacy name for a message; for an unknown name, the name as it may be
    /// repeated.
    #[must_use]
    pub fn resolve_or_quote(&self, name: &str) -> String {
        let known = self.0.as_ref().and_then(|entries| entries.get(name));
        known.map_or_else(|| quotable(name).into_owned(), Clone::clone)
    }

    /// Returns the outbound app of a legacy name; `None` if it is not mapped.
    #[must_use]
    pub fn resolve<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match &self.0 {
            None => Some(name),
            Some(entries) => entries.get(name).map(String::as_str),
        }
    }
}

/// The ledger's address.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// The database URL, which contains a password.
    pub url: Address,
    /// The schema of the tables.
    pub schema: String,
    /// A part of the fingerprint key, so that a stolen ledger does not contain the whole key.
    pub pepper: Option<Secret>,
}

/// The address, credentials and limits of the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// An https URL, or http to this machine.
    pub base_url: Url,
    /// The Descope project.
    pub project_id: String,
    /// A management key of the project.
    pub management_key: Secret,
    /// The time from sending a request to the end of its response.
    pub timeout: Duration,
    /// The time to open a connection.
    pub connect_timeout: Duration,
    /// The time for which the API may still carry out a request after a timeout.
    pub settle_grace: Duration,
    /// A token is not fetched unasked if its access token has expired or expires within this time.
    pub refresh_margin: RefreshMargin,
    /// The quota of every request without a quota of its own.
    pub rate_limit: RateLimit,
    /// The use of the quotas by several processes.
    pub sharing: SharingSettings,
    /// Settings for looking users up.
    pub lookup: LookupSettings,
    /// Settings for retries.
    pub retry: RetrySettings,
}

impl ApiSettings {
    /// Returns the target of the tokens, as the ledger records it to compare with later commands.
    #[must_use]
    pub fn target(&self) -> String {
        format!("project {} at {}", self.project_id, self.base_url)
    }
}

/// Settings for looking users up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupSettings {
    /// The quota of queries about users, `/v1/mgmt/user` and `/v1/mgmt/users`.
    pub users: RateLimit,
    /// The quota of searches for users.
    pub search: RateLimit,
    /// The login IDs or user IDs per request.
    pub per_request: usize,
    /// The requests in flight at once.
    pub concurrency: usize,
    /// The time for which a resolved login ID is remembered.
    pub remember: Duration,
}

/// The use of quotas by several processes, and the search for a higher one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharingSettings {
    /// All processes with this ledger share one quota.
    pub enabled: bool,
    /// The name of the address from which requests leave: the API counts plain requests by address.
    pub egress: String,
    /// The most plain requests per window, to which their rate is raised once.
    pub ceiling: Option<u32>,
}

/// A quota: requests per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The requests.
    pub requests: u32,
    /// The window.
    pub per: Duration,
    /// The requests that may be sent at once after a pause.
    pub burst: u32,
}

impl RateLimit {
    /// Returns this part of the quota, but at least one request.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is clamped to what fits"
    )]
    pub fn scaled(self, part: f64) -> Self {
        // A product such as 79.999… stands for 80.
        let requests = (f64::from(self.requests) * part + 1e-6).clamp(1.0, f64::from(u32::MAX)) as u32;
        Self {
            requests,
            burst: self.burst.min(requests),
            ..self
        }
    }
}

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Requests per batch, the first included.
    pub max_attempts: u32,
    /// The first delay.
    pub initial_interval: Duration,
    /// The longest delay unless the API asks for more.
    pub max_interval: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one stops the run.
    pub max_retry_after: Duration,
}

/// The treatment of the valid tokens in a rejected batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The rejected tokens are removed and the rest is sent again.
    Isolate,
    /// The whole batch is recorded as failed.
    Reject,
}

/// The action if it is unknown whether a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Read back tokens whose access token has not expired.
    Ask,
    /// Read back any token, even if the API refreshes an expired one.
    AskExpired,
    /// Send it again.
    Resend,
}

/// Settings for building and sending batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Tokens per request, at first.
    pub max_tokens: usize,
    /// Tokens per request, up to which batches grow while the API accepts them.
    pub grow_to: usize,
    /// Bytes per request body.
    pub max_bytes: usize,
    /// Batches in flight.
    pub concurrency: usize,
    /// The treatment of the rest of a rejected batch.
    pub on_failure: OnFailure,
    /// The action if the outcome is unknown.
    pub on_unknown: OnUnknown,
    /// Each token is sent by itself, and its refresh token is tried at the provider first.
    pub verify_refresh: bool,
}

impl BatchSettings {
    /// Returns the most tokens per request. Batches do not grow if one bad token would fail all of them, or
    /// if their last token could not be read back.
    #[must_use]
    pub fn growth_limit(&self) -> usize {
        let grows = self.on_failure == OnFailure::Isolate && self.on_unknown != OnUnknown::Resend;
        if grows { self.grow_to } else { self.max_tokens }
    }

    /// Returns the number of concurrent ledger statements of a run: one per batch in flight, and a few more.
    #[must_use]
    pub fn ledger_statements(&self) -> u32 {
        u32::try_from(self.concurrency)
            .unwrap_or(u32::MAX)
            .saturating_add(3)
    }
}

/// The conditions to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSettings {
    /// Failed batches in a row without a commit between them.
    pub after_failed_batches: u32,
    /// The time for which a database may be unreachable.
    pub after_unreachable: Duration,
}

/// Returns every key, dotted. `apps` stands for a table with free keys.
#[must_use]
pub fn known_keys() -> Vec<String> {
    key_defaults().into_iter().map(|(key, _)| key).collect()
}

/// Returns every key with its default as a user would write it; `None` if it has none.
#[must_use]
pub fn key_defaults() -> Vec<(String, Option<String>)> {
    let nothing = HashMap::new();
    let mut reader = Reader::new(&nothing);
    read(&mut reader);
    let keys = reader
        .asked()
        .iter()
        .map(|asked| (asked.key.clone(), asked.default.clone()));
    keys.collect()
}

/// The parts of the settings; each is present if it is valid.
pub(super) struct Parts {
    pub(super) source: Option<SourceSettings>,
    pub(super) apps: AppMap,
    pub(super) tolerated: RuleSet,
    pub(super) access: Option<LedgerAccess>,
    pub(super) api: Option<ApiSettings>,
    pub(super) batch: BatchSettings,
    stop: StopSettings,
    pub(super) notify: Option<NotifySettings>,
    metrics: MetricsSettings,
    live: LiveSettings,
}

impl Parts {
    fn whole(self) -> Option<Settings> {
        let access = self.access?;
        Some(Settings {
            migration: access.migration,
            source: self.source?,
            apps: self.apps,
            tolerated: self.tolerated,
            ledger: access.ledger,
            api: self.api?,
            batch: self.batch,
            stop: self.stop,
            notify: self.notify,
            metrics: self.metrics,
            live: self.live,
        })
    }
}

/// Reads every key; the problems are in the reader afterwards.
pub(super) fn read(reader: &mut Reader<'_>) -> Parts {
    let access = ledger_access(reader);
    let source = source::read(reader);
    let apps = reader.entries("apps");
    reader.default("apps", "names are app IDs");
    Parts {
        source,
        apps: AppMap(apps.map(|entries| entries.into_iter().collect())),
        tolerated: rules::tolerated(reader),
        access,
        api: api(reader),
        batch: batch(reader),
        stop: StopSettings {
            after_failed_batches: reader.number("stop.after_failed_batches", 10, 1),
            after_unreachable: reader.duration("stop.after_unreachable", Duration::from_secs(300)),
        },
        notify: notify::read(reader),
        metrics: watch::metrics(reader),
        live: watch::live(reader),
    }
}

impl Loaded {
    /// Validates all settings.
    ///
    /// # Errors
    /// Returns all problems at once, unknown keys included.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut reader = Reader::new(&self.root);
        let parts = read(&mut reader);
        let mut problems = self.variables_without_effect(&reader);
        problems.extend(reader.finish());
        parts
            .whole()
            .filter(|_| problems.is_empty())
            .ok_or(ConfigError::Invalid(problems))
    }

    /// Returns problems of variables that were meant to override a key.
    pub(super) fn variables_without_effect(&self, reader: &Reader<'_>) -> Vec<Problem> {
        let names = reader.asked().iter().map(|asked| variable(&asked.key));
        mistakes::without_effect(&self.single_underscores, names)
    }

    /// Returns the names of the source's table and columns without validating the rest; `None` if they are
    /// not configured.
    #[must_use]
    pub fn source_shape(&self) -> Option<SourceShape> {
        source::shape(&mut Reader::new(&self.root))
    }

    /// Validates only the settings needed to read the ledger, so that reports need no API credentials.
    ///
    /// # Errors
    /// Returns all problems with those keys at once.
    pub fn ledger_access(&self) -> Result<LedgerAccess, ConfigError> {
        let mut reader = Reader::new(&self.root);
        let access = ledger_access(&mut reader);
        let problems = reader.finish_partial();
        access
            .filter(|_| problems.is_empty())
            .ok_or(ConfigError::Invalid(problems))
    }
}

fn ledger_access(reader: &mut Reader<'_>) -> Option<LedgerAccess> {
    let migration = reader.required("migration", "a name for this job, such as \"crm-tokens\"");
    let url = if reader.value("ledger.url").is_some() {
        let url = source::database_url(reader, "ledger.url");
        if url.as_ref().is_some_and(|url| url.schemas().is_some()) {
            reader.problem(
                "ledger.url",
                "must not name a schema: set `ledger.schema` instead",
            );
        }
        url
    } else {
        source::database_url(reader, "source.url")
    };
    let schema = reader
        .text("ledger.schema")
        .unwrap_or_else(|| "tokenferry".to_owned());
    reader.default("ledger.url", "the source's URL");
    reader.default("ledger.schema", "tokenferry");
    // Postgres truncates longer names silently.
    if schema.is_empty() || schema.len() > 63 || schema.contains('\0') || schema.starts_with("pg_") {
        reader.problem(
            "ledger.schema",
            "must be a schema name of at most 63 bytes that does not begin with pg_",
        );
    }
    let pepper = reader.secret("ledger.pepper");
    Some(LedgerAccess {
        migration: migration?,
        ledger: LedgerSettings {
            url: url?,
            schema,
            pepper,
        },
    })
}

fn api(reader: &mut Reader<'_>) -> Option<ApiSettings> {
    let (project_id, key) = credentials(reader);
    let configured = reader.text("api.base_url");
    // A URL with a password is rejected, and shown without it.
    if configured.is_some() {
        reader.show("api.base_url", Visibility::Address);
    }
    let by_project = project_id.as_deref().map(base_url::for_project);
    if let Some(url) = &by_project {
        reader.default("api.base_url", url);
    }
    let base_url = configured.or(by_project).map(|text| base_url::check(&text));
    let base_url = match base_url {
        Some(Ok(url)) => Some(url),
        Some(Err(must)) => {
            reader.problem("api.base_url", must);
            None
        }
        None => None,
    };
    let timeout = reader.duration("api.timeout", Duration::from_secs(30));
    let connect_timeout = reader.duration("api.connect_timeout", Duration::from_secs(10));
    let settle_grace = reader.duration("api.settle_grace", timeout);
    let refresh_margin = RefreshMargin::new(reader.duration("api.refresh_margin", Duration::from_mins(10)));
    let rate_limit = rate_limit(reader, "api.rate_limit", 100);
    let sharing = sharing(reader, rate_limit);
    let lookup = LookupSettings {
        // Nine tenths of the documented limits of 500 and 200 in 60 seconds: other programs of the project
        // share them.
        users: self::rate_limit(reader, "api.lookup.users", 450),
        search: self::rate_limit(reader, "api.lookup.search", 180),
        per_request: reader.number("api.lookup.per_request", 100, 1),
        concurrency: reader.number("api.lookup.concurrency", 4, 1),
        remember: reader.duration("api.lookup.remember", Duration::from_secs(7 * 86_400)),
    };
    let retry = RetrySettings {
        max_attempts: reader.number("api.retry.max_attempts", 8, 1),
        initial_interval: reader.duration("api.retry.initial_interval", Duration::from_millis(500)),
        max_interval: reader.duration("api.retry.max_interval", Duration::from_secs(30)),
        max_retry_after: reader.duration("api.retry.max_retry_after", Duration::from_secs(900)),
    };
    if retry.max_interval < retry.initial_interval {
        reader.problem(
            "api.retry.max_interval",
            "must be at least `api.retry.initial_interval`",
        );
    }
    Some(ApiSettings {
        base_url: base_url?,
        project_id: project_id?,
        management_key: key?,
        timeout,
        connect_timeout,
        settle_grace,
        refresh_margin,
        rate_limit,
        sharing,
        lookup,
        retry,
    })
}

/// Reads project ID and management key. White space around them is cut off: it ends files, and is part of
/// neither.
fn credentials(reader: &mut Reader<'_>) -> (Option<String>, Option<Secret>) {
    const PROJECT: &str = "api.project_id";
    const KEY: &str = "api.management_key";
    let before = reader.problem_count();
    let project_id = reader
        .required(
            PROJECT,
            "your Descope project ID, such as \"env:DESCOPE_PROJECT_ID\"",
        )
        .map(|id| id.trim().to_owned());
    let key = reader
        .required_secret(
            KEY,
            "a Descope management key, such as \"env:DESCOPE_MANAGEMENT_KEY\"",
        )
        .map(|key| Secret::new(key.reveal().trim()));
    let (id, secret) = (project_id.as_deref(), key.as_ref().map(Secret::reveal));
    for (name, value) in [(PROJECT, id), (KEY, secret)] {
        if value
            .is_some_and(|value| HeaderValue::from_str(value).is_err() || value.contains(char::is_whitespace))
        {
            reader.problem(
                name,
                "must not contain spaces, line breaks or non-ASCII characters",
            );
        }
    }
    if id.is_some_and(mistakes::looks_like_a_key) {
        reader.show(PROJECT, Visibility::Hidden);
    }
    if let (Some(id), Some(secret)) = (id, secret)
        && mistakes::are_exchanged(id, secret)
    {
        reader.problem(
            PROJECT,
            format!("begins as a management key does, and `{KEY}` as a project ID: exchange the two"),
        );
    }
    if reader.problem_count() > before {
        return (None, None);
    }
    (project_id, key)
}

fn rate_limit(reader: &mut Reader<'_>, section: &str, requests: u32) -> RateLimit {
    let limit = RateLimit {
        requests: reader.number(&format!("{section}.requests"), requests, 1),
        per: reader.duration(&format!("{section}.per"), Duration::from_secs(60)),
        burst: reader.number(&format!("{section}.burst"), 1, 1),
    };
    if limit.burst > limit.requests {
        reader.problem(
            format!("{section}.burst"),
            format!("must be at most `{section}.requests`"),
        );
    }
    limit
}

fn sharing(reader: &mut Reader<'_>, rate_limit: RateLimit) -> SharingSettings {
    const CEILING: &str = "api.rate_limit.ceiling";
    let enabled = reader.flag("api.rate_limit.share", true);
    let egress = reader.text("api.rate_limit.egress").unwrap_or_default();
    let ceiling = reader
        .value(CEILING)
        .is_some()
        .then(|| reader.number(CEILING, rate_limit.requests, 1));
    if ceiling.is_some_and(|ceiling| ceiling < rate_limit.requests) {
        reader.problem(CEILING, "must be at least `api.rate_limit.requests`");
    }
    if ceiling.is_some() && !enabled {
        reader.problem(
            CEILING,
            "needs `api.rate_limit.share`: what is found is kept in the ledger",
        );
    }
    SharingSettings {
        enabled,
        egress,
        ceiling,
    }
}

fn batch(reader: &mut Reader<'_>) -> BatchSettings {
    let max_tokens = reader.number("batch.max_tokens", 100, 1);
    let grow_to = reader.number("batch.grow_to", max_tokens.max(2000), 1);
    if grow_to < max_tokens {
        reader.problem("batch.grow_to", "must be at least `batch.max_tokens`");
    }
    BatchSettings {
        max_tokens,
        grow_to,
        max_bytes: reader.size("batch.max_bytes", 1 << 20, 1024),
        concurrency: reader.number("batch.concurrency", 4, 1),
        on_failure: reader.word(
            "batch.on_failure",
            [("isolate", OnFailure::Isolate), ("reject", OnFailure::Reject)],
        ),
        on_unknown: reader.word(
            "batch.on_unknown",
            [
                ("ask", OnUnknown::Ask),
                ("ask_expired", OnUnknown::AskExpired),
                ("resend", OnUnknown::Resend),
            ],
        ),
        verify_refresh: reader.flag("batch.verify_refresh", false),
    }
}

#[cfg(test)]
mod tests;
