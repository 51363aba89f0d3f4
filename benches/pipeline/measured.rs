//! The cost of one process: time, CPU and peak memory.

use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The figures of a process that ended, and what it printed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) wall_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) report: serde_json::Value,
}

impl Measured {
    /// Runs a command that prints JSON or nothing.
    ///
    /// The system tells what children cost only as a sum over all that ended, so a process in between, which
    /// has no other child, does the asking.
    pub(crate) async fn run(command: &[OsString]) -> anyhow::Result<Self> {
        let output = tokio::process::Command::new(std::env::current_exe()?)
            .args(["measure", "--"])
            .args(command)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "a measured process failed");
        serde_json::from_slice(&output.stdout).context("what was measured cannot be read")
    }
}

/// The process in between.
pub(crate) fn measure(command: &[OsString]) -> anyhow::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("there is nothing to measure");
    };
    let begin = Instant::now();
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    let wall_seconds = begin.elapsed().as_secs_f64();
    ensure!(output.status.success(), "it ended with {}", output.status);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    // Counted in KiB everywhere but on Apple's systems.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    let measured = Measured {
        wall_seconds,
        user_seconds: seconds(usage.user_time()),
        system_seconds: seconds(usage.system_time()),
        peak_bytes: u64::try_from(usage.max_rss())? * unit,
        report: match output.stdout.as_slice() {
            [] => serde_json::Value::Null,
            json => serde_json::from_slice(json).context("it did not print JSON")?,
        },
    };
    serde_json::to_writer(std::io::stdout().lock(), &measured)?;
    Ok(())
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
