//! Ends what this process leaves behind, however the process ends.
//!
//! A destructor does not run when a process is killed, and never for a `static`. So a small shell waits at
//! the other end of a pipe: when this process lets go of the pipe, or the system closes it because the
//! process is gone, the shell cleans up. Should the shell be killed too, destructors are all there is; and a
//! server whose folder is removed ends within a minute.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use tokio::task::spawn_blocking;

use crate::temp_postgres::TempPostgresError;

const REMOVE_SERVER: &str = include_str!("watchdog/remove_server.sh");
const REMOVE_CONTAINER: &str = include_str!("watchdog/remove_container.sh");

/// A shell that cleans up once it is dropped, or once this process is gone. Dropping it waits until that is
/// done.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Watches over a server's folder: ends the processes in its group and removes the folder.
    ///
    /// The shell must lead a process group of its own. It must run as the folder's owner, who can do no other
    /// harm.
    pub(super) fn over_server(shell: Command, folder: &Path) -> Result<Self, TempPostgresError> {
        Self::start(shell, REMOVE_SERVER, folder.as_os_str())
    }

    /// Watches over a Docker container, which may not exist yet: removes the container of this name.
    ///
    /// # Errors
    /// If no shell can be started.
    pub fn over_container(name: &str) -> Result<Self, TempPostgresError> {
        let mut shell = Command::new("/bin/sh");
        shell.process_group(0);
        Self::start(shell, REMOVE_CONTAINER, name.as_ref())
    }

    /// The process group that ends with what is watched over.
    ///
    /// The group exists as long as the shell, which only this process waits for: its number cannot be reused
    /// for another group.
    pub(super) fn group(&self) -> i32 {
        self.shell.id().cast_signed()
    }

    /// Has the shell clean up now, and waits for it.
    ///
    /// # Errors
    /// If something could not be removed.
    pub async fn finish(mut self) -> Result<(), TempPostgresError> {
        let waited = spawn_blocking(move || self.shell.wait())
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let status = waited.map_err(TempPostgresError::io("wait for the watchdog"))?;
        if status.success() {
            return Ok(());
        }
        Err(TempPostgresError::Program {
            program: "the clean-up".to_owned(),
            status,
            output: String::new(),
        })
    }

    fn start(mut shell: Command, script: &str, what: &OsStr) -> Result<Self, TempPostgresError> {
        let shell = shell
            .args(["-c", script, "tokenferry-watchdog"])
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(TempPostgresError::io("start /bin/sh"))?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // `wait` closes the pipe first, which is the sign to clean up. The scripts are bounded, and so is
        // this.
        if let Err(error) = self.shell.wait() {
            tracing::debug!(%error, "lost the watchdog of a throwaway Postgres");
        }
    }
}
