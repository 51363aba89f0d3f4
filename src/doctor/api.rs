//! API checks: connection, clock, credentials, rate-limit tier and apps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{Area, Check, FailureClass};
use crate::{
    config::ApiSettings,
    descope::{App, AppType, Client, License, LookupOutcome},
    metrics::Meter,
};

const AREA: Area = Area::Api;

/// A clock that is further off is reported, since the expiry of tokens is computed with it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// The most apps that are looked up one by one if the list of all apps does not contain them.
const MOST_QUESTIONS: usize = 30;

/// Checks the API. `app_ids` are the apps that tokens go to, if known.
pub(super) async fn examine(settings: Option<&ApiSettings>, app_ids: Option<BTreeSet<String>>) -> Vec<Check> {
    let skip = |names: &[&str], needs: &str| -> Vec<Check> {
        names
            .iter()
            .map(|name| Check::skipped(AREA, *name, needs))
            .collect()
    };
    let Some(settings) = settings else {
        return skip(&["connection"], "valid settings under [api]");
    };
    let client = match Client::new(settings, Meter::default()) {
        Ok(client) => client,
        Err(error) if error.is_of_the_configuration() => {
            let advice = "correct this process's environment";
            let check = Check::failed(
                AREA,
                FailureClass::Configuration,
                "connection",
                error.to_string(),
                advice,
            );
            return vec![check];
        }
        Err(error) => {
            let advice = "check that this machine has its certificate authorities (ca-certificates)";
            return vec![failed("connection", error.to_string(), advice)];
        }
    };
    // A key may have only one of the two permissions, and either response proves it valid. The licence comes
    // first: other calls name its tier.
    let license = client.license().await;
    let apps = client.apps().await;
    let mut checks = Vec::new();
    match reached(settings, client.proxy(), &license, &apps) {
        Ok(check) => checks.push(check),
        Err(check) => {
            checks.push(check);
            checks.extend(skip(
                &["clock", "credentials", "rate_tier", "apps"],
                "a connection",
            ));
            return checks;
        }
    }
    checks.push(clock(&license));
    let credentials = credentials(&license, &apps);
    let is_accepted = credentials.class.is_none();
    checks.push(credentials);
    if is_accepted {
        checks.push(rate_tier(settings, &license));
        checks.push(match app_ids {
            Some(ids) => exist(&client, &ids, apps).await,
            None => Check::skipped(AREA, "apps", "[apps], or a source that names them"),
        });
    } else {
        checks.extend(skip(&["rate_tier", "apps"], "credentials"));
    }
    checks
}

fn failed(name: &str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
    Check::failed(AREA, FailureClass::Api, name, detail, advice)
}

/// Checks that the address responds like the API.
fn reached(
    settings: &ApiSettings,
    proxy: Option<&str>,
    license: &LookupOutcome<License>,
    apps: &LookupOutcome<Vec<App>>,
) -> Result<Check, Check> {
    let address = match proxy {
        Some(proxy) => format!("{}, through the proxy {proxy}", settings.base_url),
        None => settings.base_url.to_string(),
    };
    let foreign = "check `api.base_url`: this is not the Descope API, or not its root";
    match (license, apps) {
        (LookupOutcome::TryAgain { refusal, .. }, LookupOutcome::TryAgain { .. }) => {
            Err(match refusal.status {
                // An HTML page, or another service's JSON.
                Some(200) => failed(
                    "connection",
                    format!("{address} responds, but not like the API"),
                    foreign,
                ),
                Some(status) => failed(
                    "connection",
                    format!("{address}: {} (HTTP {status})", refusal.text),
                    "try again; if it persists, check the API's status page and `api.base_url`",
                ),
                // The error names the address, the cause and the remedy.
                None => failed(
                    "connection",
                    &refusal.text,
                    "fix it and run `tokenferry doctor` again",
                ),
            })
        }
        (
            LookupOutcome::Endpoint(_) | LookupOutcome::Absent | LookupOutcome::TryAgain { .. },
            LookupOutcome::Endpoint(_) | LookupOutcome::Absent | LookupOutcome::TryAgain { .. },
        ) => Err(failed(
            "connection",
            format!("{address} responds, but not like the API"),
            foreign,
        )),
        _ => Ok(Check::ok(AREA, "connection", address)),
    }
}

fn clock(license: &LookupOutcome<License>) -> Check {
    const NAME: &str = "clock";
    let LookupOutcome::Found(License {
        server_time: Some(theirs),
        ..
    }) = license
    else {
        return Check::skipped(AREA, NAME, "a response with the API's time");
    };
    let (ahead, off) = match SystemTime::now().duration_since(*theirs) {
        Ok(ahead) => ("ahead of", ahead),
        Err(error) => ("behind", error.duration()),
    };
    if off > CLOCK_TOLERANCE {
        let detail = format!("this machine is {} s {ahead} the API", off.as_secs());
        let advice = "synchronize this machine's clock (NTP): it decides which tokens have expired";
        return Check::warning(AREA, NAME, detail, advice);
    }
    Check::ok(AREA, NAME, "in sync with the API")
}

