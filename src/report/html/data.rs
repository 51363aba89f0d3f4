//! The data of a page, read from the ledger.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;

use crate::{
    domain::{Mode, RunId},
    ledger::{
        AppOutcomes, FailedToken, Latency, LedgerError, LedgerReader, Listed, Listing, PreviousRun, RunEvent,
        RunReport, Timeline,
    },
};

/// The content of a page.
#[derive(Debug, Clone)]
pub struct PageData {
    /// The run and its totals.
    pub run: RunReport,
    /// The events of the run in chronological order.
    pub events: Vec<RunEvent>,
    /// The batches over time, if any were sent.
    pub timeline: Option<Timeline>,
    /// The latencies of the batches.
    pub latency: Option<Latency>,
    /// The outcomes by app, and the number of apps left out; absent if not requested.
    pub apps: Option<(Vec<AppOutcomes>, i64)>,
    /// The run before it, if the run has ended and is over all rows.
    pub previous: Option<PreviousRun>,
    /// The first rows with problems, errors first.
    pub rows: Vec<FailedToken>,
    /// The settings, without secrets.
    pub settings: Vec<Setting>,
    /// The time of reading.
    pub made_at: DateTime<Utc>,
}

/// A key of the configuration.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The key, dotted.
    pub key: String,
    /// Its value, as far as it may be shown.
    pub shown: Option<String>,
    /// Its origin.
    pub origin: String,
}

/// The amount of data to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// The most rows with problems.
    pub rows: i64,
    /// Counts tokens by app, which reads all tokens of the run.
    pub apps: bool,
}

impl Depth {
    /// For a page that is generated once.
    pub const WHOLE: Self = Self {
        rows: 5000,
        apps: true,
    };

    /// For a page that is renewed every few seconds.
    pub const LIVE: Self = Self {
        rows: 100,
        apps: false,
    };
}

impl PageData {
    /// Reads a run, or the one that `status` shows; `None` if there is none yet. The caller adds the
    /// settings, which are not in the ledger.
    ///
    /// # Errors
    /// Fails if the run does not exist or the database does not respond.
    pub async fn read(
        reports: &mut LedgerReader,
        run: Option<RunId>,
        depth: Depth,
    ) -> Result<Option<Self>, LedgerError> {
        let Some(report) = reports.run(run).await? else {
            return Ok(None);
        };
        let made_at = Utc::now();
        let run = report.summary.run_id;
        let listing = Listing {
            run: Some(run),
            listed: Listed::Problems,
            most: Some(depth.rows),
        };
        let rows = reports.failures(listing).try_collect().await?;
        let apps = if depth.apps {
            Some(reports.outcomes_by_app(run).await?)
        } else {
            None
        };
        let previous = match report.finished_at {
            Some(_) => reports.previous_run(run).await?,
            None => None,
        };
        let sent = report.summary.mode == Mode::Migrate && report.summary.counters.requests > 0;
        let until = report.finished_at.unwrap_or(report.progressed_at);
        let timeline = if sent {
            Some(reports.timeline(run, report.started_at, until).await?)
        } else {
            None
        };
        Ok(Some(Self {
            events: reports.events(run).await?,
            timeline,
            latency: reports.latency(run).await?,
            apps,
            previous,
            rows,
            settings: Vec::new(),
            made_at,
            run: report,
        }))
    }

    /// Returns the number of rows with problems, including those not in [`rows`](Self::rows).
    pub(super) fn problems(&self) -> i64 {
        let counts = self.run.summary.failures.iter().chain(&self.run.summary.warnings);
        counts.map(|found| found.count).sum()
    }
}
