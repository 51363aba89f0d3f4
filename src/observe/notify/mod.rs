//! Notifications: runs the configured program with the summary of a run on its standard input.
//!
//! Of the environment, the program gets only the path, home, language and time zone. Its output is discarded,
//! since it is unknown. Its failure does not affect the run.

mod which;

use std::{env, fmt, io, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    config::{NotifySettings, Occasion},
    domain::{RunId, visible_json},
};

pub use which::which;

/// The environment variables that the program receives.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The summary and the event.
#[derive(Serialize)]
struct Told<'a, S> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a S,
}

/// The reason why a hook failed.
#[derive(Debug)]
enum Failure {
    Started(io::Error),
    Ended(std::process::ExitStatus),
    Late,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(error) => write!(f, "it could not be started: {error}"),
            Self::Ended(status) => write!(f, "it ended with {status}"),
            Self::Late => write!(f, "it took longer than `notify.timeout` and was killed"),
        }
    }
}

/// Runs the hook until it ends or times out. A failure is only logged.
pub async fn notify<S: Serialize>(settings: &NotifySettings, occasion: Occasion, run_id: RunId, summary: &S) {
    let event = occasion.as_str();
    let told = Told { event, summary };
    // Cannot fail: a summary consists of numbers and texts.
    let Ok(json) = serde_json::to_string(&told) else {
        return;
    };
    // A hook may show it or forward it.
    let json = visible_json(&(json + "\n")).into_owned();
    let program = settings.program.as_str();
    match hook(settings, occasion, run_id, json.as_bytes()).await {
        Ok(()) => debug!(run_id, hook = event, program, "hook completed"),
        Err(failure) => {
            warn!(run_id, hook = event, program, reason = %failure, "hook failed, run not affected");
        }
    }
}

async fn hook(
    settings: &NotifySettings,
    occasion: Occasion,
    run_id: RunId,
    json: &[u8],
) -> Result<(), Failure> {
    let mut command = Command::new(&settings.program);
    command
        .args(&settings.arguments)
        .env_clear()
        .envs(
            PASSED_ON
                .into_iter()
                .filter_map(|name| Some((name, env::var_os(name)?))),
        )
        .env("TOKENFERRY_EVENT", occasion.as_str())
        .env("TOKENFERRY_RUN_ID", run_id.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C must not reach it, and its children can be killed with it.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(Failure::Started)?;
    let group = child.id();
    if let Ok(status) = timeout(settings.timeout, feed(&mut child, json)).await {
        let status = status.map_err(Failure::Started)?;
        return if status.success() {
            Ok(())
        } else {
            Err(Failure::Ended(status))
        };
    }
    if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
        // Fails if the group is already gone.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait().await;
    Err(Failure::Late)
}

/// Writes the summary, which the hook may ignore, and waits for its end.
async fn feed(child: &mut Child, json: &[u8]) -> io::Result<std::process::ExitStatus> {
    let stdin = child.stdin.take();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(json).await;
        }
    };
    let (status, ()) = tokio::join!(child.wait(), feeding);
    status
}
