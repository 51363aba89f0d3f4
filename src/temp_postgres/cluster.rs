//! The files of a cluster and the command lines that make and serve them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::temp_postgres::{
    Options, TempPostgresError,
    address::{Address, USER},
    data_dir::DataDir,
    locate::Binaries,
};

/// The server must not depend on the caller's language, time zone or locale. A given time zone also saves
/// `initdb` from comparing the system's with every one it knows.
const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("TZ", "UTC")];

/// In order of preference: what sorts the same everywhere and still knows letters outside ASCII, then what
/// always exists.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// The length of a log's end in an error.
const TAIL_LINES: usize = 20;

/// Makes the data folder, with processes of the given group.
pub(super) async fn initialise(
    binaries: &Binaries,
    home: &DataDir,
    group: i32,
) -> Result<(), TempPostgresError> {
    let mut failure = None;
    for locale in LOCALES {
        let output = command(home, group, &binaries.program("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8"])
            .arg(format!("--locale={locale}"))
            .arg(format!("--username={USER}"))
            .arg("--pgdata")
            .arg(data(home))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(TempPostgresError::io("run initdb"))?;
        if output.status.success() {
            return Ok(());
        }
        let printed = [output.stdout, output.stderr].concat();
        failure.get_or_insert(TempPostgresError::Program {
            program: "initdb".to_owned(),
            status: output.status,
            output: tail(&String::from_utf8_lossy(&printed)),
        });
    }
    // There is a failure: there are locales, and each of them failed.
    failure.map_or(Ok(()), Err)
}

/// Starts the server in the given process group; it is not ready yet.
pub(super) fn serve(
    binaries: &Binaries,
    home: &DataDir,
    group: i32,
    address: &Address,
    options: &Options,
) -> Result<Child, TempPostgresError> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_path(home))
        .map_err(TempPostgresError::io("open the log of the throwaway Postgres"))?;
    let errors: File = log
        .try_clone()
        .map_err(TempPostgresError::io("open the log of the throwaway Postgres"))?;
    let mut postgres = command(home, group, &binaries.program("postgres"));
    postgres.arg("-D").arg(data(home));
    set(
        &mut postgres,
        "max_connections",
        &options.max_connections.to_string(),
    );
    set(&mut postgres, "cluster_name", "tokenferry-scratch");
    for (name, value) in address.settings() {
        set(&mut postgres, name, &value);
    }
    for (name, value) in options.durability.settings() {
        set(&mut postgres, name, value);
    }
    postgres
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(TempPostgresError::io("start postgres"))
}

/// Tells whether the server with this process ID reports that it accepts connections.
///
/// The file is what `pg_ctl --wait` looks at. Unlike a connection it cannot be somebody else's server on the
/// same port.
pub(super) fn is_ready(home: &DataDir, process_id: u32) -> bool {
    let Ok(file) = fs::read_to_string(process_file(home)) else {
        return false;
    };
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    lines.first() == Some(&process_id.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

/// Removes the process ID of a server that is gone. Not to be done if it is to start again: the file is its
/// lock.
pub(super) fn forget_process(home: &DataDir) {
    if let Err(error) = fs::remove_file(process_file(home))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "cannot remove the process ID of the throwaway Postgres");
    }
}

/// The end of the server's log, or nothing if there is none.
pub(super) fn log_tail(home: &DataDir) -> String {
    fs::read(log_path(home))
        .map(|log| tail(&String::from_utf8_lossy(&log)))
        .unwrap_or_default()
}

fn data(home: &DataDir) -> PathBuf {
    home.path().join("data")
}

fn process_file(home: &DataDir) -> PathBuf {
    data(home).join("postmaster.pid")
}

fn log_path(home: &DataDir) -> PathBuf {
    home.path().join("postgres.log")
}

fn command(home: &DataDir, group: i32, program: &Path) -> Command {
    let mut command = home.command(program, group);
    command.envs(ENVIRONMENT);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

fn set(command: &mut Command, name: &str, value: &str) {
    command.arg("-c").arg(format!("{name}={value}"));
}

pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
