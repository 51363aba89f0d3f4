//! A run is taken back, and the rollback is killed between a deletion and its outcome. Until it has finished,
//! nobody knows what is still stored, and `migrate` refuses to begin; then the tokens go up again.

use nix::sys::signal::Signal;
use tokio::time::{Duration, sleep};

use crate::{driver::Driver, process::Ended};

/// A rollback takes two or three requests for each token.
const TOKENS: usize = 24;
/// Behind a deletion, and before one.
const KILLED_AT: [&str; 2] = ["undone=3", "intended=4"];

impl Driver {
    /// Only while everything works, and is at rest.
    pub(crate) async fn undo(&mut self) {
        self.legacy.grow(&self.world.source.pool, TOKENS).await;
        let mut migrate = self.world.migrate();
        assert!(matches!(migrate.ended().await, Ended::Code(0 | 3)));
        let run = migrate.report()["run_id"].as_i64().unwrap();

        for place in KILLED_AT {
            let mut rollback = self.world.rollback(run, Some(place));
            rollback.killed = true;
            assert_eq!(rollback.ended().await, Ended::Signal(Signal::SIGKILL as i32));
            let deleting: i64 = sqlx::query_scalar(
                "select count(*) from tokenferry.rollbacks where of_run = $1 and state = 'deleting'",
            )
            .bind(run)
            .fetch_one(&self.world.ledger.pool)
            .await
            .unwrap();
            // The third token may be one that stays, and the others may not be that far.
            assert!(deleting > 0 || place == KILLED_AT[0]);
            if deleting > 0 {
                self.refused().await;
            }
        }
        let mut rollback = self.world.rollback(run, None);
        rollback.contended = true;
        let ended = rollback.ended().await;
        assert!(
            matches!(ended, Ended::Code(0 | 3)),
            "{ended:?}\n{}",
            rollback.last_words()
        );

        let removed: Vec<i64> = sqlx::query_scalar(
            "select source_key::bigint from tokenferry.rollbacks where of_run = $1 and state in ('removed', 'gone')",
        )
        .bind(run)
        .fetch_all(&self.world.ledger.pool)
        .await
        .unwrap();
        assert!(removed.len() > TOKENS / 2, "{removed:?}");
        for id in removed {
            self.legacy.may_arrive_again(id);
        }
    }

    /// `migrate` does not begin.
    async fn refused(&mut self) {
        let before = self.world.writes();
        loop {
            let mut migrate = self.world.migrate();
            migrate.contended = true;
            migrate.is_refused = true;
            match migrate.ended().await {
                Ended::Code(2) => break,
                // The server has not noticed yet that the rollback is gone.
                Ended::Code(5) => sleep(Duration::from_millis(100)).await,
                other => panic!(
                    "nobody knows what is stored, and a run began: {other:?}\n{}",
                    migrate.last_words()
                ),
            }
        }
        assert_eq!(self.world.writes(), before);
    }
}
