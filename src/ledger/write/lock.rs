//! Locks: one run of a migration at a time, and one verification beside it.

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};

use super::lock_keeper::{LockKeeper, Loss};
use crate::{
    config::LedgerAccess,
    ledger::{Ledger, LedgerError, LockKind, lock_holder::LockHolder},
    postgres::Failure,
};

/// Held for as long as a run lasts, by a thread of its own: see [`LockKeeper`]. Dropped, it is given up.
#[derive(Debug)]
pub struct Lock {
    what: LockKind,
    name: String,
    /// Tells the thread to end, even by being dropped.
    release: oneshot::Sender<()>,
    lost: oneshot::Receiver<Loss>,
}

/// How long the goodbye may take.
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

    /// Waits until the lock is lost for good: another process has it, or the database stays away. What this process still tries to
    /// send or record then is refused by its epoch.
    pub async fn hold_lock(&self, lock: &mut Lock) -> LedgerError {
        let why = (&mut lock.lost).await.unwrap_or(Loss::Ended);
        self.why_lost(lock.what, &lock.name, why).await
    }

    async fn why_lost(&self, what: LockKind, name: &str, why: Loss) -> LedgerError {
        match why {
            Loss::Taken => self.locked(what, name).await.unwrap_or_else(|error| error),
            Loss::Failed(error) => error,
            Loss::Ended => LedgerError::Contradiction("nobody keeps its lock any more".to_owned()),
        }
    }

    /// Who has the lock, and since when: the session that holds it, and the run that it belongs to.
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
            r#"select holder, to_char(progressed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "progressed!",
                      to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as "since!"
               from runs where migration = $1 and mode <> 'dry_run' and (mode = 'verify') = $2 and status = 'running'
               order by id desc limit 1"#,
            self.migration,
            what == LockKind::Verification,
        )
        .fetch_optional(&self.pool)
        .await?;
        let holder = match run {
            Some(run) => format!(
                "{}, since {} (last progress {})",
                run.holder, run.since, run.progressed
            ),
            None => "a process that is just starting or ending".to_owned(),
        };
        Ok(LedgerError::Locked {
            what: what.word(),
            migration: self.migration.clone(),
            holder,
            session: session.map_or_else(
                || "has been given up since: try again".to_owned(),
                |session| format!("is held by {session}"),
            ),
        })
    }
}

impl Lock {
    /// Gives the lock up.
    pub async fn release(self) {
        let Self { release, lost, .. } = self;
        drop(release);
        // It was lost, and its thread has ended.
        if lost.is_terminated() {
            return;
        }
        // The thread ends once it has said goodbye; without it, the server notices by itself.
        let _ = timeout(RELEASE, lost).await;
    }
}
