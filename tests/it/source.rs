//! Reading the source: whatever its keys, columns and values are like, and whatever happens to its
//! connection.

mod bad_values;
mod capture;
mod changes;
mod composite_keys;
mod keys;
mod large_values;
mod misfits;
mod relations;
mod row_security;
mod secrecy;
mod session;
mod values;
