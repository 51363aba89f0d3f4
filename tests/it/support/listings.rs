//! Listings of what a run found, and of what is stored.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenferry::simulator::{SimulatorHandle, StoredToken};

use crate::support::bed::{Bed, Ran, TOKEN};

/// Quotas of lookups that hardly wait.
pub(crate) const FAST_LOOKUPS: &str = "api.lookup.users.requests = 100000
    api.lookup.users.per = \"1s\"
    api.lookup.search.requests = 100000
    api.lookup.search.per = \"1s\"";

pub(crate) async fn verify(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut all = vec!["verify", "--json", "-vv"];
    all.extend(arguments);
    bed.run(&all).await
}

/// The rows that `failures --format json` lists of a run: key, severity and code.
pub(crate) async fn failures(bed: &Bed, summary: &Value, more: &[&str]) -> Vec<(String, String, String)> {
    let run = summary["run_id"].to_string();
    let mut arguments = vec!["failures", "--run", &run, "--format", "json"];
    arguments.extend(more);
    let listed = bed.run(&arguments).await.ended_with(0).json();
    let rows = listed.as_array().unwrap().iter();
    rows.map(|row| {
        assert!(!row["reason"].as_str().unwrap().is_empty());
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("source_key"), text("severity"), text("error_code"))
    })
    .collect()
}

/// The stored token of a row made by `Bed::rows`.
pub(crate) fn of_row(tokens: &mut [StoredToken], row: i64) -> &mut StoredToken {
    let access = format!("{TOKEN}-access-{row}");
    tokens
        .iter_mut()
        .find(|token| token.exposed_access_token() == Some(&access))
        .unwrap()
}

/// Access tokens by user.
pub(crate) fn stored(api: &SimulatorHandle) -> BTreeMap<String, String> {
    api.stored()
        .iter()
        .map(|token| {
            let user = token.destination.user_id.clone().unwrap_or_default();
            (user, token.exposed_access_token().unwrap_or_default().to_owned())
        })
        .collect()
}
