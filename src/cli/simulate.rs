//! `simulate`: the stand-in API, for rehearsals and for tests with an official SDK.

use std::{
    env, fs,
    io::{self, Write},
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    secret::Secret,
    simulator::{
        App, Bucket, ExpiryFormat, FaultRates, ParseRateLimitError, RateLimit, Rules, Simulator,
        SimulatorHandle, User, WithoutTenant,
    },
};

const PROJECT_ID: &str = "DESCOPE_PROJECT_ID";
const MANAGEMENT_KEY: &str = "DESCOPE_MANAGEMENT_KEY";

/// Run a stand-in for the Descope API: strict like the real one, with faults on demand
///
/// Takes the credentials from DESCOPE_PROJECT_ID and DESCOPE_MANAGEMENT_KEY; generates and prints what is not
/// set. Prints the variables that point a client at it. Keeps tokens in memory until it ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, in one shell, and then in another one with what it prints:\n  \
      tokenferry simulate --rate-limit 100/60s --error-rate 0.02\n  \
      export DESCOPE_PROJECT_ID=… DESCOPE_MANAGEMENT_KEY=…\n  \
      TOKENFERRY__API__BASE_URL=http://127.0.0.1:4000 TOKENFERRY__LEDGER__SCHEMA=rehearsal tokenferry migrate\n\n\
    Ends with 0 after Ctrl-C, 1 if it cannot listen, 2 if an option is wrong."
)]
#[expect(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "a terminal shows this text as it is"
)]
pub struct SimulateArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,

    /// JSON file of what exists: {"apps": [{"id", "appType"}], "users": [{"userId", "loginIds": [], "email",
    /// "status", "providerTokens": {"google": {"accessToken", "refreshToken", "expiration", "scopes": []}}}],
    /// "tenants": ["id"]}; if a list is missing, everything of its kind exists
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,

    /// Outbound apps that exist, of type oauth unless a type is given [default: all]
    #[arg(long, value_name = "ID[:TYPE],…", value_delimiter = ',')]
    apps: Option<Vec<String>>,

    /// Users that exist [default: all]
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    users: Option<Vec<String>>,

    /// Tenants that exist [default: all]
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    tenants: Option<Vec<String>>,

    /// Users whose tokens are rejected, with E112102
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    refuse_users: Vec<String>,

    /// Reject refresh tokens with this prefix, with E152110, when a single upload asks to verify them
    #[arg(long, value_name = "PREFIX")]
    dead_refresh: Option<String>,

    /// Issue a new refresh token at each refresh and invalidate the previous one; fetching an expired token
    /// refreshes it
    #[arg(long)]
    rotate_refresh_tokens: bool,

    /// Fail every refresh with this error
    #[arg(long, value_name = "TEXT")]
    refresh_error: Option<String>,

    /// Format of the expiry of a fetched token
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ExpiryForm::Text)]
    expiry_format: ExpiryForm,

    /// Let a fetch without a tenant find only the user's token without a tenant, not the newest of all
    #[arg(long)]
    tenant_strict: bool,

    /// Respond with 429 to requests above this rate, for example 100/60s
    #[arg(long, value_name = "REQUESTS/DURATION")]
    rate_limit: Option<RateLimit>,

    /// The same for requests about users
    #[arg(long, value_name = "REQUESTS/DURATION", default_value = "500/60s")]
    users_rate_limit: RateLimit,

    /// The same for searches for users
    #[arg(long, value_name = "REQUESTS/DURATION", default_value = "200/60s")]
    search_rate_limit: RateLimit,

    /// Rate-limit tier of the licence; requests that name none or a wrong one are put into tier1
    #[arg(long, value_name = "TIER", default_value = "tier1")]
    license: String,

    /// Rate limit per tier, for requests of all kinds together, for example tier1=100/60s,tier3=1000/60s
    #[arg(long, value_name = "TIER=REQUESTS/DURATION,…", value_delimiter = ',', value_parser = parse_tier_limit)]
    tier_limit: Vec<(String, RateLimit)>,

    /// Reject requests that name a wrong tier, with 403
    #[arg(long)]
    refuse_wrong_license: bool,

    /// Latency of every response: 50ms, or a random one of a range, 20ms..200ms
    #[arg(long, value_name = "DURATION", value_parser = parse_latency)]
    latency: Option<RangeInclusive<Duration>>,

    /// Share of requests that get 500, 502, 503 or 504 and are not committed, for example 0.05
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    error_rate: f64,

    /// Share of requests whose connection ends without a response before the commit
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    cut_before: f64,

    /// Share of requests whose connection ends without a response after the commit
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    cut_after: f64,

    /// Share of requests that are committed and get a response that is not JSON
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    unreadable: f64,

    /// Reject a batch of more tokens than this with 413
    #[arg(long, value_name = "N")]
    max_batch_tokens: Option<usize>,

    /// Reject a batch of more bytes than this with 413, for example 1MiB
    #[arg(long, value_name = "SIZE")]
    max_batch_bytes: Option<ByteSize>,

    /// HTTP status of a response that names rejected tokens
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = parse_failures_status)]
    failures_status: u16,

    /// Seed that makes random faults repeatable
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// The format of an expiry.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExpiryForm {
    /// Seconds in a text
    Text,
    /// Seconds
    Number,
    /// A date
    Rfc3339,
}

