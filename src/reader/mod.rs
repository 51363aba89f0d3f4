//! Reads legacy tokens from Postgres, page by page, and never writes there.
//!
//! Pages are keyset pages: `where key > $last order by key limit n`; a key may have several columns. No
//! transaction stays open between two pages, so a run of hours holds nothing on the source and survives its
//! restart.

mod column_type;
mod columns;
mod decode;
mod diagnostics;
mod document;
mod duplicates;
mod error;
mod field_text;
mod interner;
mod inventory;
mod key;
mod key_columns;
mod pages;
mod plan;
mod range_digests;
mod relation;
mod row_counts;
mod row_fallback;
mod row_hash;
mod row_security;
mod rows_sql;
mod sample;
mod scopes;
mod session;
mod session_settings;
mod shape;
mod source;
mod times;
mod validate;
mod value_limit;

pub use diagnostics::{KeyIndex, SourceDiagnostics, Writable};
pub use error::SourceError;
pub use inventory::{Inventory, Table, TableColumn};
pub use row_counts::RowCounts;
pub use rows_sql::RowsSql;
pub use session::Perspective;
pub use source::{Page, Source};
