//! Locks: one run of a migration at a time, and one verification beside it.

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};

use super::{
    Ledger, LedgerError,
    lock_keeper::{LockKeeper, Loss},
};
use crate::{
    config::LedgerAccess,
    ledger::{LockKind, lock_holder::LockHolder},
    postgres::Failure,
};

/// A lock that a thread holds until it is released or dropped: see [`LockKeeper`].
#[derive(Debug)]
pub struct Lock {
    what: LockKind,
    name: String,
    /// Ends the thread when it is dropped.
    release: oneshot::Sender<()>,
    lost: oneshot::Receiver<Loss>,
}

/// Limit for closing the session.
const RELEASE: Duration = Duration::from_secs(2);

impl Ledger {
    /// Takes one of the migration's locks.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if another process has it.
    pub async fn lock(&self, access: &LedgerAccess, what: LockKind) -> Result<Lock, LedgerError> {
        let name = what.name(&access.ledger.schema, &self.migration);
        let keeper = LockKeeper::new(access.clone(), name.clone(), self.patience.clone());
        let (release, released) = oneshot::channel();
        let (taken_in, taken) = oneshot::channel();
        let (lost_in, lost) = oneshot::channel();
        keeper
            .spawn(released, taken_in, lost_in)
            .map_err(|error| Failure::from(sqlx::Error::Io(error)))?;
        match taken.await.unwrap_or(Err(Loss::Ended)) {
            Ok(()) => Ok(Lock {
                what,
                name,
                release,
                lost,
            }),
            Err(why) => Err(self.why_lost(what, &name, why).await),
        }
    }

    /// Waits until the lock is lost for good: another process has it, or the database stays unreachable. The
    /// epoch then rejects every intent and record of this process.
    pub async fn wait_for_lock_loss(&self, lock: &mut Lock) -> LedgerError {
        let why = (&mut lock.lost).await.unwrap_or(Loss::Ended);
        self.why_lost(lock.what, &lock.name, why).await
    }

    async fn why_lost(&self, what: LockKind, name: &str, why: Loss) -> LedgerError {
        match why {
            Loss::HeldElsewhere => self.locked(what, name).await.unwrap_or_else(|error| error),
            Loss::Failed(error) => error,
            Loss::Ended => LedgerError::Contradiction("the thread that keeps its lock has ended".to_owned()),
        }
    }

    /// Describes the session that holds the lock and the run that it belongs to.
    async fn locked(&self, what: LockKind, name: &str) -> Result<LedgerError, LedgerError> {
        let session = LockHolder::find(&self.pool, name).await?;
        if let Some(session) = session.as_ref().filter(|session| session.is_foreign) {
            return Ok(LedgerError::LockedByForeignRole {
                what: what.word(),
                migration: self.migration.clone(),
                session: session.to_string(),
                remedy: session.remedy(),
            });
        }
        let run = sqlx::query!(
            r#"select id, mode, holder, to_char(progressed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "progressed!",
                      to_char(held_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "since!"
               from runs where migration = $1 and mode <> 'dry_run' and (mode = 'verify') = $2 and status = 'running'
               order by id desc limit 1"#,
            self.migration,
            what == LockKind::Verification,
        )
        .fetch_optional(&self.pool)
        .await?;
        let holder = match run {
            Some(run) => format!(
                "run {} ({}), {}, since {} (last progress {})",
                run.id, run.mode, run.holder, run.since, run.progressed
            ),
            None => "a process that is just starting or ending".to_owned(),
        };
        Ok(LedgerError::Locked {
            what: what.word(),
            migration: self.migration.clone(),
            holder,
            session: session.map_or_else(
                || "has been released since: try again".to_owned(),
                |session| format!("is held by {session}"),
            ),
        })
    }
}

impl Lock {
    /// Releases the lock.
    pub async fn release(self) {
        let Self { release, lost, .. } = self;
        drop(release);
        // The lock was lost and its thread has ended.
        if lost.is_terminated() {
            return;
        }
        // The thread ends once it has closed its session. If that takes too long, the server notices by
        // itself.
        let _ = timeout(RELEASE, lost).await;
    }
}
