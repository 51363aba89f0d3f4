//! Validated settings.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;
use reqwest::header::HeaderValue;
use url::Url;

use super::{
    ConfigError, Loaded, NotifySettings, base_url, notify,
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

/// Everything a run needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the job in the ledger.
    pub migration: String,
    /// Where tokens come from.
    pub source: SourceSettings,
    /// Which legacy app is which outbound app.
    pub apps: AppMap,
    /// Suspicions that are warnings here.
    pub tolerated: RuleSet,
    /// Where the books are kept.
    pub ledger: LedgerSettings,
    /// Where tokens go.
    pub api: ApiSettings,
    /// How they are grouped and sent.
    pub batch: BatchSettings,
    /// When to give up.
    pub stop: StopSettings,
    /// Who is told of it.
    pub notify: Option<NotifySettings>,
    /// Where its figures go.
    pub metrics: MetricsSettings,
    /// Whether it can be watched and steered from a page.
    pub live: LiveSettings,
}

/// What it takes to look at the ledger alone.
#[derive(Debug, Clone)]
pub struct LedgerAccess {
    /// Names the job in the ledger.
    pub migration: String,
    /// Where the books are kept.
    pub ledger: LedgerSettings,
}

/// Legacy app name to outbound app ID.
#[derive(Debug, Clone, Default)]
pub struct AppMap(Option<HashMap<String, String, RandomState>>);

impl AppMap {
    /// A map with these entries; `None` means that names are IDs already.
    #[must_use]
    pub fn new(entries: Option<HashMap<String, String>>) -> Self {
        Self(entries.map(|entries| entries.into_iter().collect()))
    }

    /// Legacy names and app IDs; `None` if names are IDs already.
    #[must_use]
    pub fn entries(&self) -> Option<impl Iterator<Item = (String, String)>> {
        self.0
            .as_ref()
            .map(|entries| entries.iter().map(|(name, id)| (name.clone(), id.clone())))
    }

    /// The same; nothing if names are IDs already.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.iter().flatten();
        entries.map(|(name, id)| (name.as_str(), id.as_str()))
    }

    /// The outbound app of a legacy name for a message: where the map does not know it, the name as it may be repeated.
    #[must_use]
    pub fn resolve_or_quote(&self, name: &str) -> String {
        let known = self.0.as_ref().and_then(|entries| entries.get(name));
        known.map_or_else(|| quotable(name).into_owned(), Clone::clone)
    }

    /// The outbound app of a legacy name; `None` if the map does not know it.
    #[must_use]
    pub fn resolve<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match &self.0 {
            None => Some(name),
            Some(entries) => entries.get(name).map(String::as_str),
        }
    }
}

/// Where the ledger is.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// The database; carries a password.
    pub url: Address,
    /// The schema the tables live in.
    pub schema: String,
    /// Mixed into the fingerprint key, so that a stolen ledger alone does not hold the whole key.
    pub pepper: Option<Secret>,
}

/// Where the API is, who we are there, and how fast we may be.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// https, or http to this machine.
    pub base_url: Url,
    /// The Descope project.
    pub project_id: String,
    /// A management key of the project.
    pub management_key: Secret,
    /// From sending a request to the end of its answer.
    pub timeout: Duration,
    /// To open a connection.
    pub connect_timeout: Duration,
    /// For how long the API may still carry a request out that nobody waits for any more.
    pub settle_grace: Duration,
    /// A token whose access token has expired, or expires within this time, is not fetched unasked.
    pub refresh_margin: RefreshMargin,
    /// The quota every request pays that has none of its own.
    pub rate_limit: RateLimit,
    /// How users are looked up.
    pub lookup: LookupSettings,
    /// What happens after an answer that may be better next time.
    pub retry: RetrySettings,
}

impl ApiSettings {
    /// Where tokens go: by this it is told later whether another command looks for them at the same place.
    #[must_use]
    pub fn target(&self) -> String {
        format!("project {} at {}", self.project_id, self.base_url)
    }
}

/// How users are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupSettings {
    /// The quota of requests about users, `/v1/mgmt/user` and `/v1/mgmt/users`.
    pub users: RateLimit,
    /// The quota of searches for users.
    pub search: RateLimit,
    /// Login IDs or user IDs in one request.
    pub per_request: usize,
    /// Requests in flight.
    pub concurrency: usize,
    /// How long a login ID is taken to be the same user's without asking.
    pub remember: Duration,
}

/// So many requests per so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests.
    pub requests: u32,
    /// The window they are counted in.
    pub per: Duration,
    /// How many may leave at once after a pause.
    pub burst: u32,
}

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Requests for one batch, the first included.
    pub max_attempts: u32,
    /// The first pause.
    pub initial_interval: Duration,
    /// The longest pause of our own choosing.
    pub max_interval: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one stops the run.
    pub max_retry_after: Duration,
}

