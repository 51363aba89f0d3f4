//! Runs that are watched and steered from elsewhere.

mod browser;
mod deployed;
mod figures;
mod health;
mod live;
mod traces;
mod watched;
