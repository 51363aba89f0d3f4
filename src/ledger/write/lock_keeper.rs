//! The thread that keeps a lock.
//!
//! The lock is an advisory lock in a transaction that stays open in a session of its own. The server releases
//! it when the session ends: a killed process cannot leave it behind, and a pooler cannot hand it to another
//! client. The transaction holds no snapshot, so it blocks no vacuum.
//!
//! A machine that fails closes no session. So the session sends heartbeats, or the server ends it: after 25
//! seconds if its packets are not acknowledged, after a minute if they are but no heartbeat comes. A thread
//! with its own runtime sends them, so that a run that keeps all cores busy cannot delay them.

use std::{io, thread, time::Duration};

use sqlx::Executor;
use tokio::{
    runtime,
    sync::oneshot,
    time::{Instant, sleep},
};

use super::LedgerError;
use crate::{
    config::LedgerAccess,
    ledger::session::connect,
    postgres::{Failure, Outage, Patience, Session},
};

/// Time between two heartbeats.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Limit for the server's answer to a heartbeat.
const PING: Duration = Duration::from_secs(10);

/// Begins the transaction. Without heartbeats the server ends the session after 60 seconds, longer than the
/// thread can stall on a machine that runs.
const EXPIRY: &str =
    "begin; set local idle_in_transaction_session_timeout = '60s'; set local statement_timeout = '10s'";

/// Time after which a session of this process that still holds the lock counts as another process.
const LINGERING: Duration = Duration::from_secs(30);

/// The reason why the lock is not held.
#[derive(Debug)]
pub(super) enum Loss {
    /// Another process has it.
    HeldElsewhere,
    /// The database does not answer or denies access.
    Failed(LedgerError),
    /// The thread has ended.
    Ended,
}

impl From<LedgerError> for Loss {
    fn from(error: LedgerError) -> Self {
        Self::Failed(error)
    }
}

/// Takes a lock and keeps it.
#[derive(Debug)]
pub(super) struct LockKeeper {
    access: LedgerAccess,
    name: String,
    patience: Patience,
}

/// The transaction that has the lock. Its PID alone is not enough: the server may assign it again.
#[derive(Debug)]
struct Holder {
    pid: i32,
    /// Start of the transaction; absent if the server does not track it.
    since: Option<String>,
}

/// A session that has the lock.
struct Held {
    session: Session,
    holder: Holder,
}

/// The result of an attempt to take the lock.
enum Attempt {
    Held(Held),
    /// Another session has it; this one can look up which.
    HeldElsewhere(Session),
}

impl LockKeeper {
    pub(super) fn new(access: LedgerAccess, name: String, patience: Patience) -> Self {
        Self {
            access,
            name,
            patience,
        }
    }

    /// Starts the thread. It sends to `taken` whether it has the lock, and keeps it until `release` is sent
    /// or dropped, or the lock is `lost`.
    pub(super) fn spawn(
        self,
        release: oneshot::Receiver<()>,
        taken: oneshot::Sender<Result<(), Loss>>,
        lost: oneshot::Sender<Loss>,
    ) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("ledger-lock".to_owned())
            .spawn(move || runtime.block_on(self.run(release, taken, lost)))?;
        Ok(())
    }

    async fn run(
        self,
        release: oneshot::Receiver<()>,
        taken: oneshot::Sender<Result<(), Loss>>,
        lost: oneshot::Sender<Loss>,
    ) {
        let mut held = match self.take().await {
            Ok(Attempt::Held(held)) => held,
            // The receiver may be gone; then nothing needs to be sent.
            Ok(Attempt::HeldElsewhere(session)) => {
                session.close().await;
                let _ = taken.send(Err(Loss::HeldElsewhere));
                return;
            }
            Err(error) => {
                let _ = taken.send(Err(error.into()));
                return;
            }
        };
        if taken.send(Ok(())).is_ok() {
            let why = tokio::select! {
                _ = release => None,
                why = self.keep(&mut held) => Some(why),
            };
            if let Some(why) = why {
                // The receiver may be gone.
                let _ = lost.send(why);
                return;
            }
        }
        held.session.close().await;
    }

    /// Sends heartbeats; returns only when the lock is lost for good.
    async fn keep(&self, held: &mut Held) -> Loss {
        loop {
            sleep(PING_EVERY).await;
            let outage = Outage::of("ledger", &self.patience);
            if held.session.ping(PING).await.is_ok() {
                continue;
            }
            match self.retake(&held.holder, outage).await {
                Ok(again) => *held = again,
                Err(why) => return why,
            }
        }
    }

    /// Takes the lock again after its session was lost.
    async fn retake(&self, former: &Holder, mut outage: Outage) -> Result<Held, Loss> {
        let begin = Instant::now();
        loop {
            match self.take().await {
                Ok(Attempt::Held(held)) => return Ok(held),
                Ok(Attempt::HeldElsewhere(mut session)) => {
                    // The server may not have noticed yet that the previous session of this process is gone.
                    let ours = former.end(&mut session).await.map_err(LedgerError::from)?;
                    session.close().await;
                    let lingers = if ours { LINGERING } else { PING_EVERY };
                    if begin.elapsed() > lingers {
                        return Err(Loss::HeldElsewhere);
                    }
                    sleep(Duration::from_millis(200)).await;
                }
                Err(LedgerError::Database(failure)) => {
                    outage.wait_out(failure).await.map_err(LedgerError::from)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn take(&self) -> Result<Attempt, LedgerError> {
        let mut session = connect(&self.access, PING, &self.patience).await?;
        session.execute(EXPIRY).await?;
        let tried = sqlx::query!(
            r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "taken!", pid as "pid!",
                      xact_start::text as since
               from pg_stat_activity where pid = pg_backend_pid()"#,
            self.name
        )
        .fetch_one(&mut session)
        .await?;
        if !tried.taken {
            return Ok(Attempt::HeldElsewhere(session));
        }
        let holder = Holder {
            pid: tried.pid,
            since: tried.since,
        };
        Ok(Attempt::Held(Held { session, holder }))
    }
}

impl Holder {
    /// Ends the session, if the transaction is still there.
    async fn end(&self, session: &mut Session) -> Result<bool, Failure> {
        let ended = sqlx::query_scalar!(
            r#"select pg_terminate_backend(pid) as "ended!" from pg_stat_activity
               where pid = $1 and xact_start::text = $2"#,
            self.pid,
            self.since,
        )
        .fetch_optional(session)
        .await?;
        Ok(ended.is_some())
    }
}
