//! A cost: time, CPU of both sides, peak memory and WAL of one command.

use std::{ffi::OsString, time::Duration};

use tokio::time::sleep;

use crate::{database::Database, measured::Measured};

/// A backend ends a little after its client, and counts with the server's ended processes from then on.
const UNTIL_BACKENDS_ENDED: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall_seconds: f64,
    /// CPU of the command and its children.
    pub(crate) own_seconds: f64,
    /// CPU of all processes of Postgres; `None` if they cannot be seen from here.
    pub(crate) postgres_seconds: Option<f64>,
    pub(crate) wal_bytes: f64,
    /// Of the largest single process.
    pub(crate) peak_bytes: u64,
}

impl Cost {
    /// Runs a command against the database, and returns its cost and the JSON that it printed.
    pub(crate) async fn measure(
        database: &Database,
        command: &[OsString],
    ) -> anyhow::Result<(Self, serde_json::Value)> {
        // No command pays for what the one before left to write.
        database.checkpoint().await?;
        let (wal, cpu) = (database.wal_bytes().await?, database.cpu_seconds());
        let measured = Measured::run(command).await?;
        sleep(UNTIL_BACKENDS_ENDED).await;
        let cost = Self {
            wall_seconds: measured.wall_seconds,
            own_seconds: measured.user_seconds + measured.system_seconds,
            postgres_seconds: database
                .cpu_seconds()
                .zip(cpu)
                .map(|(after, before)| after - before),
            wal_bytes: (database.wal_bytes().await? - wal) as f64,
            peak_bytes: measured.peak_bytes,
        };
        Ok((cost, measured.report))
    }
}
