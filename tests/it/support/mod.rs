//! What the tests have in common.

pub(crate) mod bed;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod source;
pub(crate) mod tls;
