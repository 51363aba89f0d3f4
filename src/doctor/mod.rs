//! The doctor: checks everything a run needs, and changes nothing.
//!
//! Each check ends as ok, warning or failed, with advice. Checks that depend on a failed one are skipped and
//! reported as such. An invalid configuration is still examined: source, ledger and API are checked if their
//! own settings are valid.

mod api;
mod check;
mod configuration;
mod credentials;
mod database;
mod durability;
mod ledger;
mod paste;
mod permissions;
mod row;
mod rows;
mod sample;
mod sessions;
mod source;

pub use check::{Area, Check, Examination, FailureClass, Overall, Status};
pub use row::{RowExamination, examine_row};

use std::collections::BTreeSet;

use crate::config::{AppMap, ConfigError, ConfigReport, Loaded, Origin};

/// Runs all checks. They are reported by area, even though some run concurrently.
pub async fn examine(loaded: &Result<Loaded, ConfigError>) -> Examination {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let mut checks = configuration::unreadable(error);
            for (area, needs) in [
                (Area::Source, "a configuration"),
                (Area::Ledger, "a configuration"),
                (Area::Api, "a configuration"),
            ] {
                checks.push(Check::skipped(area, "connection", needs));
            }
            return Examination::new(checks);
        }
    };
    let inspection = loaded.inspect();
    let mut checks = configuration::examine(loaded, &inspection);
    checks.extend(permissions::examine(loaded, &inspection));
    let (source, ledger) = tokio::join!(source::examine(&inspection), ledger::examine(&inspection));
    let app_ids = app_ids(&inspection.apps, source.app_names);
    let [of_source, of_ledger] = sessions::checks(source.need.as_ref(), ledger.need.as_ref());
    let ledger_checks = follow_up(&inspection, &source.checks, ledger.checks);
    checks.extend(source.checks);
    checks.extend(of_source);
    checks.extend(ledger_checks);
    checks.extend(of_ledger);
    let mut api_checks = api::examine(inspection.api.as_ref(), app_ids).await;
    for refused in api_checks
        .iter_mut()
        .filter(|check| check.name == "credentials" && check.class.is_some())
    {
        refused.fix = credentials::renewed(&inspection.values);
    }
    checks.extend(api_checks);
    Examination::new(checks)
}

/// Skips the ledger's connection if the source has the same address and cannot be connected to: that is one
/// fault.
fn follow_up(inspection: &ConfigReport, source: &[Check], mut ledger: Vec<Check>) -> Vec<Check> {
    let is_shared = inspection
        .values
        .iter()
        .any(|value| value.key == "ledger.url" && value.origin == Origin::Default);
    let is_down = |check: &Check| (check.name.as_str(), check.status) == ("connection", Status::Failed);
    if is_shared && source.iter().any(is_down) {
        for check in ledger.iter_mut().filter(|check| is_down(check)) {
            *check = Check::skipped(
                Area::Ledger,
                "connection",
                "the source's connection, which it shares",
            );
        }
    }
    ledger
}

/// Returns the apps that tokens go to: those of `[apps]`, or those that the rows name.
fn app_ids(apps: &AppMap, names: Option<Vec<String>>) -> Option<BTreeSet<String>> {
    match apps.entries() {
        Some(entries) => Some(entries.map(|(_, id)| id).collect()),
        None => names.map(|names| names.into_iter().collect()),
    }
}
