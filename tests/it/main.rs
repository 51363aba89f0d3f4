//! The integration tests: one binary, a file per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say so where it stands"
)]

mod acknowledged;
mod architecture;
mod batch_sizes;
mod canary;
mod check;
mod config;
mod connections;
mod database_lines;
mod deploy;
mod directory;
mod docs;
mod doctor;
mod documents;
mod documents_in_columns;
mod dry_run;
mod encrypted;
mod exit_codes;
mod expired;
mod exports;
mod fetches;
mod foreign;
mod http2;
mod interrupt;
#[cfg(feature = "failpoints")]
mod kills;
mod ledger;
mod license;
mod logs;
mod migrate;
mod migration_state;
mod notify;
mod older;
mod online;
mod outages;
mod partial;
mod pooler;
mod provider;
mod rate_limited;
mod reconcile;
mod refusals;
mod report;
mod reruns;
mod rollback;
mod rules;
mod scratch;
mod server_settings;
mod set_back;
mod shared_quota;
mod show;
mod silence;
mod simulator;
mod source;
mod stores;
mod superseded;
mod support;
mod targets;
mod terminal;
mod unchanged_ranges;
mod unknown;
mod verify;
mod verify_refresh;
mod watch;
mod who;