fn credentials(license: &LookupOutcome<License>, apps: &LookupOutcome<Vec<App>>) -> Check {
    const NAME: &str = "credentials";
    const CORRECT: &str = "check that `api.management_key` is a valid management key of the project `api.project_id`, \
                           and that the key may manage outbound apps";
    match (license, apps) {
        (LookupOutcome::Found(_), _) | (_, LookupOutcome::Found(_)) => Check::ok(AREA, NAME, "accepted"),
        (LookupOutcome::Credentials(refusal) | LookupOutcome::Refused(refusal), _)
        | (_, LookupOutcome::Credentials(refusal) | LookupOutcome::Refused(refusal)) => {
            failed(NAME, format!("{} ({})", refusal.text, refusal.code), CORRECT)
        }
        (LookupOutcome::RateLimited { .. }, _) | (_, LookupOutcome::RateLimited { .. }) => Check::warning(
            AREA,
            NAME,
            "unknown: the quota is used up",
            "try again in a minute",
        ),
        _ => Check::warning(AREA, NAME, "unknown: no usable response", "try again"),
    }
}

fn rate_tier(settings: &ApiSettings, license: &LookupOutcome<License>) -> Check {
    const NAME: &str = "rate_tier";
    let limit = settings.rate_limit;
    let ours = format!(
        "{} requests per {}",
        limit.requests,
        humantime::format_duration(limit.per)
    );
    match license {
        LookupOutcome::Found(License {
            rate_limit_tier: tier,
            ..
        }) => {
            let tier: String = tier.chars().filter(|c| !c.is_control()).take(40).collect();
            let detail = format!("{tier}, which every request names; `api.rate_limit` is {ours}");
            Check::ok(AREA, NAME, detail)
        }
        _ => Check::warning(
            AREA,
            NAME,
            format!(
                "the API does not report it, so requests may be put into the lowest bucket; `api.rate_limit` is {ours}"
            ),
            "look up the project's rate limit in the console, and keep `api.rate_limit` below it",
        ),
    }
}

/// Checks that each app exists and accepts tokens.
async fn exist(client: &Client, ids: &BTreeSet<String>, all: LookupOutcome<Vec<App>>) -> Check {
    const NAME: &str = "apps";
    let listed: BTreeMap<String, App> = match all {
        LookupOutcome::Found(apps) => apps.into_iter().map(|app| (app.id.clone(), app)).collect(),
        _ => BTreeMap::new(),
    };
    let mut found = Found::default();
    for (position, id) in ids.iter().enumerate() {
        let app = match listed.get(id) {
            Some(app) => LookupOutcome::Found(app.clone()),
            None if position < MOST_QUESTIONS => client.app(id).await,
            None => LookupOutcome::RateLimited { retry_after: None },
        };
        found.add(id, &app);
    }
    found.into_check(NAME)
}

/// Apps by result.
#[derive(Default)]
struct Found {
    good: Vec<String>,
    absent: Vec<String>,
    other: Vec<String>,
    unknown: Vec<String>,
}

impl Found {
    fn add(&mut self, id: &str, app: &LookupOutcome<App>) {
        let id: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        match app {
            LookupOutcome::Found(App { app_type, .. }) => match app_type {
                AppType::OAuth | AppType::Unsaid => self.good.push(id),
                AppType::Other(word) => self.other.push(format!("{id} ({word})")),
            },
            // An ID that the API rejects as malformed belongs to no app.
            LookupOutcome::Absent | LookupOutcome::Refused(_) => self.absent.push(id),
            _ => self.unknown.push(id),
        }
    }

    fn into_check(self, name: &str) -> Check {
        let mut wrong = Vec::new();
        if !self.absent.is_empty() {
            wrong.push(format!("missing: {}", self.absent.join(", ")));
        }
        if !self.other.is_empty() {
            wrong.push(format!("not OAuth apps: {}", self.other.join(", ")));
        }
        if !wrong.is_empty() {
            return Check::failed(
                AREA,
                FailureClass::Configuration,
                name,
                wrong.join("; "),
                "create these outbound apps in the Descope console (type OAuth), or correct the IDs under [apps]",
            );
        }
        if !self.unknown.is_empty() {
            return Check::warning(
                AREA,
                name,
                format!("the API gave no usable response for {}", self.unknown.join(", ")),
                "try again, or look for them in the Descope console",
            );
        }
        Check::ok(
            AREA,
            name,
            format!("present, type OAuth: {}", self.good.join(", ")),
        )
    }
}
