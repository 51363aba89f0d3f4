//! A throwaway Postgres in a Docker container, through the `docker` command.

use std::{io, process::Output, time::Duration};

use sqlx::{Connection, PgConnection};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::temp_postgres::{
    Options, TempPostgresError,
    address::{ADMIN_DATABASE, Address, USER},
    cluster::tail,
    watchdog::Watchdog,
};

/// An engine that takes longer to say its version is of no use.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The image may have to be fetched first.
const RUN_LIMIT: Duration = Duration::from_mins(5);
const START_LIMIT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A Postgres server in a container. Dropping it removes the container.
#[derive(Debug)]
pub struct DockerPostgres {
    watchdog: Watchdog,
    name: String,
    address: Address,
    image: String,
    version: String,
}

impl DockerPostgres {
    /// Starts a container from `options.image`, an image that behaves like the official `postgres`, and waits
    /// until the server takes connections.
    ///
    /// # Errors
    /// If no Docker engine answers, the image cannot be had, or the server does not start.
    pub async fn start(options: &Options) -> Result<Self, TempPostgresError> {
        engine().await?;
        let name = format!("tokenferry-{}-{:08x}", std::process::id(), rand::random::<u32>());
        // Before the container is there: a run that is interrupted half-way leaves one too.
        let watchdog = Watchdog::over_container(&name)?;
        run(&name, options).await?;
        let address = published(&name).await?;
        let version = ready(&name, &address).await?;
        let postgres = Self {
            watchdog,
            name,
            address,
            image: options.image.clone(),
            version,
        };
        tracing::debug!(container = %postgres.name, "started {}", postgres.describe());
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

    /// The container's name.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.name
    }

    /// Describes kind and origin, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "PostgreSQL {} in a Docker container from {}",
            self.version, self.image
        )
    }

    /// Removes the container and its data.
    ///
    /// # Errors
    /// If Docker refuses.
    pub async fn stop(self) -> Result<(), TempPostgresError> {
        self.watchdog.finish().await
    }
}

async fn engine() -> Result<(), TempPostgresError> {
    match docker(&["version", "--format", "{{.Server.Version}}"], ANSWER_LIMIT).await {
        Ok(_) => Ok(()),
        Err(TempPostgresError::Io { source, .. }) => Err(TempPostgresError::NoDocker {
            reason: source.to_string(),
        }),
        Err(TempPostgresError::Program { output, .. }) => Err(TempPostgresError::NoDocker { reason: output }),
        Err(other) => Err(other),
    }
}

/// Without `--rm`: a container that fails must stay until its log has been read.
async fn run(name: &str, options: &Options) -> Result<(), TempPostgresError> {
    let user = format!("POSTGRES_USER={USER}");
    let database = format!("POSTGRES_DB={ADMIN_DATABASE}");
    let mut arguments = vec!["run", "--detach", "--name", name, "--publish", "127.0.0.1::5432"];
    for variable in [&user, &database, "POSTGRES_HOST_AUTH_METHOD=trust"] {
        arguments.extend(["--env", variable]);
    }
    arguments.push(&options.image);
    let mut settings = vec![format!("max_connections={}", options.max_connections)];
    settings.extend(
        options
            .durability
            .settings()
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    for setting in &settings {
        arguments.extend(["-c", setting]);
    }
    docker(&arguments, RUN_LIMIT).await.map(drop)
}

async fn published(name: &str) -> Result<Address, TempPostgresError> {
    // "127.0.0.1:49153"
    let answer = docker(&["port", name, "5432/tcp"], ANSWER_LIMIT).await;
    let port = match &answer {
        Ok(text) => text
            .lines()
            .next()
            .and_then(|line| line.rsplit(':').next())
            .and_then(|port| port.parse().ok()),
        Err(_) => None,
    };
    match port {
        Some(port) => Ok(Address::Loopback { port }),
        None => Err(failure(name, "its port is not published").await),
    }
}

/// Waits until the server answers, and returns its version.
///
/// By connecting, not by the log: the official image says that it is ready twice, the first time to itself
/// only.
async fn ready(name: &str, address: &Address) -> Result<String, TempPostgresError> {
    let url = address.url(ADMIN_DATABASE);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let error = match timeout(ANSWER_LIMIT, version(&url)).await {
            Ok(Ok(version)) => return Ok(version),
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        if docker(&["inspect", "--format", "{{.State.Running}}", name], ANSWER_LIMIT).await? != "true" {
            return Err(failure(name, "its container ended").await);
        }
        if Instant::now() >= deadline {
            return Err(failure(
                name,
                &format!("not ready after {} seconds: {error}", START_LIMIT.as_secs()),
            )
            .await);
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn version(url: &str) -> sqlx::Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    let version = sqlx::query_scalar("show server_version")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version)
}

async fn failure(name: &str, reason: &str) -> TempPostgresError {
    let log = docker(&["logs", name], ANSWER_LIMIT).await.unwrap_or_default();
    TempPostgresError::Start {
        reason: reason.to_owned(),
        log: tail(&log),
    }
}

/// Runs the `docker` command and returns what it printed.
async fn docker(arguments: &[&str], limit: Duration) -> Result<String, TempPostgresError> {
    let program = format!("docker {}", arguments[0]);
    let run = Command::new("docker").args(arguments).kill_on_drop(true).output();
    let result = timeout(limit, run)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let Output {
        status,
        stdout,
        stderr,
    } = result.map_err(TempPostgresError::io(format!("run `{program}`")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if status.success() {
        // The log of a container comes on both.
        return Ok([text(&stdout), text(&stderr)].join("\n").trim().to_owned());
    }
    Err(TempPostgresError::Program {
        program,
        status,
        output: tail(&text(&stderr)),
    })
}