impl SimulateArgs {
    fn rules(&self) -> anyhow::Result<Rules> {
        let max_bytes = self.max_batch_bytes.map(|most| usize::try_from(most.as_u64()));
        Ok(Rules {
            failures_status: self.failures_status,
            dead_refresh_prefix: self.dead_refresh.clone(),
            max_tokens: self.max_batch_tokens,
            max_bytes: max_bytes.transpose()?,
            rotates_refresh_tokens: self.rotate_refresh_tokens,
            refresh_error: self.refresh_error.clone(),
            expiry_format: match self.expiry_format {
                ExpiryForm::Text => ExpiryFormat::Text,
                ExpiryForm::Number => ExpiryFormat::Number,
                ExpiryForm::Rfc3339 => ExpiryFormat::Rfc3339,
            },
            without_tenant: if self.tenant_strict {
                WithoutTenant::TenantlessOnly
            } else {
                WithoutTenant::NewestOfAll
            },
            ..Rules::default()
        })
    }

    fn simulator(self) -> anyhow::Result<Simulator> {
        let rules = self.rules()?;
        let faults = FaultRates {
            latency: self.latency,
            error: self.error_rate,
            cut_before_commit: self.cut_before,
            cut_after_commit: self.cut_after,
            unreadable: self.unreadable,
            ..FaultRates::default()
        };
        anyhow::ensure!(
            faults.total() <= 1.0,
            "--error-rate, --cut-before, --cut-after and --unreadable must not add up to more than 1"
        );
        let mut simulator = Simulator::builder()
            .rules(rules)
            .listen(self.listen)
            .refused_users(self.refuse_users)
            .faults(faults)
            .seed(self.seed)
            .limit(Bucket::Users, Some(self.users_rate_limit))
            .limit(Bucket::Search, Some(self.search_rate_limit))
            .license(self.license);
        for (tier, limit) in self.tier_limit {
            simulator = simulator.tier_limit(&tier, limit);
        }
        if self.refuse_wrong_license {
            simulator = simulator.refuse_wrong_license();
        }
        if let Some(path) = self.directory {
            let listed = Listed::read(&path).with_context(|| format!("cannot use {}", path.display()))?;
            simulator = listed.apply(simulator);
        }
        if let Some(apps) = self.apps {
            simulator = simulator.apps(apps.iter().map(|text| match text.split_once(':') {
                Some((id, app_type)) => App::from(id).with_type(Some(app_type)),
                None => App::from(text.as_str()),
            }));
        }
        if let Some(users) = self.users {
            simulator = simulator.users(users);
        }
        if let Some(tenants) = self.tenants {
            simulator = simulator.tenants(tenants);
        }
        if let Some(limit) = self.rate_limit {
            simulator = simulator.rate_limit(limit);
        }
        Ok(simulator)
    }
}

/// The contents of the file of `--directory`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    apps: Option<Vec<App>>,
    users: Option<Vec<User>>,
    tenants: Option<Vec<String>>,
}

impl Listed {
    fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    fn apply(self, mut simulator: Simulator) -> Simulator {
        if let Some(apps) = self.apps {
            simulator = simulator.apps(apps);
        }
        if let Some(users) = self.users {
            simulator = simulator.users(users);
        }
        if let Some(tenants) = self.tenants {
            simulator = simulator.tenants(tenants);
        }
        simulator
    }
}

