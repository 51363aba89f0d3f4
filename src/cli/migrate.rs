//! `migrate`: the job.

use super::{
    Exit,
    args::{Global, MigrateArgs},
    conduct::{Shown, conduct},
    load,
    logging::Console,
};
use crate::{
    model::{DryRun, Selection},
    pipeline::{self, Online, Request},
};

pub(super) async fn run(global: &Global, args: MigrateArgs, console: &Console) -> anyhow::Result<Exit> {
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
    };
    let shown = Shown {
        global,
        console,
        access: &access,
        json: args.json,
    };
    conduct(&shown, async |stop, view| {
        pipeline::migrate(&settings, &request, stop, view).await
    })
    .await
}
