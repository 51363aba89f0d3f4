//! Command-line arguments: the commands and their options.

use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{
    demo::DemoArgs,
    ledger_args::{AcknowledgeArgs, OutcomesArgs, RunsArgs},
    simulate::SimulateArgs,
};
use crate::{domain::RunId, report::Format};

/// The version; in release builds with the commit. Set by build.rs.
const VERSION: &str = env!("TOKENFERRY_VERSION");

/// Move legacy OAuth tokens from a Postgres database into Descope outbound apps
#[derive(Debug, Parser)]
#[command(
    version = VERSION,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Start with `tokenferry demo`: it shows the whole job on this machine and needs no configuration. Then run:\n\n  \
      tokenferry init                write a configuration for your database\n  \
      tokenferry doctor              check that a run will work\n  \
      tokenferry migrate --dry-run   see what would happen, and which tokens would fail\n  \
      tokenferry migrate --canary 20 migrate, with proof of the first tokens\n  \
      tokenferry failures            list what failed, and why\n  \
      tokenferry verify --sample 200 read uploaded tokens back and compare them\n\n\
    `tokenferry COMMAND --help` shows examples and exit codes of each."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: tokenferry.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Format of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log only warnings and errors, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Inspect the database with the tokens, and write a configuration to start with
    Init(InitArgs),
    /// Upload what is new, changed or failed before; resume an interrupted run
    Migrate(MigrateArgs),
    /// Read tokens back from Descope and compare them with the source
    Verify(VerifyArgs),
    /// Delete at Descope what one run uploaded, and nothing else
    Rollback(RollbackArgs),
    /// Show where the migration stands
    Status(StatusArgs),
    /// List the runs of the migration, newest first
    Runs(RunsArgs),
    /// Show everything the ledger knows about one row, user or tenant
    Show(ShowArgs),
    /// List failed tokens with reasons and how to find their rows
    Failures(FailuresArgs),
    /// Export the state of every row as CSV or JSON
    Outcomes(OutcomesArgs),
    /// Write an HTML page about a run
    Report(ReportArgs),
    /// Check the configuration, both databases and the API; change nothing
    Doctor(DoctorArgs),
    /// Take one row through everything but sending, with secrets masked
    Check(CheckArgs),
    /// Print an example configuration, its schema or the effective settings; check a configuration
    Config(ConfigArgs),
    /// Run a stand-in for the Descope API, for rehearsals and tests
    Simulate(Box<SimulateArgs>),
    /// Show the whole job on a throwaway Postgres and the stand-in API
    Demo(DemoArgs),
    /// Print a shell completion script
    #[command(
        after_help = "Example: tokenferry completions bash > ~/.local/share/bash-completion/completions/tokenferry\n\n\
        Ends with 0."
    )]
    Completions {
        /// Shell to complete in
        shell: Shell,
    },
    /// Print the manual page, or write all pages
    Man(ManArgs),
}

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  SOURCE_DATABASE_URL=postgres://… tokenferry init
  tokenferry init --preset keycloak
  tokenferry init --table crm.oauth_grants --yes

Reads the catalog, and of rows only the names of apps and whether values look encrypted. Writes tokenferry.toml (or
--config FILE), .env.example and tokenferry.schema.json, and never overwrites a file.

