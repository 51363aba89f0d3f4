//! Keeps a `migrate` running while the schedule is played, then lets it come to its end.

use std::{collections::BTreeMap, time::Duration};

use nix::sys::signal::Signal;
use tokenferry::{simulator::FaultRates, temp_postgres::StopMode};
use tokio::time::{Instant, sleep};

use crate::{
    legacy::Legacy,
    process::{Ended, Process},
    schedule::{self, Event},
    world::World,
};

/// Whether or not the schedule was played to its end.
const STORM_LIMIT: Duration = Duration::from_secs(120);
/// A process that lost its session in the ledger notices after five seconds, and then looks for it for as
/// long.
const LOCK_GAP: Duration = Duration::from_secs(12);
/// Long enough for what was in flight to be settled.
const OVERTAKING: Duration = Duration::from_secs(5);
/// How long a server may take to notice that a session's process is gone.
const LINGERING: Duration = Duration::from_secs(3);
/// Two ends are enough: of what was going on, and of a run that finds nothing new.
const CALM_RUNS: usize = 8;

pub(crate) struct Driver {
    pub(crate) world: World,
    pub(crate) legacy: Legacy,
    seed: u64,
    current: Option<Process>,
    /// Until then a process may find the lock taken, or lose it.
    contended_until: Instant,
    ends: BTreeMap<Ended, u32>,
    rivals_turned_away: u32,
    taken_over: u32,
}

impl Driver {
    pub(crate) async fn new(seed: u64, tokens: i64) -> Self {
        let mut world = World::new(seed).await;
        let legacy = Legacy::new(seed, tokens);
        legacy.create(&world.source.pool).await;
        world.open_ledger().await;
        world.api.set_refused_users(legacy.refused_users());
        Self {
            world,
            legacy,
            seed,
            current: None,
            contended_until: Instant::now(),
            ends: BTreeMap::new(),
            rivals_turned_away: 0,
            taken_over: 0,
        }
    }

    /// Plays the schedule.
    pub(crate) async fn storm(&mut self) {
        self.world.api.set_faults(World::rates());
        let begin = Instant::now();
        for step in schedule::draw(self.seed) {
            if begin.elapsed() > STORM_LIMIT {
                break;
            }
            self.let_run(step.after).await;
            self.perform(step.event).await;
        }
    }

    /// Everything works again: runs until one has nothing to send.
    pub(crate) async fn calm(&mut self) {
        self.world.api.set_faults(FaultRates::default());
        for _ in 0..CALM_RUNS {
            let before = self.world.writes();
            let mut process = match self.current.take() {
                Some(process) => process,
                None => self.start(),
            };
            let ended = process.ended().await;
            self.count(ended);
            if !matches!(ended, Ended::Code(0 | 3)) {
                continue;
            }
            let report = process.report();
            if report["resumed"] == false && self.world.writes() == before {
                assert_eq!(report["tokens"]["committed"], 0, "{report}");
                return;
            }
        }
        panic!("a migration of a source at rest does not come to rest");
    }

    /// Time passes, and there is always a process; one that ended is followed by the next.
    async fn let_run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let ended = self.running().ended_within(left).await;
            match ended {
                Some(ended) => self.gone(ended),
                None => break,
            }
        }
    }

    async fn perform(&mut self, event: Event) {
        match event {
            Event::Kill => {
                self.running().send(Signal::SIGKILL);
                self.end_current().await;
            }
            Event::Terminate { twice } => {
                self.running().send(Signal::SIGTERM);
                if twice {
                    sleep(Duration::from_millis(30)).await;
                    self.running().send(Signal::SIGTERM);
                }
                self.end_current().await;
            }
            Event::RestartSource(mode) => {
                self.running().disturbed = true;
                self.world.source.restart(mode).await;
            }
            Event::RestartLedger(mode) => {
                self.ledger_goes();
                self.world.ledger.restart(mode).await;
            }
            Event::Rival => self.rival().await,
            Event::Takeover(mode) => {
                self.ledger_goes();
                self.world.ledger.restart(mode).await;
                self.rival().await;
            }
            Event::Change(rows) => self.legacy.disturb(&self.world.source.pool, rows).await,
            Event::Faults(faults) => self.world.api.script(faults),
            Event::Reads(faults) => self.world.api.script_reads(faults),
            Event::Pause(time) => {
                self.running().send(Signal::SIGSTOP);
                sleep(time).await;
                self.running().send(Signal::SIGCONT);
            }
            Event::Overtaken => self.overtake().await,
        }
    }

    /// A second process of the same migration: one of the two is turned away, whichever has the lock stays.
    async fn rival(&mut self) {
        self.running();
        let Some(mut first) = self.current.take() else {
            return;
        };
        let mut second = self.start();
        // The lock may be with the other from the start.
        second.contended = true;
        let (ended, stays) = tokio::select! {
            biased;
            ended = second.ended() => {
                self.rivals_turned_away += u32::from(ended == Ended::Code(5));
                (ended, first)
            }
            ended = first.ended() => {
                self.taken_over += u32::from(ended == Ended::Code(5));
                (ended, second)
            }
        };
        self.gone(ended);
        self.current = Some(stays);
    }

    /// A process is stopped, loses its sessions, and another one takes over; when the first goes on, it must
    /// leave.
    async fn overtake(&mut self) {
        self.running().send(Signal::SIGSTOP);
        self.ledger_goes();
        self.world.ledger.restart(StopMode::Fast).await;
        let Some(mut first) = self.current.take() else {
            return;
        };
        let mut second = self.start();
        second.contended = true;
        let ended = second.ended_within(OVERTAKING).await;
        first.send(Signal::SIGCONT);
        match ended {
            // There was little to do, or it came too early: the first may go on.
            Some(ended) => {
                self.gone(ended);
                self.current = Some(first);
            }
            None => {
                let ended = first.ended().await;
                self.taken_over += u32::from(ended == Ended::Code(5));
                self.gone(ended);
                self.current = Some(second);
            }
        }
    }

    fn ledger_goes(&mut self) {
        self.contended_until = Instant::now() + LOCK_GAP;
        let process = self.running();
        process.disturbed = true;
        process.contended = true;
    }

    fn running(&mut self) -> &mut Process {
        if self.current.is_none() {
            self.current = Some(self.start());
        }
        self.current.as_mut().unwrap()
    }

    fn start(&mut self) -> Process {
        let mut process = self.world.migrate();
        process.contended = Instant::now() < self.contended_until;
        process
    }

    async fn end_current(&mut self) {
        let ended = self.running().ended().await;
        self.gone(ended);
    }

    fn gone(&mut self, ended: Ended) {
        self.current = None;
        self.contended_until = self.contended_until.max(Instant::now() + LINGERING);
        self.count(ended);
    }

    fn count(&mut self, ended: Ended) {
        *self.ends.entry(ended).or_default() += 1;
    }

    /// What there was to live through.
    pub(crate) async fn summary(&self) -> String {
        let requests = self.world.api.requests();
        let cut = requests
            .all()
            .iter()
            .filter(|request| request.status.is_none())
            .count();
        let runs: i64 = sqlx::query_scalar("select count(*) from tokenferry.runs")
            .fetch_one(&self.world.ledger.pool)
            .await
            .unwrap();
        format!(
            "ends {:?}, {runs} runs; {} rivals turned away, {} took over; {} requests, {} uploads, {cut} cut, {} rate \
             limited; {} tokens written",
            self.ends,
            self.rivals_turned_away,
            self.taken_over,
            requests.all().len(),
            requests.to("/batch/upload"),
            self.world.api.rate_limited(),
            self.world.writes(),
        )
    }
}
