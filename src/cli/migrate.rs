//! `migrate`: the job.

use super::{
    Exit,
    args::{Global, MigrateArgs},
    conduct::{Shown, conduct},
    exit::UsageError,
    load,
    logging::Console,
};
use crate::{
    model::{DryRun, Selection},
    pipeline::{self, Canary, Online, Request},
};

pub(super) async fn run(global: &Global, args: MigrateArgs, console: &Console) -> anyhow::Result<Exit> {
    let canary = canary(&args)?;
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let access = loaded.ledger_access()?;
    let selection = if args.only_failed {
        Selection::Failed { code: args.code }
    } else {
        Selection::All
    };
    let dry_run = if args.dry_run { DryRun::On } else { DryRun::Off };
    let request = Request {
        dry_run,
        selection,
        limit: args.limit,
        online: args.online.then_some(Online { sample: args.sample }),
        canary,
    };
    let shown = Shown {
        global,
        console,
        access: &access,
        notify: settings.notify.as_ref(),
        json: args.json,
    };
    conduct(&shown, async |stop, view| {
        pipeline::migrate(&settings, &request, stop, view).await
    })
    .await
}

fn canary(args: &MigrateArgs) -> Result<Option<Canary>, UsageError> {
    let failures = args.canary_failures;
    match args.canary {
        Some(tokens) if failures >= tokens.get() => Err(UsageError(format!(
            "--canary-failures {failures} would let a canary of {tokens} pass whatever becomes of it: it must be less"
        ))),
        tokens => Ok(tokens.map(|tokens| Canary { tokens, failures })),
    }
}
