//! The ledger: opened by one or by several, outcomes that stay what they are, and nothing in it that gives a
//! token away.

mod opening;
mod outcomes;
mod packed;
mod secrecy;
