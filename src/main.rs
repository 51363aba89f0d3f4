//! Start-up and exit code, nothing else.

use std::process::ExitCode;

use clap::Parser;
use tokenferry::cli::{self, Cli};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    tokenferry::failpoints::arm();
    cli::seal_memory();
    std::panic::set_hook(Box::new(cli::report_panic_location));
    // Usage errors end the process here, with code 2.
    cli::run(Cli::parse()).into()
}
