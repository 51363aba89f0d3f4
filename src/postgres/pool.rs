//! A pool of sessions, for one statement at a time.
//!
//! The driver's own pool pings each connection before and after use without a time limit, so a silent server
//! blocks all of them. Here, a session that failed or was cancelled in the middle of a statement is closed at
//! once, and its place becomes free.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, join_all},
    stream::{self, BoxStream},
};
use sqlx::{
    Either, Error, Execute, Executor, Postgres, SqlStr,
    postgres::{PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgStatement, PgTypeInfo},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use tracing::info;

use super::{Address, Failure, Patience, Session, failure::READ_ONLY};

/// The longest wait for a session that others use.
const ACQUIRE: Duration = Duration::from_secs(10);

/// A session that responded this recently is considered alive.
const FRESH: Duration = Duration::from_secs(1);

/// The longest wait for the ping of an idle session.
const PING: Duration = Duration::from_secs(3);

/// Sessions with the same settings. Clones share the pool.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

impl fmt::Debug for Pool {
    /// Redacted: the options contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

struct Shared {
    address: Address,
    name: String,
    set_up: String,
    patience: Patience,
    places: Arc<Semaphore>,
    /// The number of places, taken or not.
    size: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
}

struct Idle {
    session: Session,
    since: Instant,
}

/// A session of the pool. It returns to the pool only by [`done`](Self::done).
pub struct Lease {
    session: Session,
    pool: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

/// The pool, for statements with their own time limit.
#[derive(Debug, Clone, Copy)]
pub struct Bounded<'a> {
    pool: &'a Pool,
    limit: Duration,
}

impl Pool {
    /// Creates a pool of at most `size` sessions. Each has this name and runs `set_up` first.
    #[must_use]
    pub fn new(address: Address, name: String, size: u32, patience: &Patience, set_up: String) -> Self {
        let places = usize::try_from(size)
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            address,
            name,
            set_up,
            patience: patience.clone(),
            places: Arc::new(Semaphore::new(places)),
            size: AtomicUsize::new(places),
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        }))
    }

    fn shortly(&self) -> Bounded<'_> {
        self.within(self.0.patience.for_statement())
    }

    /// Returns the pool for statements that may take this long.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Bounded<'_> {
        Bounded { pool: self, limit }
    }

    /// Acquires a session for several statements. If the server accepts no more sessions, the existing ones
    /// are shared.
    ///
    /// # Errors
    /// Fails if none is available in time.
    pub async fn acquire(&self, limit: Duration) -> Result<Lease, Error> {
        let shared = &self.0;
        loop {
            let place = tokio::select! {
                place = Arc::clone(&shared.places).acquire_owned() => place.map_err(|_| Error::PoolClosed)?,
                () = shared.patience.run_out(ACQUIRE) => return Err(Error::PoolTimedOut),
            };
            let session = match self.idle().await {
                Some(session) => session.within(limit),
                None => match self.connect(limit).await.map_err(Failure::from) {
                    Ok(session) => session,
                    Err(failure) if failure.is_full() && shared.give_up_a_place() => {
                        place.forget();
                        continue;
                    }
                    Err(failure) => return Err(failure.into()),
                },
            };
            return Ok(Lease {
                session,
                pool: Arc::clone(shared),
                _place: place,
            });
        }
    }

    async fn connect(&self, limit: Duration) -> Result<Session, Error> {
        let shared = &self.0;
        Session::connect(
            &shared.address,
            &shared.name,
            limit,
            &shared.patience,
            &shared.set_up,
        )
        .await
    }

    /// Returns an idle session that responds.
    async fn idle(&self) -> Option<Session> {
        loop {
            let Idle { mut session, since } = self.0.idle().pop()?;
            if since.elapsed() < FRESH || session.ping(PING).await.is_ok() {
                return Some(session);
            }
            // The others probably failed for the same reason.
            self.0.idle().clear();
        }
    }

    /// Closes all sessions, so that the server need not detect it. Sessions in use are closed when they are
    /// returned.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        let idle = std::mem::take(&mut *self.0.idle());
        join_all(idle.into_iter().map(|idle| idle.session.close())).await;
    }
}

impl Shared {
    /// Gives up the caller's place, if another session exists that will be returned.
    fn give_up_a_place(&self) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        if size <= self.places.available_permits() + 1 {
            return false;
        }
        self.size.fetch_sub(1, Ordering::Relaxed);
        info!(
            sessions = size - 1,
            "server accepts no more sessions, continuing with fewer"
        );
        true
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A poisoned lock still guards consistent data: changes under it complete before anything can panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Returns the session, in which no statement or transaction may be active.
    pub fn done(self) {
        let Self { session, pool, .. } = self;
        if !session.is_given_up() && !pool.closed.load(Ordering::Relaxed) {
            let since = Instant::now();
            pool.idle().push(Idle { session, since });
        }
    }

    /// Returns the session after a statement, unless the session itself failed.
    fn after<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        let error_of_server = |error: &Error| {
            let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
            // The existing sessions of a replaced primary are read-only.
            Some((error.severity(), error.code() == READ_ONLY))
        };
        match done.as_ref().err().map(error_of_server) {
            None => self.done(),
            // The statement failed, but the session is usable.
            Some(Some((severity, false))) if !matches!(severity, PgSeverity::Fatal | PgSeverity::Panic) => {
                self.done();
            }
            // The others probably failed for the same reason.
            Some(_) => self.pool.idle().clear(),
        }
        done
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl<'p> Executor<'p> for Bounded<'p> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let steps = async move {
            let mut lease = self.pool.acquire(self.limit).await?;
            let steps = lease.session.fetch_many(query).try_collect().await;
            lease.after(steps)
        };
        let steps = stream::once(steps).map_ok(|steps: Vec<_>| stream::iter(steps).map(Ok));
        steps.try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut lease = self.pool.acquire(self.limit).await?;
            let row = lease.session.fetch_optional(query).await;
            lease.after(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.pool.acquire(self.limit).await?;
            let statement = lease.session.prepare_with(sql, parameters).await;
            lease.after(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.pool.acquire(self.limit).await?;
            let described = lease.session.describe(sql).await;
            lease.after(described)
        })
    }
}

/// Runs short statements.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.shortly().fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.shortly().fetch_optional(query)
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        self.shortly().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        self.shortly().describe(sql)
    }
}
