//! State that all requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::simulator::{
    auth::Credentials, buckets::Buckets, directory::Directory, faults::Faults, license::License,
    log::RequestLog, rules::Rules, store::Store,
};

#[derive(Debug)]
pub(super) struct Api {
    pub(super) credentials: Credentials,
    pub(super) rules: Shared<Rules>,
    pub(super) license: Shared<License>,
    pub(super) directory: Shared<Directory>,
    pub(super) store: Shared<Store>,
    pub(super) limiter: Shared<Buckets>,
    pub(super) faults: Shared<Faults>,
    pub(super) log: Shared<RequestLog>,
    /// Work continues when its client disconnects, as on a real server.
    pub(super) tasks: TaskTracker,
    /// Ends the server and the tasks.
    pub(super) stop: CancellationToken,
}

/// A mutex that outlives a panic of its holder: a failed assertion in one test's thread must not hide
/// behind a second panic. Never held across an await.
#[derive(Debug)]
pub(super) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
