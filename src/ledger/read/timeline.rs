//! Timeline of a run's batches, and their latency, for reports.

use chrono::{DateTime, Utc};

use super::{LedgerError, LedgerReader};
use crate::domain::RunId;

/// A run's batches over time, in equal steps.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Start of the first step.
    pub from: DateTime<Utc>,
    /// Length of each step.
    pub step_s: i32,
    /// The steps, including those in which no batch ended.
    pub steps: Vec<Step>,
}

/// The batches that ended within one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Tokens of batches that the API stored.
    pub tokens: i64,
    /// Those batches.
    pub committed: i64,
    /// Batches that were not stored.
    pub refused: i64,
}

/// Latency of the batches that the API answered, from the record of the last attempt to the record of its
/// outcome.
#[derive(Debug, Clone)]
pub struct Latency {
    /// The number of batches.
    pub batches: i64,
    /// The median in seconds.
    pub median: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub longest: f64,
    /// The number of batches per bucket of a histogram whose upper bounds are [`BOUNDS`]; the last bucket has
    /// none.
    pub counts: Vec<i64>,
}

/// Upper bounds of the histogram's buckets, in seconds.
pub const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0,
];

/// Maximum number of steps, so that a chart of them stays readable.
const MOST_STEPS: i64 = 120;

/// Step lengths that are easy to read, in seconds.
const LENGTHS: [i32; 17] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400,
];

/// Returns the shortest step length with which `seconds` fit. A run of months has steps of many days.
fn step_for(seconds: i64) -> i32 {
    let enough = (seconds / MOST_STEPS) + 1;
    LENGTHS
        .into_iter()
        .find(|length| i64::from(*length) >= enough)
        .unwrap_or_else(|| i32::try_from(enough).unwrap_or(i32::MAX))
}

impl LedgerReader {
    /// Returns the run's batches over time, from its start to `until`.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn timeline(
        &mut self,
        run: RunId,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Timeline, LedgerError> {
        let seconds = (until - from).num_seconds().max(1);
        let length = step_for(seconds);
        let count = usize::try_from(seconds / i64::from(length) + 1).unwrap_or(1);
        let rows = sqlx::query!(
            r#"select floor(extract(epoch from finished_at - $2) / $3::integer)::integer as "step!",
                      coalesce(sum(token_count) filter (where state = 'committed'), 0) as "tokens!",
                      count(*) filter (where state = 'committed') as "committed!",
                      count(*) filter (where state = 'failed') as "refused!"
               from batches where run_id = $1 and finished_at is not null
               group by 1"#,
            run,
            from,
            length,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut steps = vec![Step::default(); count];
        for row in rows {
            // An outcome outside the range, because the clock was set back or the run had ended, counts in
            // the nearest step.
            let place = usize::try_from(row.step).unwrap_or(0).min(count - 1);
            steps[place].tokens += row.tokens;
            steps[place].committed += row.committed;
            steps[place].refused += row.refused;
        }
        Ok(Timeline {
            from,
            step_s: length,
            steps,
        })
    }

    /// Returns the latency of the run's batches; `None` if the API answered none.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn latency(&mut self, run: RunId) -> Result<Option<Latency>, LedgerError> {
        let percentiles = sqlx::query!(
            r#"select count(*) as "batches!",
                      percentile_cont(array[0.5, 0.95, 0.99, 1]) within group (order by seconds) as "percentiles: Vec<f64>"
               from (
                   select extract(epoch from finished_at - submitted_at)::float8 as seconds
                   -- A batch without a status was settled by reading back, perhaps by a later process.
                   from batches where run_id = $1 and http_status is not null and finished_at is not null
               ) as answered"#,
            run,
        )
        .fetch_one(&mut self.connection)
        .await?;
        let Some([median, p95, p99, longest]) = percentiles.percentiles.as_deref() else {
            return Ok(None);
        };
        let rows = sqlx::query!(
            r#"select width_bucket(extract(epoch from finished_at - submitted_at)::float8, $2::float8[]) as "place!",
                      count(*) as "count!"
               from batches where run_id = $1 and http_status is not null and finished_at is not null
               group by 1"#,
            run,
            &BOUNDS,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut counts = vec![0; BOUNDS.len() + 1];
        for row in rows {
            let place = usize::try_from(row.place).unwrap_or(0).min(BOUNDS.len());
            counts[place] += row.count;
        }
        Ok(Some(Latency {
            batches: percentiles.batches,
            median: *median,
            p95: *p95,
            p99: *p99,
            longest: *longest,
            counts,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_few_whatever_the_time() {
        for (seconds, length) in [(1, 1), (119, 1), (120, 2), (3600, 60), (86_400, 900)] {
            assert_eq!(step_for(seconds), length, "{seconds}");
        }
        for seconds in [1, 59, 120, 7199, 86_399, 31_536_000, 10_i64.pow(10)] {
            let steps = seconds / i64::from(step_for(seconds)) + 1;
            assert!(steps <= MOST_STEPS, "{seconds}: {steps}");
        }
    }
}
