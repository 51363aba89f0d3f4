//! Everything goes wrong at once, for one or two minutes: a migration of 20,000 tokens while answers are lost
//! or odd, processes are killed and stopped, databases restart and rows change; then a run is taken back, and
//! that is killed, too. What must hold afterwards is in `verdict`.
//!
//! `TOKENFERRY_SOAK_SEED=n` plays another sequence than the one that CI plays. The seed is printed first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say so where it stands"
)]

mod driver;
mod legacy;
#[path = "../it/support/migration_config.rs"]
mod migration_config;
mod process;
mod schedule;
#[cfg(feature = "failpoints")]
mod undo;
mod verdict;
mod world;

use std::{env, io::Write, time::Duration};

use tokio::time::{Instant, timeout};

use crate::driver::Driver;

const SEED: u64 = 3;
const TOKENS: i64 = 20_000;
/// It takes about half as long.
const DEADLINE: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_nothing_is_lost_and_nothing_is_written_twice() {
    let seed =
        env::var("TOKENFERRY_SOAK_SEED").map_or(SEED, |seed| seed.parse().expect("the seed is a number"));
    announce(&format!("seed {seed} (TOKENFERRY_SOAK_SEED={seed} repeats it)"));
    let begin = Instant::now();
    let soak = async {
        let mut driver = Driver::new(seed, TOKENS).await;
        driver.storm().await;
        driver.calm().await;
        // Without the feature there is no place to be killed at.
        #[cfg(feature = "failpoints")]
        {
            driver.undo().await;
            driver.calm().await;
        }
        verdict::pass(&mut driver.world, &driver.legacy).await;
        announce(&driver.summary().await);
        driver.world.stop().await;
    };
    timeout(DEADLINE, soak)
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: not done after {} s", DEADLINE.as_secs()));
    announce(&format!("{:.0} s", begin.elapsed().as_secs_f64()));
}

/// Straight to stderr: what `eprintln!` prints is kept back from whoever runs a test that passes.
fn announce(what: &str) {
    std::io::stderr()
        .write_all(format!("soak: {what}\n").as_bytes())
        .unwrap();
}
