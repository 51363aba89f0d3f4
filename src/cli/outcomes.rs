//! `outcomes`: the state of every row.

use std::io::{self, BufWriter, Write};

use anyhow::Context;

use super::{Exit, args::Global, is_broken_pipe, ledger_args::OutcomesArgs, load, private_file};
use crate::{ledger::LedgerReader, report::write_outcomes};

pub(super) async fn run(global: &Global, args: &OutcomesArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(
            private_file::create(path).with_context(|| format!("{} cannot be written", path.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let written = write_outcomes(BufWriter::new(out), args.format, reports.outcomes()).await;
    reports.close().await;
    match written {
        // A closed pipe means that the reader has seen enough.
        Err(error) if is_broken_pipe(&error) => {}
        written => eprintln!("{} rows have an outcome", written?),
    }
    Ok(Exit::Done)
}
