//! CPU of a Postgres server, all its processes together, from `/proc`.

use std::fs;

/// Ticks of `/proc` in a second: the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The parent of all processes of a server.
#[derive(Debug)]
pub(crate) struct Postmaster(u32);

impl Postmaster {
    /// The parent of the server process with this ID. `None` on another system, and for a server in a
    /// container or on another machine: the ID then belongs to some other process or to none.
    pub(crate) fn of_backend(backend: u32) -> Option<Self> {
        let parent = Stat::read(backend).filter(Stat::is_postgres)?.parent;
        Stat::read(parent).filter(Stat::is_postgres)?;
        Some(Self(parent))
    }

    /// Seconds of CPU so far: of its processes, and of those that ended, which the system adds to their
    /// parent.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let postmaster = Stat::read(self.0)?;
        let children: u64 = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| Stat::read(entry.file_name().to_str()?.parse().ok()?))
            .filter(|process| process.parent == self.0)
            .map(|process| process.own_ticks)
            .sum();
        Some((postmaster.own_ticks + postmaster.ended_ticks + children) as f64 / TICKS)
    }
}

/// Figures of one process.
#[derive(Debug)]
struct Stat {
    name: String,
    parent: u32,
    own_ticks: u64,
    /// Of children that ended, and theirs.
    ended_ticks: u64,
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name is in parentheses and may hold some itself.
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // The first field here is the third one of proc(5).
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            name: head.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: ticks(14)? + ticks(15)?,
            ended_ticks: ticks(16)? + ticks(17)?,
        })
    }

    fn is_postgres(&self) -> bool {
        self.name.starts_with("postgres") || self.name.starts_with("postmaster")
    }
}
