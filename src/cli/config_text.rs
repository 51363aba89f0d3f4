//! `config`: what a configuration looks like.

use super::{
    Exit,
    args::{ConfigArgs, ConfigCommand},
    print,
};

/// The file that explains every key.
const EXAMPLE: &str = include_str!("../../config/tokenferry.example.toml");

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    match args.what {
        ConfigCommand::Example => print(EXAMPLE)?,
    }
    Ok(Exit::Done)
}
