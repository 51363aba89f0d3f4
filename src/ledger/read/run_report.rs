//! A run and its batches, for reports.

use chrono::{DateTime, Utc};

use super::{
    LedgerError, LedgerReader,
    liveness::{GONE, Sign},
};
use crate::{
    config::LedgerAccess,
    domain::{
        Batches, CodeCount, Counters, Estimate, Mode, RunId, RunStatus, Summary, Superseded, Tally,
        Verification,
    },
};

/// A run as the ledger holds it.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The run and its totals.
    pub summary: Summary,
    /// `all`, or `failed`: only tokens that failed before.
    pub selection: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it last recorded progress.
    pub progressed_at: DateTime<Utc>,
    /// The last process that worked on it.
    pub holder: String,
}

/// The codes of a run by severity, most frequent first.
#[derive(Debug, Default)]
struct Counted {
    failures: Vec<CodeCount>,
    warnings: Vec<CodeCount>,
    superseded: Vec<CodeCount>,
    acknowledged: Vec<CodeCount>,
}

impl LedgerReader {
    /// Opens the ledger, reads a run and closes it again; `None` if there is no such run.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`run`](Self::run).
    pub async fn summary(access: &LedgerAccess, run: RunId) -> Result<Option<Summary>, LedgerError> {
        let mut reader = Self::open(access).await?;
        let report = reader.run(Some(run)).await?;
        reader.close().await;
        Ok(report.map(|report| report.summary))
    }

    /// Returns a run of this migration, or the latest one; `None` if there is none yet. A dry run or
    /// verification is the latest only if no run moved tokens: it does not show where the migration stands.
    ///
    /// # Errors
    /// If the run does not exist, or the database does not answer.
    pub async fn run(&mut self, id: Option<RunId>) -> Result<Option<RunReport>, LedgerError> {
        let found = sqlx::query!(
            r#"select id, mode, selection, status, resumed, started_at, finished_at, progressed_at, holder, stop_reason,
                      tokens_selected, tokens_committed, tokens_failed, tokens_superseded, tokens_unchanged, requests,
                      retries, rate_limited, lookups, active_seconds, estimated_batches, estimated_requests,
                      estimated_single_requests, estimated_bytes, estimated_seconds, estimated_fetches, estimated_at_most,
                      expected_rows,
                      progressed_at < now() - interval '10 seconds' as "is_silent!",
                      mode = 'migrate' and selection = 'all' and selection_digest is not null
                      and not exists (select from runs later where later.migration = $1 and later.mode = 'migrate'
                                        and later.selection = 'all' and later.id > runs.id) as "is_taken_up!"
               from runs where migration = $1 and ($2::bigint is null or id = $2)
               -- Runs that moved tokens come first.
               order by (mode = 'migrate' or mode = 'rollback' and not rehearsal) desc, id desc limit 1"#,
            self.migration,
            id,
        )
        .fetch_optional(&mut self.connection)
        .await?;
        let Some(run) = found else {
            return id.map_or(Ok(None), |id| Err(LedgerError::NoSuchRun(id)));
        };
        let mode = Mode::parse(&run.mode).ok_or_else(|| {
            LedgerError::Contradiction(format!("run {} has the unknown mode {}", run.id, run.mode))
        })?;
        let sign = Sign {
            run: run.id,
            mode,
            status: &run.status,
            is_silent: run.is_silent,
        };
        let is_gone = self.is_gone(sign).await?;
        let (status, stop_reason) = if is_gone {
            let interrupted = RunStatus::Interrupted.as_str().to_owned();
            (interrupted, Some(GONE.to_owned()))
        } else {
            (run.status, run.stop_reason)
        };
        let (batches, batches_in_flight) = self.batches(run.id).await?;
        let counted = self.counts_by_code(run.id, run.tokens_superseded).await?;
        let estimate = run.estimated_batches.map(|batches| Estimate {
            batches,
            requests: run.estimated_requests.unwrap_or(batches),
            single_requests: run.estimated_single_requests.unwrap_or_default(),
            bytes: run.estimated_bytes.unwrap_or_default(),
            fetches: run.estimated_fetches.unwrap_or_default(),
            duration_s: run.estimated_seconds.unwrap_or_default(),
            at_most: run.estimated_at_most.unwrap_or_default(),
        });
        let summary = Summary {
            run_id: run.id,
            migration: self.migration.clone(),
            mode,
            status,
            resumed: run.resumed,
            tokens: Tally {
                selected: run.tokens_selected,
                committed: run.tokens_committed,
                failed: run.tokens_failed,
                superseded: run.tokens_superseded,
                unchanged: run.tokens_unchanged,
            },
            rows_expected: run.expected_rows,
            batches,
            counters: Counters {
                requests: run.requests,
                retries: run.retries,
                rate_limited: run.rate_limited,
                lookups: run.lookups,
                active_seconds: run.active_seconds,
            },
            batches_in_flight,
            failures: counted.failures,
            acknowledged: counted.acknowledged,
            warnings: counted.warnings,
            superseded: counted.superseded,
            estimate,
            verify: self.verification(run.id).await?,
            rollback: self.rollback(run.id).await?,
            stop_reason,
            is_taken_up: Some(run.is_taken_up),
            is_of_all: run.selection == "all",
        };
        Ok(Some(RunReport {
            summary,
            selection: run.selection,
            started_at: run.started_at,
            finished_at: run.finished_at,
            progressed_at: run.progressed_at,
            holder: run.holder,
        }))
    }

