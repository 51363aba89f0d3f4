//! Rounds: in each, all scenarios run one after the other. A machine that gets slower or faster does so for
//! all of them.

use std::{collections::BTreeMap, ffi::OsString};

use anyhow::ensure;

use crate::{
    cost::Cost,
    database::{Database, TABLE},
    migration::{self, Target},
    null_api::NullApi,
    peers::{self, Peer},
};

/// A slow API's time for a response.
pub(crate) const DELAY_MS: u64 = 200;
const LEDGER: &str = "bench_ledger";

/// Work that is measured, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Copy,
    FirstRun,
    /// The second run: it reads every row, and computes the digests of ranges.
    Unchanged,
    /// The third run: unchanged ranges are not read.
    Skipped,
    Changed,
    SlowApi,
    Peer(Peer),
}

/// The costs of each scenario, one per round.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) costs: BTreeMap<Scenario, Vec<Cost>>,
    pub(crate) ledger_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    database: &'a Database,
    rows: u64,
    api: NullApi,
    slow_api: NullApi,
    peers: &'static [Peer],
    figures: Figures,
}

impl<'a> Rounds<'a> {
    pub(crate) async fn prepare(database: &'a Database, rows: u64) -> anyhow::Result<Self> {
        let peers: &[Peer] = if peers::are_available() { &Peer::ALL } else { &[] };
        if peers.is_empty() {
            eprintln!("left out: the Python peers (pip install -r benches/peers/requirements.txt)");
        }
        // The table into the caches.
        copy_out(database).await?;
        Ok(Self {
            database,
            rows,
            api: NullApi::start(0).await?,
            slow_api: NullApi::start(DELAY_MS).await?,
            peers,
            figures: Figures::default(),
        })
    }

    pub(crate) async fn run(mut self, rounds: u32) -> anyhow::Result<Figures> {
        for round in 0..rounds {
            eprintln!("round {} of {rounds}", round + 1);
            self.run_once(round).await?;
        }
        Ok(self.figures)
    }

    async fn run_once(&mut self, round: u32) -> anyhow::Result<()> {
        let cost = copy_out(self.database).await?;
        self.add(Scenario::Copy, cost);

        let api = Target::open(self.api.base_url());
        self.database.drop_ledger(LEDGER).await?;
        self.migrate(Scenario::FirstRun, &api, self.rows).await?;
        self.figures.ledger_bytes = self.database.ledger_bytes(LEDGER).await?;
        self.migrate(Scenario::Unchanged, &api, 0).await?;
        self.migrate(Scenario::Skipped, &api, 0).await?;
        let changed = self.rows.div_ceil(1000);
        self.database.change_rows(changed, round).await?;
        self.migrate(Scenario::Changed, &api, changed).await?;

        self.database.drop_ledger(LEDGER).await?;
        let slow_api = Target::open(self.slow_api.base_url());
        self.migrate(Scenario::SlowApi, &slow_api, self.rows).await?;
        self.database.drop_ledger(LEDGER).await?;

        for &peer in self.peers {
            let cost = peer.run(self.database, &self.api, self.rows).await?;
            self.add(Scenario::Peer(peer), cost);
        }
        Ok(())
    }

    async fn migrate(&mut self, scenario: Scenario, target: &Target, uploads: u64) -> anyhow::Result<()> {
        let (cost, report) = migration::run(self.database, LEDGER, target).await?;
        let tokens = &report["tokens"];
        let committed = self.database.committed(LEDGER).await?;
        ensure!(
            tokens["committed"] == uploads
                && tokens["unchanged"] == self.rows - uploads
                && committed == self.rows,
            "{uploads} tokens were to be uploaded; the ledger holds {committed}, the run reports {report}"
        );
        self.add(scenario, cost);
        Ok(())
    }

    fn add(&mut self, scenario: Scenario, cost: Cost) {
        eprintln!(
            "  {:<34}{:>8.2} s{:>8.2} s CPU{:>8.1} MiB",
            scenario.label(),
            cost.wall_seconds,
            cost.own_seconds,
            cost.peak_bytes as f64 / f64::from(1 << 20)
        );
        self.figures.costs.entry(scenario).or_default().push(cost);
    }
}

impl Scenario {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Copy => "COPY (select …) TO STDOUT, binary",
            Self::FirstRun => "first run",
            Self::Unchanged => "second run, nothing changed",
            Self::Skipped => "third run, nothing changed",
            Self::Changed => "rerun, 0.1 % of the rows changed",
            Self::SlowApi => "first run, API takes 200 ms",
            Self::Peer(peer) => peer.label(),
        }
    }

    /// Returns whether it is work of tokenferry.
    pub(crate) fn is_tokenferry(self) -> bool {
        !matches!(self, Self::Copy | Self::Peer(_))
    }
}

/// Has `psql` read the whole table to nowhere.
async fn copy_out(database: &Database) -> anyhow::Result<Cost> {
    let copy = format!("COPY (select * from {TABLE}) TO STDOUT (format binary)");
    let command = [
        "psql",
        database.url(),
        "--no-psqlrc",
        "--output=/dev/null",
        "--command",
        &copy,
    ];
    let (cost, _) = Cost::measure(database, &command.map(OsString::from)).await?;
    Ok(cost)
}
