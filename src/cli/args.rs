//! The commands and their options.

use std::{num::NonZeroU64, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{demo::DemoArgs, simulate::SimulateArgs, watch::WatchArgs};
use crate::{domain::RunId, report::Format};

/// Made by build.rs: the version, and in release builds the commit.
const VERSION: &str = env!("TOKENFERRY_VERSION");

/// Moves legacy OAuth tokens out of a Postgres database into Descope outbound apps, in batches, once
#[derive(Debug, Parser)]
#[command(
    version = VERSION,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Begin with `tokenferry demo`: it shows the whole job on this machine, with nothing configured. Then write \
    `tokenferry config example` to tokenferry.toml, edit it, and:\n\n  \
      tokenferry doctor              is everything there that a run needs?\n  \
      tokenferry migrate --dry-run   what would happen, and which tokens would fail\n  \
      tokenferry migrate --canary 20 the job, with proof of the first tokens\n  \
      tokenferry failures            what did not arrive, and why\n  \
      tokenferry verify --sample 200 what did, read back\n\n\
    `tokenferry COMMAND --help` has an example of each, and its exit codes."
)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration [default: tokenferry.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the log on standard error looks; auto is text on a terminal, JSON elsewhere
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only what is wrong, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Upload what is new, changed or failed; go on with a run that was interrupted
    Migrate(MigrateArgs),
    /// Read tokens back from Descope and hold them against the source
    Verify(VerifyArgs),
    /// Delete at Descope what one run uploaded, and nothing else
    Rollback(RollbackArgs),
    /// Show where the migration stands
    Status(StatusArgs),
    /// Show everything that is known of one token, or of a user's or a tenant's
    Show(ShowArgs),
    /// List every token that failed, or would, with its reason and where to find its row
    Failures(FailuresArgs),
    /// Write a page about a run: one HTML file with figures and failing rows, to be kept or handed on
    Report(ReportArgs),
    /// Look at the configuration, both databases and the API, and change nothing
    Doctor(DoctorArgs),
    /// Print a configuration to begin with
    Config(ConfigArgs),
    /// Run a stand-in for the Descope API, for rehearsals and tests
    Simulate(Box<SimulateArgs>),
    /// Show the whole job on a throwaway Postgres and the stand-in API, with nothing configured
    Demo(DemoArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: tokenferry completions bash > ~/.local/share/bash-completion/completions/tokenferry\n\n\
        Ends with 0."
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write a page for each command
    Man(ManArgs),
}

/// Options of `config`.
#[derive(Debug, Args)]
#[command(after_help = "Example: tokenferry config example > tokenferry.toml\n\n\
    Ends with 0.")]
pub struct ConfigArgs {
    /// What to print.
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// What `config` prints.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// The whole configuration, every key with what it means: edit the first lines, and keep the rest as it is
    Example,
}

/// Options of `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tokenferry migrate --dry-run               what would happen, in how many requests
  tokenferry migrate --canary 20             prove 20 tokens, then send the rest in batches
  tokenferry migrate --canary 200 --canary-failures 5
                                             the same, and let up to 5 of 200 be dead
  tokenferry migrate --live                  with a page to watch it on, and to pause, slow down or stop it
  tokenferry migrate --canary 20 --limit 20  the canary alone; the next run goes on behind it

Ends with 0 if everything selected is committed, 3 if some tokens failed (or, with --dry-run, would), 4 if the API refused the \
    credentials, the canary failed or too much failed in a row, 5 if another run is active, 6 if a database does not answer, 2 if the \
    configuration is wrong, 130 or 143 after a signal (130, too, if it is stopped on the live page). Whatever interrupts it: run it again, and it goes on.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct MigrateArgs {
    /// Read and check everything, send nothing: says what would happen, and which tokens would fail and why. May be
    /// repeated at will, and while another run is active
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: ask the API, too, whether every app, tenant and user exists. Says first how much there is to ask
    #[arg(long, requires = "dry_run")]
    pub online: bool,
    /// With --online: ask about so many users only, evenly over the rows
    #[arg(
        long, value_name = "N", requires = "online", conflicts_with = "only_failed",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub sample: Option<u64>,
    /// Only the tokens whose last outcome is a failure, without reading the rest of the source
    #[arg(long)]
    pub only_failed: bool,
    /// Only those that failed with this code
    #[arg(long, value_name = "CODE", requires = "only_failed")]
    pub code: Option<String>,
    /// Send the first N tokens one by one, each verified at its provider before anything of it is stored, and open the
    /// bulk only if they arrive; else the run stops (exit 4). At some providers, verifying ends the refresh token that the
    /// source holds
    #[arg(long, value_name = "N")]
    pub canary: Option<NonZeroU64>,
    /// So many of them may fail
    #[arg(long, value_name = "M", requires = "canary", default_value_t = 0)]
    pub canary_failures: u64,
    /// End after so many tokens were sent; the next run goes on from there. With --dry-run: after so many that would be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Send rows also where their `updated_at` is earlier than when their token was sent. Without this the newer token stays:
    /// the source may be a replica that lags behind, or restored from a backup
    #[arg(long)]
    pub allow_older: bool,
    /// Print one JSON object about the run on standard output
    #[arg(long)]
    pub json: bool,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing at Descope (but see --include-expired) and no token's state, and may run beside `migrate`. Each token costs one \
    request of the quota. An interrupted verification of the same tokens is gone on with. Tokens whose access tokens have expired are not read, \
    and listed as warnings.\n\n\
    Example: tokenferry verify --sample 200\n\n\
    Ends with 0 if nothing differs, 3 if something does: `tokenferry failures --run ID` lists which field of which row. 4 if the API \
    does not let tokens be read back, 5 if another verification is active, otherwise as `migrate`."
)]
pub struct VerifyArgs {
    /// Only so many tokens, drawn evenly over the keys [default: every committed token]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub sample: Option<i64>,
    /// Draw the same sample as the verification that printed this seed
    #[arg(long, value_name = "SEED", requires = "sample")]
    pub seed: Option<i64>,
    /// Only tokens that this run committed [default: those of all runs]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// Read tokens whose access tokens have expired as well, or expire within `api.refresh_margin`. Descope refreshes those, and at a
    /// provider that rotates refresh tokens the old system's copy ends: freeze the old system first
    #[arg(long)]
    pub include_expired: bool,
    /// Print one JSON object about it on standard output
    #[arg(long)]
    pub json: bool,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each token of the run is read back first, and deleted by its own ID if it is as it was sent. What was there before, what has \
    changed since, at Descope or in the source, and what cannot be recognised stays, with a reason. Costs two requests of the quota for \
    each token. Deleted tokens count as never sent: the next `migrate` sends them again, so take the rows out of the source, or correct \
    the configuration, before. An interrupted rollback of the same run is gone on with.\n\n\
    Examples:\n  \
    tokenferry rollback --run 7 --dry-run   what would be deleted, and what would stay\n  \
    tokenferry rollback --run 7             asks, then deletes\n  \
    tokenferry rollback --run 7 --yes       for scripts\n\n\
    Ends with 0 if nothing of the run is left, 3 if some tokens stay: `tokenferry failures --run ID` lists them by the rollback's own ID. \
    4 if the API does not let tokens be read back or deleted, 5 if another run is active, 2 if it was not confirmed, otherwise as `migrate`."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct RollbackArgs {
    /// The run whose tokens are to be deleted
    #[arg(long, value_name = "ID")]
    pub run: RunId,
    /// Say what would be deleted, and what would stay; delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    /// Read tokens whose access tokens have expired as well, or expire within `api.refresh_margin`. Descope refreshes those: what
    /// it refreshed stays, and at a provider that rotates refresh tokens the old system's copy ends
    #[arg(long)]
    pub include_expired: bool,
    /// Print one JSON object about it on standard output
    #[arg(long)]
    pub json: bool,
    /// How it is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Asks the ledger alone: it needs no credentials for the API, and may run beside `migrate`.\n\n\
    Examples:\n  \
      tokenferry status                       the latest run that moved tokens\n  \
      tokenferry status --run 4 --json        another one, for scripts\n\n\
    Ends with 0 whatever became of the run, 2 if there is no such run or nothing was migrated yet, 6 if the ledger's database \
    does not answer."
)]
pub struct StatusArgs {
    /// The run [default: the latest that moved tokens, or else the latest]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(
    after_help = "Says when the row was seen and sent, in which batches, what the API said, what dry runs and verifications noticed, and, if the \
    source is there, whether the row has changed since. Never shows a token, and asks the API nothing.\n\n\
    Example: tokenferry show 4711\n\n\
    Ends with 0 if there is something to show, 2 if the ledger knows nothing of it, 6 if the ledger's database does not answer."
)]
pub struct ShowArgs {
    /// The key of a row in the source, or the ID of a user or tenant at Descope
    #[arg(value_name = "KEY|USER|TENANT")]
    pub of: String,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Options of `failures`.
#[derive(Debug, Args)]
#[command(
    after_help = "Names rows by their keys, and never shows a token. The table comes with the SQL that selects the rows in the \
    source.\n\n\
    Examples:\n  \
      tokenferry failures                               whatever failed last, of all runs\n  \
      tokenferry failures --run 4 --warnings            of one run, with what somebody should look at\n  \
      tokenferry failures --format csv --output failed.csv\n\n\
    In CSV, an apostrophe stands before a cell that a spreadsheet would take for a formula (one that begins with = + - @ or a tab), and \
    control characters are spelt out; JSON has every value as it is. A new file is readable for its owner alone.\n\n\
    Fix the rows, then `tokenferry migrate` sends them (or `tokenferry migrate --only-failed`, without reading the others).\n\n\
    Ends with 0 however many there are, 2 if there is no such run or nothing was migrated yet, 6 if the ledger's database does not \
    answer."
)]
pub struct FailuresArgs {
    /// Only what failed in this run [default: whatever failed last in any, or, where nothing was migrated yet, what the latest dry
    /// run found]; of a dry run, the problems that it found; of a
    /// verification, what differs; of a rollback, what stays
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// List what was found about tokens that did go up, too; of a dry run or a verification it is always listed
    #[arg(long, requires = "run")]
    pub warnings: bool,
    /// List instead the rows that were left out for another token, each with the row that took its place; without --run, those of the
    /// last run over all rows
    #[arg(long, conflicts_with = "warnings")]
    pub superseded: bool,
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub format: Format,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "One file that needs no network, in light and dark, fit for a phone, a printer, and a mail. It says what was asked, what happened, \
    how fast it went and what held it back, which rows failed and why, with which settings, and what to do next. It names keys, users and \
    tenants of rows that failed, and never a token. An earlier file of that name is replaced.\n\n\
    Examples:\n  \
    tokenferry report --output run.html\n  \
    tokenferry report --run 4 --output - | gzip > run-4.html.gz\n\n\
    Ends with 0 if it was written, 1 if the file cannot be, 2 if there is no such run, 6 if the ledger does not answer."
)]
pub struct ReportArgs {
    /// The file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// The run [default: the one that `status` shows]
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example: tokenferry doctor\n\n\
    Ends with 0 if a run will work (warnings allowed); else with the code of the first thing that failed, in the \
    order configuration, source, ledger, API: 2 if the configuration is wrong or the source is not as configured, 6 if a \
    database does not answer or lacks a permission, 4 if the API refuses the credentials or is not there.")]
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
    /// Write a page for each command into this folder, such as ~/.local/share/man/man1, and tokenferry.toml(5) into man5 beside it
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