    /// Returns the batches of a run that have an outcome, and the number of those in flight.
    async fn batches(&mut self, run: RunId) -> Result<(Batches, i64), LedgerError> {
        let found = sqlx::query!(
            r#"select count(*) filter (where state = 'committed') as "committed!",
                      count(*) filter (where state = 'failed') as "failed!",
                      count(*) filter (where state = 'in_flight') as "in_flight!"
               from batches where run_id = $1"#,
            run,
        )
        .fetch_one(&mut self.connection)
        .await?;
        let settled = Batches {
            committed: found.committed,
            failed: found.failed,
        };
        Ok((settled, found.in_flight))
    }

    /// Returns the codes of a run's tokens. Errors and superseded rows of a real run are among the tokens,
    /// those of a dry run among the findings.
    async fn counts_by_code(&mut self, run: RunId, superseded: i64) -> Result<Counted, LedgerError> {
        let failures = sqlx::query_as!(
            CodeCount,
            r#"select error_code as "code!", count(*) as "count!", coalesce(min(reason), '') as "example!"
               from token_rows where migration = $1 and run_id = $2 and state = 'failed'
               group by error_code order by count(*) desc, error_code"#,
            self.migration,
            run,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let acknowledged = sqlx::query_as!(
            CodeCount,
            r#"select error_code as "code!", count(*) as "count!", min(reason) as "example!"
               from acknowledged where migration = $1 and run_id = $2
               group by error_code order by count(*) desc, error_code"#,
            self.migration,
            run,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut counted = Counted {
            failures,
            acknowledged,
            ..Counted::default()
        };
        // No index leads there: a run without such rows must not read the whole table.
        if superseded > 0 {
            let among_tokens = sqlx::query!(
                r#"select superseded_code as "code!", count(*) as "count!", min(superseded_by) as by
                   from token_rows where migration = $1 and outdated_run = $2 and superseded_code is not null
                   group by superseded_code order by count(*) desc, superseded_code"#,
                self.migration,
                run,
            )
            .fetch_all(&mut self.connection)
            .await?;
            counted
                .superseded
                .extend(among_tokens.into_iter().map(|found| CodeCount {
                    example: Superseded::sentence(&found.code, found.by.as_deref()),
                    code: found.code,
                    count: found.count,
                }));
        }
        let among_findings = sqlx::query!(
            r#"select severity, error_code as code, count(*) as "count!", min(reason) as "example!"
               from findings where run_id = $1
               group by severity, error_code order by count(*) desc, error_code"#,
            run,
        )
        .fetch_all(&mut self.connection)
        .await?;
        for found in among_findings {
            let of_severity = match found.severity.as_str() {
                "error" => &mut counted.failures,
                "superseded" => &mut counted.superseded,
                _ => &mut counted.warnings,
            };
            of_severity.push(CodeCount {
                code: found.code,
                count: found.count,
                example: found.example,
            });
        }
        Ok(counted)
    }

    async fn verification(&mut self, run: RunId) -> Result<Option<Verification>, sqlx::Error> {
        sqlx::query_as!(
            Verification,
            r#"select of_run, sample, seed, include_expired, equal + refreshed + in_part + different + missing as "checked!", equal, refreshed,
                      in_part, different, missing, changed_in_source, gone_from_source, inconclusive, not_read, not_uploaded
               from verifications where run_id = $1"#,
            run,
        )
        .fetch_optional(&mut self.connection)
        .await
    }
}
