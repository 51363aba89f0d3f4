//! `verify`: what was uploaded, read back and held against the source.

use super::{
    Exit,
    args::{Global, VerifyArgs},
    load,
    logging::Console,
    run_command::{RunOutput, run_command},
    watch::Watching,
};
use crate::{
    domain::{Mode, VerifyRequest},
    metrics::Meter,
    pipeline,
    rate::RunControl,
};

pub(super) async fn run(global: &Global, args: &VerifyArgs, console: &Console) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let access = loaded.ledger_access()?;
    let chosen = VerifyRequest {
        of_run: args.run,
        sample: args.sample,
        seed: args.seed,
        include_expired: args.include_expired,
    };
    let watching = Watching::new(&args.watch, global, &settings, Mode::Verify)?;
    let shown = RunOutput {
        global,
        console,
        access: &access,
        notify: settings.notify.as_ref(),
        json: args.json,
    };
    let control = RunControl::new(
        settings.api.rate_limit,
        Meter::new(&settings.migration, Mode::Verify),
    );
    run_command(&shown, watching, control, async |control, view| {
        pipeline::verify(&settings, &chosen, control, view).await
    })
    .await
}
