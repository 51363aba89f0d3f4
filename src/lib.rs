//! Moves legacy OAuth tokens out of a Postgres database into Descope outbound apps, in batches, once.
//!
//! ```text
//!  ledger: the resume point, and what was sent before (read once per page)
//!    |
//!    v
//!  reader --rows--> validation --tokens--> chunker --batches--> uploader --outcomes--> ledger --> report
//!  keyset pages     valid? newest?         count, bytes,        intent first;          one         status,
//!  from Postgres    unchanged?             one identity         rate limit, send,      transaction failures,
//!                   encoded once           per batch            retry, bisect,         per outcome summary,
//!                                                               reconcile                          page
//! ```
//!
//! A dry run has the same stages with another last one, which counts. `verify` reads the committed tokens of
//! the ledger, their rows in the source and the tokens that the API holds, and compares them. `rollback` does
//! the same, and deletes the tokens that it has verified to be its own.
//!
//! If the source has only login IDs of users, [`lookup`] resolves them between reader and validation. Tokens
//! that the API itself stores are fetched after validation, which knows by then which are needed. Every stage
//! is a task with a bounded channel before it, so memory does not depend on the size of the table. Only
//! [`pipeline`] knows all stages. A stage knows the shared types in [`domain`] and [`secret`], its settings
//! from [`config`] and, if it calls the API, [`descope`] and [`rate`]. The uploader also writes the
//! [`ledger`], because an intent is recorded before its request leaves; so does [`lookup`], because resolved
//! users are cached there.
//!
//! A run is controlled through a [`rate::RunControl`]: the stop signal, the throttle, and the [`metrics`]
//! that every stage counts in. [`observe`] serves the metrics and the live page over HTTP, and calls the
//! user's notification program.
//!
//! The program is a thin shell around [`pipeline::migrate`]:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use tokenferry::{config, metrics::Meter, pipeline::{self, Request}, rate::RunControl, report::View};
//! use tokio::sync::watch;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let settings = config::load(Path::new("tokenferry.toml"), true)?.settings()?;
//! let control = RunControl::new(settings.api.rate_limit, Meter::default());
//! let (view, _watching) = watch::channel(View::default());
//! let ended = pipeline::migrate(&settings, &Request::default(), control, &view).await?;
//! println!("{} tokens arrived", ended.summary.tokens.committed);
//! # Ok(())
//! # }
//! ```

pub mod chunker;
pub mod cli;
pub mod config;
pub mod decrypt;
pub mod descope;
pub mod doctor;
pub mod domain;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod ledger;
pub mod lookup;
pub mod metrics;
pub mod observe;
pub mod pipeline;
pub mod postgres;
pub mod rate;
pub mod reader;
pub mod report;
pub mod secret;
pub mod simulator;
pub mod temp_postgres;
pub mod uploader;
pub mod validation;
