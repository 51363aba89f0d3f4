//! Reads legacy tokens from Postgres, page by page, and never writes there.
//!
//! Pages are keyset pages: `where key > $last order by key limit n`. No transaction stays open between two pages, so
//! a run of hours holds nothing on the source and survives its restart.

mod census;
mod common;
mod decode;
mod error;
mod handover;
mod inspect;
mod plan;
mod reader;
mod rivals;
mod row_fallback;
mod row_security;
mod rows_sql;
mod sample;
mod scopes;
mod session;
mod shape;
mod survey;

pub use census::Census;
pub use error::SourceError;
pub use reader::{Page, Source};
pub use rows_sql::RowsSql;
pub use session::Perspective;
pub use survey::{KeyIndex, Survey, Writable};
