//! `failures`: every failed token, or every superseded row, with its reason.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write},
};

use anyhow::Context;

use super::{
    Exit, acknowledge,
    args::{FailuresArgs, Global},
    failure_changes, is_broken_pipe, load,
    paper::{self, Paper},
    private_file,
};
use crate::{
    config::SourceShape,
    domain::{Mode, visible},
    ledger::{FailureGroup, LedgerReader, Listed, Listing},
    reader::RowsSql,
    report::{Format, TableLayout, write_failures, write_groups},
};

/// The most keys listed in a query.
const KEYS_SHOWN: i64 = 20;

pub(super) async fn run(global: &Global, args: &FailuresArgs) -> anyhow::Result<Exit> {
    if args.acknowledge.is_change() {
        return acknowledge::run(global, &args.acknowledge).await;
    }
    if let (Some(run), Some(since)) = (args.run, args.since) {
        return failure_changes::run(global, args, run, since).await;
    }
    let loaded = load(global)?;
    let access = loaded.ledger_access()?;
    let rows = Rows::new(loaded.source_shape());
    let mut reports = LedgerReader::open(&access).await?;
    // A run that does not exist is an error, not an empty list.
    let run = reports.run(args.run).await?;
    let found = run.as_ref().is_some_and(|run| run.summary.mode != Mode::Migrate);
    let full = match (args.run, args.superseded) {
        // Only a run over all rows knows every superseded row.
        (None, true) => reports.latest_full_run().await?,
        _ => args.run,
    };
    let listing = Listing {
        // Before the first migration no token has failed, so the findings of the latest dry run are listed.
        run: full.or(run.filter(|_| found).map(|run| run.summary.run_id)),
        listed: match (args.superseded, args.warnings || found) {
            (true, _) => Listed::Superseded,
            (false, true) => Listed::Problems,
            (false, false) => Listed::Failed,
        },
        most: None,
    };
    let groups = match (args.format, &args.output) {
        // With a file, for the number of acknowledged ones alone.
        (Format::Table, _) => reports.failure_groups(listing, KEYS_SHOWN).await?,
        _ => Vec::new(),
    };
    let failures = reports.failures(listing);
    let layout = TableLayout {
        columns: Paper::Stdout.table_width(),
        told: &groups,
    };
    let written = match &args.output {
        Some(path) => {
            let file = private_file::create(path)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            let mut out = BufWriter::new(file);
            let written = write_failures(&mut out, args.format, layout, failures).await;
            out.flush()
                .with_context(|| format!("{} cannot be written", path.display()))?;
            written
        }
        None => {
            let mut out = BufWriter::new(io::stdout());
            if args.format == Format::Table {
                let mut text = Vec::new();
                write_groups(&mut text, &groups, |group| rows.sql(group))?;
                let text = String::from_utf8_lossy(&text);
                out.write_all(paper::fitted(&text, Paper::Stdout).as_bytes())?;
            }
            let written = write_failures(&mut out, args.format, layout, failures).await;
            out.flush().map_err(anyhow::Error::from).and(written)
        }
    };
    let count = match written {
        // A closed pipe means that the reader has seen enough.
        Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
        written => written?,
    };
    let later = match listing.run {
        None if !args.superseded => reports.dry_run_since().await?,
        _ => None,
    };
    reports.close().await;
    if args.format == Format::Table {
        let what = match (listing.listed, count) {
            (Listed::Problems, 1) => "problem",
            (Listed::Problems, _) => "problems",
            (Listed::Failed, 1) => "failed token",
            (Listed::Failed, _) => "failed tokens",
            (Listed::Superseded, 1) => "superseded row",
            (Listed::Superseded, _) => "superseded rows",
        };
        let of = match listing.run {
            Some(id) => format!("in run {id}"),
            None => format!("in migration \"{}\"", visible(&access.migration)),
        };
        eprintln!("{count} {what} {of}{}", shares(&groups));
        if let Some((id, problems)) = later.filter(|(_, problems)| *problems > 0) {
            eprintln!(
                "{problems} problems in the dry run after that: `tokenferry failures --run {id}` lists them"
            );
        }
    }
    Ok(Exit::Done)
}

/// Returns how many of the problems are errors, as the summary counts them, if some are only warnings.
fn shares(groups: &[FailureGroup]) -> String {
    let of = |severity| -> i64 {
        let groups = groups.iter().filter(|group| group.severity == severity);
        groups.map(FailureGroup::count).sum()
    };
    let mut shares = match (of("error"), of("warning")) {
        (_, 0) => String::new(),
        (errors, warnings) => format!(" ({errors} failed, {warnings} with a warning)"),
    };
    let known = of("acknowledged");
    if known > 0 {
        // Writing to a string cannot fail.
        let _ = write!(shares, ", {known} of them acknowledged");
    }
    shares
}

/// The SQL that selects the rows of a group, if the configuration names their table.
struct Rows {
    sql: Option<RowsSql>,
    beside_ledger: bool,
}

impl Rows {
    fn new(shape: Option<SourceShape>) -> Self {
        Self {
            sql: shape.as_ref().map(RowsSql::new),
            beside_ledger: shape.is_some_and(|shape| shape.holds_ledger),
        }
    }

    /// Returns SQL for all rows of a group, or for the first ones if there are too many to list and the
    /// ledger is in another database.
    fn sql(&self, group: &FailureGroup) -> Option<String> {
        let sql = self.sql.as_ref()?;
        let rest = group.count() - i64::try_from(group.keys.len()).unwrap_or(i64::MAX);
        Some(match (rest > 0, self.beside_ledger) {
            (false, _) => sql.among(&group.keys),
            (true, true) => sql.among_those_of(&group.keys_sql),
            (true, false) => format!(
                "{} /* and {rest} more: --format csv lists all keys */",
                sql.among(&group.keys)
            ),
        })
    }
}
