//! The command line: one file per command, plus output and exit codes.

mod acknowledge;
mod args;
mod check;
mod config_text;
pub mod demo;
mod doctor;
mod doctor_text;
mod exit;
mod failure_changes;
mod failures;
mod hooks;
mod init;
mod ledger_args;
mod logging;
mod man;
mod man_config;
mod migrate;
mod narration;
mod outcomes;
mod paper;
mod private_file;
mod report;
mod rollback;
mod run_command;
mod runs;
mod seal;
mod show;
mod signals;
pub mod simulate;
mod status;
mod traces;
mod verify;
mod watch;
mod wording;

use std::{
    io::{self, Write},
    panic::PanicHookInfo,
    path::Path,
};

use clap::CommandFactory;
use serde::Serialize;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

pub use args::{Cli, Command};
pub use exit::Exit;
pub use seal::seal_memory;
use traces::Traces;

use crate::{
    config::{self, ConfigError, Loaded},
    domain::{visible_json, visible_lines},
};

/// Runs a command and prints its errors; the caller only ends the process.
///
/// Not async: what an async function does is compiled where it is awaited, and in a program that awaited
/// this, that would be nearly everything once more.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command(cli)),
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            Exit::Unforeseen
        }
    }
}

async fn command(cli: Cli) -> Exit {
    let verbose = match cli.command {
        // The first one is for the commands that it runs.
        Command::Demo(_) => cli.global.verbose.saturating_sub(1),
        _ => cli.global.verbose,
    };
    // The other commands print their results for a person.
    let logs_only = matches!(
        cli.command,
        Command::Migrate(_) | Command::Verify(_) | Command::Rollback(_)
    );
    let traces = if logs_only {
        Traces::start()
    } else {
        Traces::default()
    };
    let console = logging::start(&cli.global, verbose, &traces);
    traces.report_problem();
    let ended = match cli.command {
        Command::Init(args) => Box::pin(init::run(&cli.global, &args)).await,
        Command::Migrate(args) => Box::pin(migrate::run(&cli.global, args, &console)).await,
        Command::Verify(args) => Box::pin(verify::run(&cli.global, &args, &console)).await,
        Command::Rollback(args) => Box::pin(rollback::run(&cli.global, &args, &console)).await,
        Command::Show(args) => show::run(&cli.global, &args).await,
        Command::Status(args) => status::run(&cli.global, &args).await,
        Command::Runs(args) => runs::run(&cli.global, &args).await,
        Command::Failures(args) => failures::run(&cli.global, &args).await,
        Command::Outcomes(args) => outcomes::run(&cli.global, &args).await,
        Command::Report(args) => report::run(&cli.global, &args).await,
        Command::Doctor(args) => doctor::run(&cli.global, &args).await,
        Command::Check(args) => Box::pin(check::run(&cli.global, &args)).await,
        Command::Config(args) => config_text::run(&cli.global, &args),
        Command::Simulate(args) => {
            let shutdown = CancellationToken::new();
            signals::cancel_on_first(shutdown.clone());
            simulate::run(*args, shutdown).await.map(|()| Exit::Done)
        }
        Command::Demo(args) => demo::run(args, cli.global.verbose).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tokenferry", &mut io::stdout());
            Ok(Exit::Done)
        }
        Command::Man(args) => man::run(&args),
    };
    let exit = ended.unwrap_or_else(|error| {
        if logs_only {
            console.report(&error)
        } else {
            exit::report(&error)
        }
    });
    traces.close().await;
    exit
}

/// Reports the location of a panic without its message, which may quote data.
pub fn report_panic_location(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(|place| format!(" at {place}"))
        .unwrap_or_default();
    eprintln!("error: a part of the program failed{place}. This is a bug: please report it");
}

/// Writes to standard output. A reader may close the pipe early.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns true if the reader of standard output has closed it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        // An error of CSV does not name its cause.
        let io = match cause.downcast_ref::<csv::Error>().map(csv::Error::kind) {
            Some(csv::ErrorKind::Io(error)) => Some(error),
            _ => cause.downcast_ref::<io::Error>(),
        };
        io.map(io::Error::kind) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Writes lines for people, with foreign text escaped.
fn print_lines(text: &str) -> io::Result<()> {
    print(&paper::fitted(&visible_lines(text), paper::Paper::Stdout))
}

/// Writes one JSON object for scripts.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string(value)? + "\n";
    Ok(print(&visible_json(&json))?)
}

/// Loads the configuration that the global options name.
fn load(global: &args::Global) -> Result<Loaded, ConfigError> {
    match &global.config {
        Some(path) => config::load(path, true),
        None => config::load(Path::new("tokenferry.toml"), false),
    }
}
