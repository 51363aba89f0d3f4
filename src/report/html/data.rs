//! Data of a page, read from the ledger.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;

use crate::{
    domain::{Mode, RunId},
    ledger::{
        AppOutcomes, FailedToken, Latency, LedgerError, LedgerReader, Listed, Listing, RunEvent, Timeline,
    },
    report::Summary,
};

/// Everything that is on a page.
#[derive(Debug, Clone)]
pub struct PageData {
    /// The run and its books.
    pub summary: Summary,
    /// `all`, or `failed`: only tokens that had failed before.
    pub selection: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was last heard of.
    pub progressed_at: DateTime<Utc>,
    /// The last process that worked on it.
    pub holder: String,
    /// Batches without an outcome.
    pub in_flight: i64,
    /// What happened to it, in the order of time.
    pub events: Vec<RunEvent>,
    /// How its batches are spread over its time, where it sent some.
    pub timeline: Option<Timeline>,
    /// How long they took.
    pub latency: Option<Latency>,
    /// What became of the tokens of each app, and how many more apps there are; absent where that was not asked.
    pub apps: Option<(Vec<AppOutcomes>, i64)>,
    /// The first of the rows with problems, errors first.
    pub rows: Vec<FailedToken>,
    /// The settings, without secrets.
    pub settings: Vec<Setting>,
    /// When all this was read.
    pub made_at: DateTime<Utc>,
}

/// A key of the configuration.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The key, dotted.
    pub key: String,
    /// Its value, as far as it may be shown.
    pub shown: Option<String>,
    /// Where it is from.
    pub origin: String,
}

/// How much is read for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// So many rows with problems.
    pub rows: i64,
    /// True if tokens are counted by app, which reads all tokens of the run.
    pub apps: bool,
}

impl Depth {
    /// For a page that is made once.
    pub const WHOLE: Self = Self {
        rows: 5000,
        apps: true,
    };

    /// For a page that is made again every other second.
    pub const LIVE: Self = Self {
        rows: 100,
        apps: false,
    };
}

impl PageData {
    /// What the ledger holds of a run, or of the one that `status` shows; `None` if there was none yet. The settings are not
    /// in the ledger: whoever has them adds them.
    ///
    /// # Errors
    /// If there is no such run, or the database does not answer.
    pub async fn read(
        reports: &mut LedgerReader,
        run: Option<RunId>,
        depth: Depth,
    ) -> Result<Option<Self>, LedgerError> {
        let Some(report) = reports.run(run).await? else {
            return Ok(None);
        };
        let made_at = Utc::now();
        let run = report.run_id;
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
        let sent = report.mode == Mode::Migrate && report.requests > 0;
        let until = report.finished_at.unwrap_or(report.progressed_at);
        let timeline = if sent {
            Some(reports.timeline(run, report.started_at, until).await?)
        } else {
            None
        };
        Ok(Some(Self {
            selection: report.selection.clone(),
            started_at: report.started_at,
            finished_at: report.finished_at,
            progressed_at: report.progressed_at,
            holder: report.holder.clone(),
            in_flight: report.batches_in_flight,
            events: reports.events(run).await?,
            timeline,
            latency: reports.latency(run).await?,
            apps,
            rows,
            settings: Vec::new(),
            made_at,
            summary: Summary::from_report(reports.migration(), report),
        }))
    }

    /// Rows with problems, those included that are not in [`rows`](Self::rows).
    pub(super) fn problems(&self) -> i64 {
        let counts = self.summary.failures.iter().chain(&self.summary.warnings);
        counts.map(|found| found.count).sum()
    }
}
