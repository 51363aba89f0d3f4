//! `demo`: a whole migration on a throwaway Postgres and the stand-in API, with a narration.
//!
//! The migration itself runs as a person would run it: this very program, in a process of its own, with a
//! configuration file.

mod comparison;
mod narrator;
mod seed;

use std::{path::Path, process::Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use self::{narrator::Narrator, seed::LegacyTable};
use super::{Exit, signals};
use crate::{
    report::counted,
    secret::Secret,
    simulator::{FaultRates, RateLimit, Simulator, SimulatorHandle},
    temp_postgres::{self, TempServer},
};

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Starts a throwaway server from the Postgres binaries of this machine (in PATH, through pg_config, in the usual folders) \
    or with Docker. Nothing is left behind. `--verbose` shows the log of each command.\n\n\
    Example: tokenferry demo --tokens 5000\n\n\
    Ends with 0 if everything was uploaded, 6 if there is no Postgres, 130 after Ctrl-C."
)]
pub struct DemoArgs {
    /// Legacy tokens to migrate
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    tokens: u32,
    /// Postgres to use; the demo creates two schemas in it and drops them at the end. Other users of this
    /// machine can read arguments: prefer the variable
    #[arg(
        long,
        value_name = "URL",
        env = "TOKENFERRY_DEMO_DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<String>,
}

/// Requests per window that the stand-in allows; the configuration asks for exactly that.
const QUOTA: usize = 200;

pub(super) async fn run(args: DemoArgs, verbose: u8) -> anyhow::Result<Exit> {
    let interrupted = CancellationToken::new();
    signals::cancel_on_first(interrupted.clone());
    let narrator = Narrator::default();
    narrator.title(&format!(
        "{} move from Postgres into Descope outbound apps. Both ends are stand-ins on this machine.",
        counted(args.tokens.into(), "legacy OAuth token", "legacy OAuth tokens")
    ));

    let (url, server) = match args.database_url {
        Some(url) => (Secret::new(url), None),
        None => {
            let server = temp_postgres::any(temp_postgres::Options::default()).await?;
            narrator.step(&format!("A source database: {}", server.describe()));
            (Secret::new(server.url("postgres")), Some(server))
        }
    };
    let legacy_table = LegacyTable::new(&url, server.is_some());
    let told = tokio::select! {
        told = tell(&narrator, &legacy_table, &url, args.tokens, verbose) => told,
        () = interrupted.cancelled() => Ok(Exit::Signal(2)),
    };
    let cleaned = clean_up(&legacy_table, server).await;
    let exit = told?;
    cleaned?;
    if exit == Exit::Done {
        narrator.end(
            "The database, the stand-in and the configuration are gone again. Your own migration begins with \
             `tokenferry init`; `tokenferry report --output run.html` then writes a page about it.",
        );
    }
    Ok(exit)
}

async fn clean_up(legacy_table: &LegacyTable<'_>, server: Option<TempServer>) -> anyhow::Result<()> {
    match server {
        Some(server) => Ok(server.stop().await?),
        None => legacy_table.drop().await,
    }
}

