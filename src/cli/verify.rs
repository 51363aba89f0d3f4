//! `verify`: what was uploaded, read back and held against the source.

use super::{
    Exit,
    args::{Global, VerifyArgs},
    conduct::{Shown, conduct},
    load,
    logging::Console,
};
use crate::{model::Chosen, pipeline};

pub(super) async fn run(global: &Global, args: &VerifyArgs, console: &Console) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let access = loaded.ledger_access()?;
    let chosen = Chosen {
        of_run: args.run,
        sample: args.sample,
        seed: args.seed,
    };
    let shown = Shown {
        global,
        console,
        access: &access,
        notify: settings.notify.as_ref(),
        json: args.json,
    };
    conduct(&shown, async |stop, view| {
        pipeline::verify(&settings, &chosen, stop, view).await
    })
    .await
}
