//! Peers: the same work done by small Python programs, see `benches/peers/README.md`.

use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

use anyhow::ensure;

use crate::{cost::Cost, database::Database, null_api::NullApi};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const PACKAGES: &str = "import aiohttp, asyncpg, descope, orjson, psycopg";

/// A program, and the number of its processes or threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Aiohttp,
    AiohttpTwoProcesses,
    Sdk,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Aiohttp, Self::AiohttpTwoProcesses, Self::Sdk];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Aiohttp => "Python: aiohttp",
            Self::AiohttpTwoProcesses => "Python: aiohttp, 2 processes",
            Self::Sdk => "Python: Descope SDK, 8 threads",
        }
    }

    /// Sends the whole table to the API.
    pub(crate) async fn run(self, database: &Database, api: &NullApi, rows: u64) -> anyhow::Result<Cost> {
        let (script, processes) = match self {
            Self::Aiohttp => ("aiohttp_peer.py", Some("1")),
            Self::AiohttpTwoProcesses => ("aiohttp_peer.py", Some("2")),
            Self::Sdk => ("sdk_peer.py", None),
        };
        let script = format!("{FOLDER}/{script}");
        // `-B`: no compiled files in the source tree.
        let command = ["python3", "-B", &script, database.url(), api.base_url()];
        let command: Vec<OsString> = command.into_iter().chain(processes).map(OsString::from).collect();
        let (cost, report) = Cost::measure(database, &command).await?;
        ensure!(report == rows, "{}: sent {report} of {rows} rows", self.label());
        Ok(cost)
    }
}

/// Returns whether Python is here with all the packages that the peers need.
pub(crate) fn are_available() -> bool {
    Command::new("python3")
        .args(["-c", PACKAGES])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
