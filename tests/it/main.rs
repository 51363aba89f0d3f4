//! The integration tests: one binary, a file per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say so where it stands"
)]

mod architecture;
mod canary;
mod config;
mod deploy;
mod directory;
mod doctor;
mod dry_run;
mod encrypted;
mod exit_codes;
mod expired;
mod fetches;
mod interrupt;
#[cfg(feature = "failpoints")]
mod kills;
mod ledger;
mod logs;
mod migrate;
mod notify;
mod online;
mod outages;
mod pooler;
mod provider;
mod reconcile;
mod refusals;
mod report;
mod reruns;
mod rollback;
mod rules;
mod scratch;
mod show;
mod silence;
mod simulator;
mod source;
mod support;
mod terminal;
mod unknown;
mod verify;
mod verify_refresh;
mod watch;
mod who;
