//! Reading the source: whatever its keys, columns and values are like, and whatever happens to its connection.

mod capture;
mod keys;
mod misfits;
mod relations;
mod secrecy;
mod session;
mod values;
