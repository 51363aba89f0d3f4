//! Helpers of the tests.

pub(crate) mod bed;
pub(crate) mod browser;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod listings;
pub(crate) mod migration_config;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod source;
pub(crate) mod tls;
