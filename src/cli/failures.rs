//! `failures`: every failed token, with its reason.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use anyhow::Context;

use super::{
    Exit,
    args::{FailuresArgs, Global},
    load,
};
use crate::{
    ledger::Reports,
    report::{Format, write_failures, write_groups},
};

pub(super) async fn run(global: &Global, args: &FailuresArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = Reports::open(&access).await?;
    // A run that does not exist is a mistake, not an empty list.
    let run = reports.run(args.run).await?;
    let groups = reports.failure_groups(args.run).await?;
    let failures = reports.failures(args.run);
    let written = match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
            let mut out = BufWriter::new(file);
            let written = write_failures(&mut out, args.format, failures).await;
            out.flush()
                .with_context(|| format!("{} cannot be written", path.display()))?;
            written
        }
        None => {
            let mut out = BufWriter::new(io::stdout());
            if args.format == Format::Table {
                write_groups(&mut out, &groups)?;
            }
            let written = write_failures(&mut out, args.format, failures).await;
            out.flush().map_err(anyhow::Error::from).and(written)
        }
    };
    let count = match written {
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
        written => written?,
    };
    reports.close().await;
    if args.format == Format::Table {
        let what = if count == 1 { "token" } else { "tokens" };
        let of = match (args.run, run) {
            (Some(id), _) => format!("in run {id}"),
            (None, _) => format!("in migration \"{}\"", access.migration),
        };
        eprintln!("{count} failed {what} {of}");
    }
    Ok(Exit::Done)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}
