//! `config`: prints an example configuration.

use super::{
    Exit,
    args::{ConfigArgs, ConfigCommand},
    print,
};
use crate::config::EXAMPLE;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    match args.what {
        ConfigCommand::Example => print(EXAMPLE)?,
    }
    Ok(Exit::Done)
}
