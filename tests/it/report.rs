//! The page about a run.

mod browser;
mod events;
mod page;