Ends with 0, or with 2 if the configuration exists or no table is found, or 6 if the database is unreachable.")]
pub struct InitArgs {
    /// Table with the tokens, with its schema if need be [default: the likeliest]
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Known token store [default: recognised by its tables]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Ask nothing, take every default and mark what is open
    #[arg(long)]
    pub yes: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry check --key 42
  tokenferry check --key '[\"google\", \"1234\"]'   a key of two columns

Shows what was read (secrets by length and kind of characters), which rules the row breaks, what would be sent, and what
the ledger knows. Sends and changes nothing.

Ends with 0 if the row would be sent, or with 3 if not, 2 if there is no such row, 6 if the database is unreachable.")]
pub struct CheckArgs {
    /// Key of the row, as `failures` prints it
    #[arg(long, value_name = "KEY")]
    pub key: String,
}

/// Options of `config`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry config example > tokenferry.toml
  tokenferry config schema > tokenferry.schema.json
  tokenferry config check

Ends with 0, or with 2 if the configuration is wrong.")]
pub struct ConfigArgs {
    /// What to print or check.
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// The commands of `config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its meaning and default
    Example,
    /// Print a JSON Schema, for editors that complete and check TOML
    Schema,
    /// Print the effective settings with their origins, presets expanded and secrets hidden
    Show,
    /// Validate the configuration without a database or the API
    Check,
}

/// Options of `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry migrate --dry-run               what would happen, in how many requests
  tokenferry migrate --canary 20             prove 20 tokens, then upload the rest in batches
  tokenferry migrate --canary 200 --canary-failures 5
                                             the same, and tolerate up to 5 failures
  tokenferry migrate --live                  with a page to watch and steer it on
  tokenferry migrate --canary 20 --limit 20  the canary alone; the next run continues after it

Ends with 0 if everything selected is committed or its failure acknowledged, 3 if other tokens failed (or, with --dry-run, would), 4 if the API refused the \
    credentials, the canary failed or too many batches failed in a row, 5 if another run is active, 6 if a database does not respond, 2 if \
    the configuration is wrong, 130 or 143 after a signal. After any interruption, run it again to resume.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct MigrateArgs {
    /// Read and check everything, send nothing, and report what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: also ask the API whether every app, tenant and user exists. Prints the number of
    /// lookups before starting
    #[arg(long, requires = "dry_run")]
    pub online: bool,
    /// With --online: ask about N users only, spread evenly over the rows
    #[arg(
        long, value_name = "N", requires = "online", conflicts_with = "only_failed",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub sample: Option<u64>,
    /// Send only the tokens that failed last, without reading the rest of the source
    #[arg(long)]
    pub only_failed: bool,
    /// With --only-failed: send only those that failed with this code
    #[arg(long, value_name = "CODE", requires = "only_failed")]
    pub code: Option<String>,
    /// Verify the first N tokens at their providers, one by one, and stop (exit 4) unless they succeed. Some
    /// providers then invalidate the refresh token of the source
    #[arg(long, value_name = "N")]
    pub canary: Option<NonZeroU64>,
    /// With --canary: how many of them may fail
    #[arg(long, value_name = "M", requires = "canary", default_value_t = 0)]
    pub canary_failures: u64,
    /// End after N tokens; the next run continues from there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Read every row, also in key ranges that have not changed since the last complete run
    #[arg(long)]
    pub full: bool,
    /// Also send rows whose `updated_at` is earlier than when their token was sent, as in a lagging replica
    /// or a restored backup
    #[arg(long)]
    pub allow_older: bool,
    /// Print one JSON object about the run on standard output
    #[arg(long)]
    pub json: bool,
    /// Monitoring options.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "May run beside `migrate`. Each token costs one request of the quota.\n\n\
    Example: tokenferry verify --sample 200\n\n\
    Ends with 0 if nothing differs, 3 if something does (`tokenferry failures --run ID` lists row and field), 4 if the API does not \
    let tokens be read back, 5 if another verification is active, otherwise as `migrate`."
)]
pub struct VerifyArgs {
    /// Read N tokens, spread evenly over the keys [default: every committed token]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub sample: Option<i64>,
    /// Draw the same sample as the verification that printed this seed
    #[arg(long, value_name = "SEED", requires = "sample")]
    pub seed: Option<i64>,
    /// Read only tokens that this run committed [default: those of all runs]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// Also read tokens whose access tokens have expired. Descope then refreshes them, which may invalidate
    /// the old system's copy: freeze the old system first
    #[arg(long)]
    pub include_expired: bool,
    /// Print one JSON object about the run on standard output
    #[arg(long)]
    pub json: bool,
    /// Monitoring options.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "The next `migrate` sends deleted tokens again: first remove the rows from the source, or correct the \
    configuration. Each token costs two requests of the quota.\n\n\
    Examples:\n  \
    tokenferry rollback --run 7 --dry-run   what would be deleted, and what would stay\n  \
    tokenferry rollback --run 7             asks, then deletes\n  \
    tokenferry rollback --run 7 --yes       for scripts\n\n\
    Ends with 0 if nothing of the run is left, 3 if some tokens stay (`tokenferry failures --run ID`, with the rollback's own ID, lists \
    them), 4 if the API does not let tokens be read back or deleted, 5 if another run is active, 2 if it was not confirmed, otherwise \
    as `migrate`."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct RollbackArgs {
    /// Run whose tokens are deleted
    #[arg(long, value_name = "ID")]
    pub run: RunId,
    /// Report what would be deleted and what would stay; delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; required without a terminal
    #[arg(long)]
    pub yes: bool,
    /// Also read tokens whose access tokens have expired. Descope then refreshes them: refreshed tokens stay,
    /// and the old system's copies may become invalid
    #[arg(long)]
    pub include_expired: bool,
    /// Print one JSON object about the run on standard output
    #[arg(long)]
    pub json: bool,
    /// Monitoring options.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only the ledger: it needs no credentials for the API, and may run beside `migrate`.\n\n\
    Examples:\n  \
      tokenferry status                       the whole migration, and the latest run that moved tokens\n  \
      tokenferry status --run 4 --json        another one, for scripts\n\n\
    Ends with 0 regardless of the result of the run, 2 if there is no such run or nothing was migrated yet, 6 if the ledger's database \
    does not respond."
)]
pub struct StatusArgs {
    /// Show only this run [default: the migration, and the latest run that moved tokens]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Shows no token, and sends nothing to the API.\n\n\
    Examples:\n  \
      tokenferry show 4711\n  \
      tokenferry show anna@example.com     if a run has looked this login ID up\n\n\
    Ends with 0 if there is something to show, 2 if the ledger knows nothing of it, 6 if the ledger's database does not respond.")]
pub struct ShowArgs {
    /// Key of a row in the source, ID of a user or tenant at Descope, or a login ID
    #[arg(value_name = "KEY|USER|TENANT|LOGIN")]
    pub of: String,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Options of `failures`.
#[derive(Debug, Args)]
#[command(
    after_help = "The table comes with the SQL that selects the rows in the source. No token is shown.\n\n\
    Examples:\n  \
      tokenferry failures                               what failed last, of all runs\n  \
      tokenferry failures --run 4 --warnings            of one run, with warnings\n  \
      tokenferry failures --format csv --output failed.csv\n  \
      tokenferry failures --run 12 --since 9            what is new, resolved and unchanged\n  \
      tokenferry failures --acknowledge --code no_token --reason \"accounts without a connection\"\n\n\
    Fix the rows, then run `tokenferry migrate` (or `tokenferry migrate --only-failed`, which reads no others).\n\n\
    Ends with 0 however many there are, 2 if there is no such run or nothing was migrated yet, 6 if the ledger's database does not \
    respond."
)]
pub struct FailuresArgs {
    /// List what failed in this run, or what a dry run found, a verification found different, or a rollback
    /// kept [default: the last failures of all runs, or, if nothing was migrated yet, the findings of the
    /// latest dry run]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// With --run: list what changed since this earlier run: new, resolved and unchanged failures
    #[arg(long, value_name = "ID", requires = "run", conflicts_with_all = ["warnings", "superseded"])]
    pub since: Option<RunId>,
    /// Also list warnings about uploaded tokens; for a dry run or a verification they are always listed
    #[arg(long, requires = "run")]
    pub warnings: bool,
    /// List instead the rows left out for another token, each with the one that took its place [default run:
    /// the last one over all rows]
    #[arg(long, conflicts_with = "warnings")]
    pub superseded: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub format: Format,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Options that acknowledge.
    #[command(flatten)]
    pub acknowledge: AcknowledgeArgs,
}

