//! `verify`: reads uploaded tokens back and compares them with the source.

use super::{
    Exit,
    args::{Global, VerifyArgs},
    logging::Console,
    run_command::RunCommand,
};
use crate::{
    domain::{Mode, VerifyRequest},
    pipeline,
};

pub(super) async fn run(global: &Global, args: &VerifyArgs, console: &Console) -> anyhow::Result<Exit> {
    let request = VerifyRequest {
        of_run: args.run,
        sample: args.sample,
        seed: args.seed,
        include_expired: args.include_expired,
    };
    RunCommand::load(global, console, Mode::Verify, &args.watch, args.json)?
        .run(async |settings, control, view| pipeline::verify(settings, &request, control, view).await)
        .await
}
