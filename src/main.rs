//! Start-up and exit code, nothing else.

use std::process::ExitCode;

use clap::Parser;
use tokenferry::cli::{self, Cli, Exit};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    tokenferry::failpoints::arm();
    cli::seal_memory();
    std::panic::set_hook(Box::new(cli::report_panic_location));
    // Usage errors end the process here, with code 2.
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return Exit::Unforeseen.into();
        }
    };
    runtime.block_on(cli::run(cli)).into()
}
