//! The thread that keeps a lock.
//!
//! The lock is an advisory lock in a transaction that stays open in a session of its own. The server gives it up when the session
//! ends, so a killed process cannot leave it behind, and a pooler cannot hand it to somebody else. The transaction holds no
//! snapshot, so it is in nobody's way.
//!
//! A process whose machine is gone says no goodbye. So the session has to give signs of life, or the server ends it: after 25
//! seconds if nobody acknowledges its packets, after a minute if somebody does who is not us. They are given by a thread with a
//! runtime of its own, which a run that keeps all cores and all tasks busy cannot make late.

use std::{io, thread, time::Duration};

use sqlx::Executor;
use tokio::{
    runtime,
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    config::LedgerAccess,
    ledger::{LedgerError, session::connect},
    postgres::{Failure, Outage, Patience, Session},
};

/// How often there is a sign of life.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long the server has to answer it.
const PING: Duration = Duration::from_secs(10);

/// After so long without one the server ends the session: longer than any stall of the thread that is not a stall of the machine.
const EXPIRY: &str =
    "begin; set local idle_in_transaction_session_timeout = '60s'; set local statement_timeout = '10s'";

/// So long may our own former session linger before it is taken for another process.
const LINGERING: Duration = Duration::from_secs(30);

/// Why the lock is not held.
#[derive(Debug)]
pub(super) enum Loss {
    /// Another process has it.
    Taken,
    /// The database does not answer, or does not let us.
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

/// The transaction that has the lock. A process number alone may be another one's later.
#[derive(Debug)]
struct Holder {
    pid: i32,
    /// When the transaction began; unknown where the server does not keep track.
    since: Option<String>,
}

/// A session that has the lock.
struct Held {
    session: Session,
    holder: Holder,
}

/// What came of trying to take it.
enum Attempt {
    Held(Held),
    /// Another session has it; from this one more can be found out.
    Taken(Session),
}

impl LockKeeper {
    pub(super) fn new(access: LedgerAccess, name: String, patience: Patience) -> Self {
        Self {
            access,
            name,
            patience,
        }
    }

    /// Tells `taken` whether the lock could be taken, and then keeps it until `release` says so or is dropped, or it is `lost`.
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
            // Whoever asked may have stopped waiting.
            Ok(Attempt::Taken(session)) => {
                session.close().await;
                let _ = taken.send(Err(Loss::Taken));
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
                // Nobody minds who has ended.
                let _ = lost.send(why);
                return;
            }
        }
        held.session.close().await;
    }

    /// Ends only when the lock is lost for good.
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
                Ok(Attempt::Taken(mut session)) => {
                    // The server may not have noticed yet that our own former session is gone.
                    let ours = former.end(&mut session).await.map_err(LedgerError::from)?;
                    session.close().await;
                    let lingers = if ours { LINGERING } else { PING_EVERY };
                    if begin.elapsed() > lingers {
                        return Err(Loss::Taken);
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
            return Ok(Attempt::Taken(session));
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
