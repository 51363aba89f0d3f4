//! `migrate`: uploads the tokens.

use super::{
    Exit,
    args::{Global, MigrateArgs},
    exit::UsageError,
    logging::Console,
    run_command::RunCommand,
};
use crate::{
    domain::{DryRun, Mode, OlderVersions, Selection},
    pipeline::{self, Canary, Preflight, Request},
};

pub(super) async fn run(global: &Global, args: MigrateArgs, console: &Console) -> anyhow::Result<Exit> {
    let canary = canary(&args)?;
    let selection = if args.only_failed {
        Selection::Failed { code: args.code }
    } else {
        Selection::All
    };
    let dry_run = if args.dry_run { DryRun::On } else { DryRun::Off };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Migrate };
    let request = Request {
        dry_run,
        selection,
        limit: args.limit,
        full: args.full,
        older: if args.allow_older {
            OlderVersions::Allowed
        } else {
            OlderVersions::Refused
        },
        online: args.online.then_some(Preflight { sample: args.sample }),
        canary,
    };
    RunCommand::load(global, console, mode, &args.watch, args.json)?
        .run(async |settings, control, view| pipeline::migrate(settings, &request, control, view).await)
        .await
}

fn canary(args: &MigrateArgs) -> Result<Option<Canary>, UsageError> {
    let failures = args.canary_failures;
    match args.canary {
        Some(tokens) if failures >= tokens.get() => Err(UsageError(format!(
            "--canary-failures {failures} must be less than --canary {tokens}: otherwise the canary can never fail"
        ))),
        tokens => Ok(tokens.map(|tokens| Canary { tokens, failures })),
    }
}
