//! `verify`: what was uploaded, read back and held against the source.

use super::{
    Exit,
    args::{Global, VerifyArgs},
    conduct::{Shown, conduct},
    load,
    logging::Console,
    watch::Watching,
};
use crate::{
    meter::Meter,
    model::{Chosen, Mode},
    pace::Helm,
    pipeline,
};

pub(super) async fn run(global: &Global, args: &VerifyArgs, console: &Console) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let access = loaded.ledger_access()?;
    let chosen = Chosen {
        of_run: args.run,
        sample: args.sample,
        seed: args.seed,
        include_expired: args.include_expired,
    };
    let watching = Watching::new(&args.watch, global, &settings, Mode::Verify)?;
    let shown = Shown {
        global,
        console,
        access: &access,
        notify: settings.notify.as_ref(),
        json: args.json,
    };
    let helm = Helm::new(
        settings.api.rate_limit,
        Meter::new(&settings.migration, Mode::Verify),
    );
    conduct(&shown, watching, helm, async |helm, view| {
        pipeline::verify(&settings, &chosen, helm, view).await
    })
    .await
}
