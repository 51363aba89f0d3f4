//! A throwaway Postgres from the machine's own binaries.

use std::{io, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::temp_postgres::{
    Options, TempPostgresError, address::Address, cluster, data_dir::DataDir, locate::Binaries,
    watchdog::Watchdog,
};

/// Enough for a slow machine with a lot to recover.
const START_LIMIT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The most attempts to find a port that is still free when the server starts.
const PORT_ATTEMPTS: usize = 5;

/// To the system this is the number of a group that does not exist yet.
const NEW_GROUP: i32 = 0;

/// The signal that stops a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the sessions, writes everything out and goes.
    Fast,
    /// Drops everything at once, as if it had crashed; the next start recovers.
    Immediate,
}

/// A Postgres server of our own, in a folder of its own. Dropping it ends the server and removes the folder.
// The fields are dropped in this order: the watchdog ends the server first, so that nothing writes to the
// folder any more.
#[derive(Debug)]
pub struct TempPostgres {
    watchdog: Watchdog,
    postmaster: Option<Child>,
    home: DataDir,
    address: Address,
    binaries: Binaries,
    options: Options,
}

impl TempPostgres {
    /// Makes a new, empty server and waits until it takes connections.
    ///
    /// # Errors
    /// If the machine has no Postgres, or it does not start; then the error holds the end of its log.
    pub async fn start(options: Options) -> Result<Self, TempPostgresError> {
        let given = options.binaries.clone();
        let binaries = spawn_blocking(move || Binaries::locate(given.as_deref()));
        let binaries = binaries
            .await
            .map_err(io::Error::other)
            .map_err(TempPostgresError::io("look for Postgres"))??;
        let home = DataDir::create()?;
        let mut postgres = Self {
            watchdog: Watchdog::over_server(home.command("/bin/sh", NEW_GROUP), home.path())?,
            postmaster: None,
            address: pick(&options, &home)?,
            home,
            binaries,
            options,
        };
        cluster::initialise(&postgres.binaries, &postgres.home, postgres.watchdog.group()).await?;
        postgres.launch_on_a_free_address().await?;
        tracing::debug!(folder = %postgres.folder().display(), "started {}", postgres.describe());
        Ok(postgres)
    }

    /// The URL of a database on this server, with a user who may do everything and needs no password. The
    /// database `postgres` is there from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.address.url(database)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// If the server does not answer, or has a database of this name.
    pub async fn create_database(&self, name: &str) -> Result<(), TempPostgresError> {
        self.address.create_database(name).await
    }

    /// The folder with everything that belongs to this server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// The server's process ID while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.postmaster.as_ref().and_then(Child::id)
    }

    /// Describes kind and origin, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Binaries { version, folder } = &self.binaries;
        format!(
            "PostgreSQL {version} from {}, in a temporary folder",
            folder.display()
        )
    }

    /// Ends the server and keeps its data, so that a test can see what happens without a database.
    ///
    /// # Errors
    /// If the server cannot be waited for.
    pub async fn shut_down(&mut self, mode: StopMode) -> Result<(), TempPostgresError> {
        let Some(postmaster) = self.postmaster.as_mut() else {
            return Ok(());
        };
        for (signal, patience) in mode.signals() {
            send(postmaster, *signal);
            if let Ok(waited) = timeout(*patience, postmaster.wait()).await {
                waited.map_err(TempPostgresError::io("wait for the throwaway Postgres"))?;
                break;
            }
        }
        self.postmaster = None;
        Ok(())
    }

    /// Starts the server after [`TempPostgres::shut_down`]: the same data at the same address.
    ///
    /// # Errors
    /// If it does not start; then the error holds the end of its log.
    pub async fn start_again(&mut self) -> Result<(), TempPostgresError> {
        if self.postmaster.is_some() {
            return Ok(());
        }
        self.launch().await
    }

    /// Stops the server and starts it again: the same data at the same address.
    ///
    /// # Errors
    /// If it does not stop or does not start.
    pub async fn restart(&mut self, mode: StopMode) -> Result<(), TempPostgresError> {
        self.shut_down(mode).await?;
        self.start_again().await
    }

    /// Ends the server and removes its folder.
    ///
    /// # Errors
    /// If the folder could not be removed.
    pub async fn stop(mut self) -> Result<(), TempPostgresError> {
        self.shut_down(StopMode::Fast).await?;
        // A server that had to be killed leaves its process ID behind, which may be another process's soon.
        cluster::forget_process(&self.home);
        self.watchdog.finish().await
    }

    async fn launch_on_a_free_address(&mut self) -> Result<(), TempPostgresError> {
        for _ in 1..PORT_ATTEMPTS {
            match self.launch().await {
                Err(TempPostgresError::Start { log, .. }) if log.contains("Address already in use") => {
                    self.address = pick(&self.options, &self.home)?;
                }
                result => return result,
            }
        }
        self.launch().await
    }

    async fn launch(&mut self) -> Result<(), TempPostgresError> {
        let postmaster = cluster::serve(
            &self.binaries,
            &self.home,
            self.watchdog.group(),
            &self.address,
            &self.options,
        )?;
        let postmaster = self.postmaster.insert(postmaster);
        let deadline = Instant::now() + START_LIMIT;
        let reason = loop {
            if let Some(status) = postmaster
                .try_wait()
                .map_err(TempPostgresError::io("wait for postgres"))?
            {
                break format!("it ended ({status})");
            }
            if postmaster
                .id()
                .is_some_and(|id| cluster::is_ready(&self.home, id))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break format!("not ready after {} seconds", START_LIMIT.as_secs());
            }
            sleep(POLL_INTERVAL).await;
        };
        self.shut_down(StopMode::Immediate).await?;
        Err(TempPostgresError::Start {
            reason,
            log: cluster::log_tail(&self.home),
        })
    }
}

impl StopMode {
    /// The signal, and the wait before the next, harder one.
    fn signals(self) -> &'static [(Signal, Duration)] {
        const SIGNALS: [(Signal, Duration); 3] = [
            (Signal::SIGINT, Duration::from_secs(20)),
            (Signal::SIGQUIT, Duration::from_secs(10)),
            (Signal::SIGKILL, Duration::from_secs(5)),
        ];
        match self {
            Self::Fast => &SIGNALS,
            Self::Immediate => &SIGNALS[1..],
        }
    }
}

fn pick(options: &Options, home: &DataDir) -> Result<Address, TempPostgresError> {
    Address::pick(options.listen, home.path()).map_err(TempPostgresError::io("find a free port"))
}

/// A process that has been waited for has no ID any more, so the signal never goes to a stranger.
fn send(postmaster: &Child, signal: Signal) {
    if let Some(id) = postmaster.id().and_then(|id| id.try_into().ok())
        && let Err(error) = kill(Pid::from_raw(id), signal)
    {
        tracing::debug!(%error, %signal, "cannot signal the throwaway Postgres");
    }
}