/// Whether the good tokens of a refused batch go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They do: the refused ones are taken out and the rest is sent again.
    Isolate,
    /// They do not: the whole batch is recorded as failed.
    Reject,
}

/// What to do when it is unknown whether a batch was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Read back tokens whose access token has not expired.
    Ask,
    /// Read back any of its tokens, even if the API refreshes an expired one by that.
    AskExpired,
    /// Send it again.
    Resend,
}

/// How tokens are grouped and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Tokens in a request.
    pub max_tokens: usize,
    /// Bytes of a request's body.
    pub max_bytes: usize,
    /// Batches in flight.
    pub concurrency: usize,
    /// What a refusal means for the rest of its batch.
    pub on_failure: OnFailure,
    /// What to do when the outcome is unknown.
    pub on_unknown: OnUnknown,
    /// Every token goes by itself, and its refresh token is tried at the provider first.
    pub verify_refresh: bool,
}

impl BatchSettings {
    /// How many statements of the ledger a run has at once: one for each batch in flight, and a few beside them.
    #[must_use]
    pub fn ledger_statements(&self) -> u32 {
        u32::try_from(self.concurrency)
            .unwrap_or(u32::MAX)
            .saturating_add(3)
    }
}

/// When going on makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSettings {
    /// Failed batches in a row, without one commit between them.
    pub after_failed_batches: u32,
    /// How long a database may be out of reach.
    pub after_unreachable: Duration,
}

/// Every key there is, dotted. `apps` stands for a table whose keys are free.
#[must_use]
pub fn known_keys() -> Vec<String> {
    key_defaults().into_iter().map(|(key, _)| key).collect()
}

/// Every key, with its default as a person would write it; `None` where it has none.
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

/// The parts of the settings, as far as each can be had.
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

/// Asks for every key; what is wrong or missing is in the reader afterwards.
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
    /// Checks everything.
    ///
    /// # Errors
    /// All problems at once, unknown keys included.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut reader = Reader::new(&self.root);
        let parts = read(&mut reader);
        let problems = reader.finish();
        parts
            .whole()
            .filter(|_| problems.is_empty())
            .ok_or(ConfigError::Invalid(problems))
    }

    /// What the rows of the source are called, without a look at the rest; `None` where that is not configured.
    #[must_use]
    pub fn source_shape(&self) -> Option<SourceShape> {
        source::shape(&mut Reader::new(&self.root))
    }

    /// Checks only what it takes to look at the ledger, so that reports need no API credentials.
    ///
    /// # Errors
    /// All problems with those keys at once.
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
            reader.problem("ledger.url", "names a schema: write it as `ledger.schema`");
        }
        url
    } else {
        source::database_url(reader, "source.url")
    };
    let schema = reader
        .text("ledger.schema")
        .unwrap_or_else(|| "tokenferry".to_owned());
    reader.default("ledger.url", "that of the source");
    reader.default("ledger.schema", "tokenferry");
    // Postgres cuts longer names off, silently.
    if schema.is_empty() || schema.len() > 63 || schema.contains('\0') || schema.starts_with("pg_") {
        reader.problem(
            "ledger.schema",
            "must be a schema's name of at most 63 bytes, not beginning with pg_",
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
    let project_id = reader.required(
        "api.project_id",
        "your Descope project ID, such as \"env:DESCOPE_PROJECT_ID\"",
    );
    let key = reader.required_secret(
        "api.management_key",
        "a Descope management key, such as \"env:DESCOPE_MANAGEMENT_KEY\"",
    );
    for (name, value) in [
        ("api.project_id", project_id.as_deref()),
        ("api.management_key", key.as_ref().map(Secret::reveal)),
    ] {
        if value
            .is_some_and(|value| HeaderValue::from_str(value).is_err() || value.contains(char::is_whitespace))
        {
            reader.problem(
                name,
                "must not hold spaces, line breaks or characters beyond ASCII",
            );
        }
    }
    let configured = reader.text("api.base_url");
    // One with a password is refused, and shown without it.
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
    let lookup = LookupSettings {
        // Nine tenths of what is documented: 500 and 200 in 60 seconds. Other programs of the project share them.
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
        lookup,
        retry,
    })
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

fn batch(reader: &mut Reader<'_>) -> BatchSettings {
    BatchSettings {
        max_tokens: reader.number("batch.max_tokens", 100, 1),
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
        verify_refresh: reader.flag("batch.verify_refresh"),
    }
}

#[cfg(test)]
mod tests;
