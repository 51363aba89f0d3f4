//! `status`: where the migration stands.

use super::{
    Exit,
    args::{Global, StatusArgs},
    exit::UsageError,
    load,
};
use crate::{ledger::Reports, report::Summary};

pub(super) async fn run(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = Reports::open(&access).await?;
    let report = reports.run(args.run).await?;
    reports.close().await;
    let Some(report) = report else {
        let text = format!(
            "migration \"{}\" has no run yet: `tokenferry migrate` begins one",
            access.migration
        );
        return Err(UsageError(text).into());
    };
    let (started_at, finished_at) = (report.started_at, report.finished_at);
    let (progressed_at, holder, in_flight) = (
        report.progressed_at,
        report.holder.clone(),
        report.batches_in_flight,
    );
    let mut summary = Summary::from_report(&access.migration, report);
    if args.json {
        summary.started_at = Some(started_at);
        summary.finished_at = Some(finished_at);
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(Exit::Done);
    }
    print!("{}", summary.text());
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    match finished_at {
        Some(finished_at) => println!("  started {}, ended {}", time(started_at), time(finished_at)),
        None => println!(
            "  started {}, last progress {}, by {holder}",
            time(started_at),
            time(progressed_at)
        ),
    }
    if in_flight > 0 {
        println!("  {in_flight} batches in flight");
    }
    Ok(Exit::Done)
}