/// Serves until `shutdown`.
///
/// # Errors
///
/// If options contradict each other, or the address cannot be listened on.
pub async fn run(args: SimulateArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listen = args.listen;
    let mut simulator = args.simulator()?;
    let project_id = env::var(PROJECT_ID).ok().filter(|value| !value.is_empty());
    let management_key = env::var(MANAGEMENT_KEY).ok().filter(|value| !value.is_empty());
    let generated = Generated {
        project_id: project_id.is_none(),
        management_key: management_key.is_none(),
    };
    if let Some(project_id) = project_id {
        simulator = simulator.project_id(project_id);
    }
    if let Some(management_key) = management_key {
        simulator = simulator.management_key(Secret::new(management_key));
    }
    let simulator = simulator
        .start()
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    announce(&mut io::stdout().lock(), &simulator, generated)?;

    shutdown.cancelled().await;
    tracing::info!(
        requests = simulator.requests().all().len(),
        committed = simulator.stored_count(),
        rate_limited = simulator.rate_limited(),
        refreshed = simulator.refreshes().values().sum::<u64>(),
        "simulator stopped"
    );
    simulator.shutdown().await;
    Ok(())
}

/// The credentials that were generated. Only these are printed, because a key from the environment may be a
/// real one.
#[derive(Debug, Clone, Copy)]
struct Generated {
    project_id: bool,
    management_key: bool,
}

/// Prints lines that a shell can evaluate.
fn announce(out: &mut impl Write, simulator: &SimulatorHandle, generated: Generated) -> io::Result<()> {
    let base_url = simulator.base_url();
    writeln!(
        out,
        "# The stand-in API listens on {base_url}; this points a client at it:"
    )?;
    writeln!(out, "export DESCOPE_BASE_URL={base_url}")?;
    writeln!(out, "# The name that the Python SDK uses:")?;
    writeln!(out, "export DESCOPE_BASE_URI={base_url}")?;
    if generated.project_id {
        writeln!(out, "export {PROJECT_ID}={}", simulator.project_id())?;
    }
    if generated.management_key {
        writeln!(
            out,
            "export {MANAGEMENT_KEY}={}",
            simulator.management_key().reveal()
        )?;
    }
    out.flush()
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number between 0 and 1".to_owned()),
    }
}

fn parse_latency(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let duration = |text: &str| humantime::parse_duration(text.trim()).map_err(|error| error.to_string());
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (duration(least)?, duration(most)?),
        None => (duration(text)?, duration(text)?),
    };
    if least > most {
        return Err("the end of the range must not be below its start".to_owned());
    }
    Ok(least..=most)
}

fn parse_tier_limit(text: &str) -> Result<(String, RateLimit), String> {
    let (tier, limit) = text
        .split_once('=')
        .ok_or_else(|| "expected TIER=REQUESTS/DURATION, for example tier1=100/60s".to_owned())?;
    let limit = limit
        .parse()
        .map_err(|error: ParseRateLimitError| error.to_string())?;
    Ok((tier.trim().to_owned(), limit))
}

fn parse_failures_status(text: &str) -> Result<u16, String> {
    match text {
        "200" => Ok(200),
        "400" => Ok(400),
        _ => Err("expected 200 or 400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_one_duration_or_a_range() {
        let millis = Duration::from_millis;
        assert_eq!(parse_latency("50ms"), Ok(millis(50)..=millis(50)));
        assert_eq!(parse_latency("20ms..1s"), Ok(millis(20)..=millis(1000)));
        assert!(parse_latency("1s..20ms").is_err());
        assert!(parse_latency("soon").is_err());
    }

    #[test]
    fn shares_lie_between_0_and_1() {
        assert_eq!(parse_share("0.05"), Ok(0.05));
        for wrong in ["-0.1", "1.1", "NaN", "five"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tiers_limit_is_written_with_its_name() {
        let limit = RateLimit::new(100, Duration::from_secs(60));
        assert_eq!(parse_tier_limit("tier1=100/60s"), Ok(("tier1".to_owned(), limit)));
        for wrong in ["tier1", "tier1=", "100/60s", "tier1=0/60s"] {
            assert!(parse_tier_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn prints_only_the_credentials_that_it_generated() {
        let simulator = Simulator::builder()
            .management_key(Secret::new("from-env"))
            .start()
            .await
            .unwrap();
        let mut out = Vec::new();
        announce(
            &mut out,
            &simulator,
            Generated {
                project_id: true,
                management_key: false,
            },
        )
        .unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(&format!("export DESCOPE_BASE_URL={}\n", simulator.base_url())));
        assert!(out.contains(&format!("export {PROJECT_ID}={}\n", simulator.project_id())));
        assert!(!out.contains(MANAGEMENT_KEY) && !out.contains("from-env"));
    }
}
