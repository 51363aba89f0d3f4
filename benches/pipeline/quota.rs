//! The use of a quota, against the stand-in API, which counts strictly.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokenferry::simulator::{RateLimit, Simulator};

use crate::{
    database::Database,
    migration::{self, Target},
};

/// Requests in any second.
pub(crate) const RATE: u32 = 100;
const TOKENS: u32 = 5;
const SCHEMA: &str = "bench_ledger_quota";

#[derive(Debug)]
pub(crate) struct Used {
    /// From the first request to the last.
    pub(crate) seconds: f64,
    pub(crate) rate_limited: u64,
    /// Of the requests that the quota would have let through in that time.
    pub(crate) share: f64,
}

/// Migrates for about `seconds`, in batches so small that the quota alone decides the pace.
pub(crate) async fn run(database: &Database, seconds: u32, rows: u64) -> anyhow::Result<Used> {
    let simulator = Simulator::builder()
        .rate_limit(RateLimit::new(RATE as usize, Duration::from_secs(1)))
        .start()
        .await?;
    let up_to = u64::from(seconds * RATE * TOKENS).min(rows);
    let target = Target {
        base_url: simulator.base_url().to_owned(),
        project_id: simulator.project_id().to_owned(),
        management_key: simulator.management_key().reveal().to_owned(),
        max_tokens: TOKENS,
        requests: RATE,
        up_to: Some(up_to),
    };
    database.drop_ledger(SCHEMA).await?;
    let (_, report) = migration::run(database, SCHEMA, &target).await?;
    ensure!(
        report["tokens"]["committed"] == up_to && simulator.stored_count() as u64 == up_to,
        "of {up_to} tokens the stand-in API holds {}; the run reports {report}",
        simulator.stored_count(),
    );
    let requests = simulator.requests();
    let (first, last) = requests
        .all()
        .first()
        .zip(requests.all().last())
        .context("there were no requests")?;
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    // The first request stands at the beginning of the time that the others share.
    let share = (requests.all().len() - 1) as f64 / (seconds * f64::from(RATE));
    let rate_limited = simulator.rate_limited();
    simulator.shutdown().await;
    Ok(Used {
        seconds,
        rate_limited,
        share,
    })
}