/// Options of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "The page is one file that needs no network. It names keys, users and tenants of failed rows, and no token. An existing file \
    is replaced.\n\n\
    Examples:\n  \
    tokenferry report --output run.html\n  \
    tokenferry report --run 4 --output - | gzip > run-4.html.gz\n\n\
    Ends with 0 if it was written, 1 if the file cannot be written, 2 if there is no such run, 6 if the ledger does not respond."
)]
pub struct ReportArgs {
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Run to report [default: the one that `status` shows]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example: tokenferry doctor\n\n\
    Ends with 0 if a run will work (warnings allowed); otherwise with the code of the first failure, in the order configuration, \
    source, ledger, API: 2 if the configuration is wrong or the source is not as configured, 6 if a database does not respond or lacks \
    a permission, 4 if the API refuses the credentials or cannot be reached.")]
pub struct DoctorArgs {
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry man | man -l -
  tokenferry man --output ~/.local/share/man/man1

Ends with 0 if it was written.")]
pub struct ManArgs {
    /// Folder for a page per command, such as ~/.local/share/man/man1; tokenferry.toml(5) goes into man5 next
    /// to it
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_commands_fit_together() {
        super::Cli::command().debug_assert();
    }
}

/// Options of commands that can be monitored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Address to serve /metrics, /healthz and /readyz at during the run [default: `metrics.listen`]
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Pushgateway to push the metrics to when the run ends; without a password [default: `metrics.push_url`]
    #[arg(long, value_name = "URL")]
    pub metrics_push: Option<String>,
    /// Serve a page that shows the run and can pause, slow down or stop it, at the address of the metrics or
    /// on a free port; the address and its token are printed
    #[arg(long)]
    pub live: bool,
}
