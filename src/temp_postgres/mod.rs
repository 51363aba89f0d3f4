//! A throwaway Postgres, for the demonstration and for tests.
//!
//! [`any`] takes what the machine has: its own Postgres binaries ([`TempPostgres`]: ready in about a second,
//! and by default not on the network at all), else a Docker container ([`DockerPostgres`]). Either is gone,
//! with all its data, when the value is dropped or this process ends, in whatever way it ends: see
//! [`Watchdog`].
//!
//! ```no_run
//! # async fn example() -> Result<(), tokenferry::temp_postgres::TempPostgresError> {
//! use tokenferry::temp_postgres;
//!
//! let postgres = temp_postgres::any(temp_postgres::Options::default()).await?;
//! postgres.create_database("crm").await?;
//! println!("{}: {}", postgres.describe(), postgres.url("crm"));
//! postgres.stop().await?;
//! # Ok(())
//! # }
//! ```

mod address;
mod cluster;
mod data_dir;
mod docker;
mod error;
mod locate;
mod server;
mod watchdog;

use std::path::PathBuf;

pub use docker::DockerPostgres;
pub use error::TempPostgresError;
pub use server::{StopMode, TempPostgres};
pub use watchdog::Watchdog;

/// Options of a throwaway Postgres.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address of the server. A container is always on a loopback port.
    pub listen: Listen,
    /// The failures that the data must survive.
    pub durability: Durability,
    /// The most concurrent sessions.
    pub max_connections: u16,
    /// The folder with `initdb` and `postgres`; without one, the first Postgres found.
    pub binaries: Option<PathBuf>,
    /// The Docker image, for the case that the machine has no Postgres of its own.
    pub image: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Listen::Socket,
            durability: Durability::Process,
            max_connections: 100,
            binaries: None,
            image: "postgres:17-alpine".to_owned(),
        }
    }
}

/// The kind of address of a throwaway server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket in the server's own folder: no port to collide on, and only this user (and root) gets
    /// in.
    Socket,
    /// A free TCP port on 127.0.0.1. There is no password: every user of this machine gets in.
    Loopback,
}

/// The failures that committed data survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the server's processes, even a violent one. Nothing waits for the disk, which is what makes
    /// tests fast.
    Process,
    /// A power cut too, as with a Postgres in earnest.
    Disk,
}

impl Durability {
    /// `synchronous_commit` stays on: without it the last commits would not survive an immediate stop.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Process => &[("fsync", "off"), ("full_page_writes", "off")],
            Self::Disk => &[],
        }
    }
}

/// A throwaway Postgres from wherever there was one.
#[derive(Debug)]
pub enum TempServer {
    /// From the machine's own binaries.
    Local(Box<TempPostgres>),
    /// In a container.
    Docker(DockerPostgres),
}

/// Starts a throwaway Postgres from the machine's own binaries, else in a container.
///
/// # Errors
/// [`TempPostgresError::Nowhere`], which says what to install, when the machine has neither.
pub async fn any(options: Options) -> Result<TempServer, TempPostgresError> {
    let local = match TempPostgres::start(options.clone()).await {
        Ok(postgres) => return Ok(TempServer::Local(Box::new(postgres))),
        Err(error) => error,
    };
    tracing::debug!(%local, "no Postgres from this machine's binaries; trying Docker");
    match DockerPostgres::start(&options).await {
        Ok(postgres) => Ok(TempServer::Docker(postgres)),
        Err(docker) => Err(TempPostgresError::Nowhere {
            local: Box::new(local),
            docker: Box::new(docker),
        }),
    }
}

impl TempServer {
    /// The URL of a database on this server. The database `postgres` is there from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match self {
            Self::Local(postgres) => postgres.url(database),
            Self::Docker(postgres) => postgres.url(database),
        }
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// If the server does not answer, or has a database of this name.
    pub async fn create_database(&self, name: &str) -> Result<(), TempPostgresError> {
        match self {
            Self::Local(postgres) => postgres.create_database(name).await,
            Self::Docker(postgres) => postgres.create_database(name).await,
        }
    }

    /// Describes kind and origin, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Local(postgres) => postgres.describe(),
            Self::Docker(postgres) => postgres.describe(),
        }
    }

    /// Ends the server and removes its data.
    ///
    /// # Errors
    /// If something of it could not be removed.
    pub async fn stop(self) -> Result<(), TempPostgresError> {
        match self {
            Self::Local(postgres) => postgres.stop().await,
            Self::Docker(postgres) => postgres.stop().await,
        }
    }
}