async fn tell(
    narrator: &Narrator,
    legacy_table: &LegacyTable<'_>,
    url: &Secret,
    tokens: u32,
    verbose: u8,
) -> anyhow::Result<Exit> {
    legacy_table.create(tokens).await?;
    narrator.step(&format!(
        "A legacy table, {}: {} of users and tenants of four providers; a few are not fit to go, three are outdated",
        legacy_table.table(),
        counted(tokens.into(), "token", "tokens")
    ));

    let simulator = stand_in().await?;
    narrator.step(&format!(
        "A stand-in for the Descope API at {}: strict about every field, {QUOTA} requests per 10 s, and unreliable: \
         3 % of requests fail, 1 % are cut off before and 2 % after they were stored, 1 % get an unreadable answer",
        simulator.base_url()
    ));

    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let config = folder.path().join("tokenferry.toml");
    let text = legacy_table.configuration(simulator.base_url());
    tokio::fs::write(&config, &text)
        .await
        .context("the configuration cannot be written")?;
    narrator.step("The configuration (credentials come from the environment, never from the command line):");
    narrator.quote(&abridged(&text));

    let job = Job {
        config: &config,
        url,
        simulator: &simulator,
        narrator,
        verbose,
    };
    narrator.step("A dry run: everything is read and checked, and nothing is sent:");
    ensure!(
        job.run(&["migrate", "--dry-run"]).await? == 3,
        "the dry run should end with code 3: some tokens would fail"
    );
    ensure!(
        simulator.requests().all().is_empty(),
        "the dry run should send nothing"
    );
    fix(narrator, legacy_table, legacy_table.fixes()).await?;
    narrator.step("The migration:");
    ensure!(
        job.run(&["migrate"]).await? == 3,
        "the first run should end with code 3: some tokens failed"
    );
    narrator.step("Which tokens failed, and why: users that the API does not know");
    ensure!(
        job.run(&["failures"]).await? == 0,
        "the failures could not be listed"
    );
    fix(narrator, legacy_table, legacy_table.later_fixes()).await?;
    narrator.step("The same command again sends only what is new, changed or failed:");
    let requests_before = simulator.requests().all().len();
    ensure!(
        job.run(&["migrate"]).await? == 0,
        "the second run should end with code 0"
    );
    let requests = i64::try_from(simulator.requests().all().len() - requests_before)?;

    narrator.step(&format!(
        "That took {}. Everything is read back and compared with the source:",
        counted(requests, "request", "requests")
    ));
    let comparison = comparison::compare(&legacy_table.newest_rows().await?, &simulator)?;
    narrator.tell(&comparison.to_string());
    simulator.shutdown().await;
    Ok(Exit::Done)
}

/// Leaves out what is the same line over and over: columns and apps.
fn abridged(configuration: &str) -> String {
    let mut lines = Vec::new();
    let mut is_list = false;
    for line in configuration.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            is_list = matches!(line, "[source.columns]" | "[apps]");
            lines.push(if is_list {
                format!("{line} …")
            } else {
                line.to_owned()
            });
        } else if !is_list {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

async fn fix(
    narrator: &Narrator,
    legacy_table: &LegacyTable<'_>,
    statements: Vec<String>,
) -> anyhow::Result<()> {
    narrator.step("Somebody fixes those rows in the source:");
    for sql in &statements {
        narrator.quote(&format!("{sql};"));
    }
    legacy_table.fix(statements).await
}

async fn stand_in() -> anyhow::Result<SimulatorHandle> {
    let faults = FaultRates {
        error: 0.03,
        cut_before_commit: 0.01,
        cut_after_commit: 0.02,
        unreadable: 0.01,
        ..FaultRates::default()
    };
    Simulator::builder()
        .refused_users(seed::unknown_users())
        .rate_limit(RateLimit::new(QUOTA, std::time::Duration::from_secs(10)))
        .faults(faults)
        .seed(7)
        .start()
        .await
        .context("the stand-in for the API cannot be started")
}

/// Commands of this program, run as a person would.
struct Job<'a> {
    config: &'a Path,
    url: &'a Secret,
    simulator: &'a SimulatorHandle,
    narrator: &'a Narrator,
    /// How often `--verbose` was given.
    verbose: u8,
}

impl Job<'_> {
    /// Runs a command and gives its exit code.
    async fn run(&self, command: &[&str]) -> anyhow::Result<i32> {
        self.narrator.command(&format!(
            "tokenferry {} --config tokenferry.toml",
            command.join(" ")
        ));
        let program = std::env::current_exe().context("this program's own file is not to be found")?;
        let mut child = Command::new(program);
        child
            .args(command)
            .arg("--config")
            .arg(self.config)
            .args(["--log-format", "text"])
            .env("SOURCE_DATABASE_URL", self.url.reveal())
            .env("DESCOPE_PROJECT_ID", self.simulator.project_id())
            .env("DESCOPE_MANAGEMENT_KEY", self.simulator.management_key().reveal())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        match usize::from(self.verbose) {
            // Progress and summary tell the story.
            0 => child.env("RUST_LOG", "error"),
            times => child
                .env_remove("RUST_LOG")
                .args(std::iter::repeat_n("-v", times - 1)),
        };
        let status = child
            .status()
            .await
            .context("this program cannot be started a second time")?;
        let code = status
            .code()
            .with_context(|| format!("`tokenferry {}` was killed", command.join(" ")))?;
        self.narrator.exit_code(code);
        Ok(code)
    }
}
