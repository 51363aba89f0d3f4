//! Shared quotas: requests of all processes with this ledger reserve their moments in one row per quota, on
//! the database's clock.

use std::time::Duration;

use tokio::time::sleep;
use tracing::info;

use super::{Ledger, LedgerError};
use crate::config::RateLimit;

/// The settings of a quota. All processes that share it must have the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaTerms {
    /// The configured rate.
    pub limit: RateLimit,
    /// The most requests per window, to which the rate is raised once.
    pub ceiling: Option<u32>,
    /// The time between two requests at the configured rate.
    pub step: Duration,
    /// The time between two requests at the ceiling; `step` without one.
    pub best_step: Duration,
}

/// A quota that processes share.
#[derive(Debug, Clone)]
pub struct SharedQuota {
    ledger: Ledger,
    name: String,
    /// The table of the configuration that holds its settings.
    key: &'static str,
    terms: QuotaTerms,
    used_by: String,
}

/// The moments that were reserved for requests, one after the other at a distance of `step`.
#[derive(Debug, Clone, Copy)]
pub struct Reservation {
    /// The time until the first one.
    pub wait: Duration,
    /// The time between two requests.
    pub step: Duration,
    /// The time for which the API asked to wait.
    pub held_for: Duration,
    /// The number of holds so far.
    pub generation: i64,
    /// The rate is due to be raised.
    may_rise: bool,
}

/// The distance of two looks at a quota whose settings differ.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A second 429 within this many windows lowers the rate.
const WATCHED_WINDOWS: f64 = 3.0;

/// A lowered rate rises by a twentieth after this many windows.
const WINDOWS_TO_RECOVER: f64 = 5.0;

impl Ledger {
    /// Returns a quota that is shared under `name`. `key` is the table of its settings in the configuration,
    /// and `used_by` describes this process.
    #[must_use]
    pub fn quota(&self, name: String, key: &'static str, terms: QuotaTerms, used_by: String) -> SharedQuota {
        SharedQuota {
            ledger: self.clone(),
            name,
            key,
            terms,
            used_by,
        }
    }
}

impl SharedQuota {
    /// Returns the settings.
    #[must_use]
    pub fn terms(&self) -> QuotaTerms {
        self.terms
    }

    /// Announces this process and its settings. If the quota has other settings, they are replaced once no
    /// request has left for a whole window.
    ///
    /// # Errors
    /// [`LedgerError::QuotaConflict`] if a process with other settings uses the quota, or if the database
    /// stays unreachable.
    pub async fn claim(&self) -> Result<(), LedgerError> {
        let mut seen = None;
        loop {
            if self.try_claim().await? {
                return Ok(());
            }
            let Some(other) = self.other_terms().await? else {
                continue;
            };
            if seen.is_some_and(|seen| seen < other.reserved_at) {
                return Err(LedgerError::QuotaConflict {
                    key: self.key,
                    used_by: other.used_by,
                    theirs: other.text,
                    ours: describe(self.terms.limit, self.terms.ceiling),
                    window: humantime::format_duration(self.terms.limit.per).to_string(),
                });
            }
            if seen.is_none() {
                info!(
                    key = self.key,
                    before = other.text,
                    now = describe(self.terms.limit, self.terms.ceiling),
                    "the settings of a shared quota have changed, waiting until the last window under the former ones is over"
                );
            }
            seen = Some(other.reserved_at);
            sleep(LOOK_EVERY).await;
        }
    }

    async fn try_claim(&self) -> Result<bool, LedgerError> {
        let QuotaTerms {
            limit,
            ceiling,
            step,
            best_step,
        } = self.terms;
        let claimed = self
            .ledger
            .with_retry(|| {
                sqlx::query_scalar!(
                    r#"insert into quotas as known (name, requests, per, burst, ceiling, step, best_step, used_by)
                       values ($1, $2, $3, $4, $5, $6, $7, $8)
                       on conflict (name) do update set
                              requests = excluded.requests, per = excluded.per, burst = excluded.burst,
                              ceiling = excluded.ceiling, used_by = excluded.used_by,
                              step = case when (known.requests, known.per, known.burst, known.ceiling)
                                               is not distinct from ($2, $3, $4, $5)
                                          then known.step else excluded.step end,
                              best_step = case when (known.requests, known.per, known.burst, known.ceiling)
                                                    is not distinct from ($2, $3, $4, $5)
                                               then known.best_step else excluded.best_step end
                       where (known.requests, known.per, known.burst, known.ceiling) is not distinct from ($2, $3, $4, $5)
                          or known.tat not between clock_timestamp() - make_interval(secs => greatest(known.per, $3))
                                               and greatest(clock_timestamp(), known.held_until)
                                                   + make_interval(secs => 2 * known.per)
                       returning true as "claimed!""#,
                    self.name,
                    whole(limit.requests),
                    limit.per.as_secs_f64(),
                    whole(limit.burst),
                    ceiling.map(whole),
                    step.as_secs_f64(),
                    best_step.as_secs_f64(),
                    self.used_by,
                )
                .fetch_optional(&self.ledger.pool)
            })
            .await?;
        Ok(claimed.is_some())
    }

    async fn other_terms(&self) -> Result<Option<OtherTerms>, LedgerError> {
        let row = self
            .ledger
            .with_retry(|| {
                sqlx::query!(
                    r#"select requests, per, burst, ceiling, used_by, extract(epoch from tat)::float8 as "reserved_at!"
                       from quotas where name = $1"#,
                    self.name,
                )
                .fetch_optional(&self.ledger.pool)
            })
            .await?;
        Ok(row.map(|row| {
            let limit = RateLimit {
                requests: row.requests.unsigned_abs(),
                per: seconds(row.per),
                burst: row.burst.unsigned_abs(),
            };
            OtherTerms {
                text: describe(limit, row.ceiling.map(i32::unsigned_abs)),
                used_by: row.used_by,
                reserved_at: row.reserved_at,
            }
        }))
    }

    /// Reserves moments for this many requests. `None` if the quota has other settings by now, or none.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn reserve(&self, requests: u32) -> Result<Option<Reservation>, LedgerError> {
        let limit = self.terms.limit;
        let row = self
            .ledger
            .with_retry(|| {
                sqlx::query!(
                    // What is lost in a crash is less than a second of reservations, so their commit does not
                    // wait for the disk. The moments are those of this statement: `clock_timestamp()` goes on
                    // while it waits for the row. A row that is further ahead than two windows, and than
                    // two after a hold, was written under another clock.
                    r#"update quotas set tat = greatest(
                              least(tat, greatest(clock_timestamp(), held_until) + make_interval(secs => 2 * per)),
                              clock_timestamp(), held_until + make_interval(secs => $6::float8 * step))
                              + make_interval(secs => $7::float8 * step)
                       from (select set_config('synchronous_commit', 'off', true) as setting) as relaxed
                       where name = $1 and requests = $2 and per = $3 and burst = $4 and ceiling is not distinct from $5
                         and relaxed.setting is not null
                       returning generation, step,
                              extract(epoch from tat - make_interval(secs => ($6::float8 + $7::float8) * step) - clock_timestamp())::float8
                                  as "wait!",
                              extract(epoch from held_until - clock_timestamp())::float8 as "held_for!",
                              step > best_step and changed_at < clock_timestamp()
                                  - make_interval(secs => per * case when step > $8 then $9::float8 else 1 end) as "may_rise!""#,
                    self.name,
                    whole(limit.requests),
                    limit.per.as_secs_f64(),
                    whole(limit.burst),
                    self.terms.ceiling.map(whole),
                    f64::from(limit.burst.saturating_sub(1)),
                    f64::from(requests),
                    self.terms.step.as_secs_f64(),
                    WINDOWS_TO_RECOVER,
                )
                .fetch_optional(&self.ledger.pool)
            })
            .await?;
        let reservation = row.map(|row| Reservation {
            wait: seconds(row.wait),
            step: seconds(row.step),
            held_for: seconds(row.held_for),
            generation: row.generation,
            may_rise: row.may_rise,
        });
        if reservation.is_some_and(|reservation| reservation.may_rise) {
            self.raise().await?;
        }
        Ok(reservation)
    }

    /// Returns the rate that the API allowed last.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn allowed(&self) -> Result<RateLimit, LedgerError> {
        let QuotaTerms { limit, ceiling, .. } = self.terms;
        let step = self
            .ledger
            .with_retry(|| {
                sqlx::query_scalar!(
                    "select step from quotas
                     where name = $1 and requests = $2 and per = $3 and burst = $4 and ceiling is not distinct from $5",
                    self.name,
                    whole(limit.requests),
                    limit.per.as_secs_f64(),
                    whole(limit.burst),
                    ceiling.map(whole),
                )
                .fetch_optional(&self.ledger.pool)
            })
            .await?;
        let part = step.map_or(1.0, |step| self.terms.step.as_secs_f64() / step);
        Ok(limit.scaled(part))
    }

    /// Raises the rate: by a twentieth up to the configured one, by a tenth up to the ceiling.
    async fn raise(&self) -> Result<(), LedgerError> {
        let usual = self.terms.step.as_secs_f64();
        self.ledger
            .with_retry(|| {
                sqlx::query!(
                    "update quotas set changed_at = clock_timestamp(),
                            step = case when step > $2 then greatest(step / 1.05, $2, best_step) else greatest(step / 1.1, best_step) end
                     where name = $1 and step > best_step
                       and changed_at < clock_timestamp() - make_interval(secs => per * case when step > $2 then $3::float8 else 1 end)",
                    self.name,
                    usual,
                    WINDOWS_TO_RECOVER,
                )
                .execute(&self.ledger.pool)
            })
            .await?;
        Ok(())
    }

    /// Returns true if nothing was held since a reservation of this generation.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn is_current(&self, generation: i64) -> Result<bool, LedgerError> {
        let now = self
            .ledger
            .with_retry(|| {
                sqlx::query_scalar!("select generation from quotas where name = $1", self.name)
                    .fetch_optional(&self.ledger.pool)
            })
            .await?;
        Ok(now == Some(generation))
    }

    /// Holds the requests of all processes after a 429. The longest of several holds counts. A second 429
    /// within three windows after the end of a hold lowers the rate by a fifth; one above the configured rate
    /// ends the search for the ceiling. Returns the time between two requests from now on.
    ///
    /// # Errors
    /// If the database stays unreachable.
    pub async fn hold(&self, wait: Duration) -> Result<Duration, LedgerError> {
        let usual = self.terms.step.as_secs_f64();
        let step = self
            .ledger
            .with_retry(|| {
                sqlx::query_scalar!(
                    "update quotas set generation = generation + 1,
                            held_until = greatest(held_until, clock_timestamp() + make_interval(secs => $2)),
                            -- 429s during a hold are for requests that left before it.
                            step = case when held_until > clock_timestamp() then step
                                        when step < $3 then least(step * 1.25, $3)
                                        when held_until > clock_timestamp() - make_interval(secs => $4 * per)
                                        then least(step * 1.25, greatest(per, $3))
                                        else step end,
                            best_step = case when held_until <= clock_timestamp() and step < $3 then least(step * 1.25, $3)
                                             else best_step end,
                            changed_at = case when held_until > clock_timestamp() then changed_at else clock_timestamp() end
                     where name = $1
                     returning step",
                    self.name,
                    wait.as_secs_f64(),
                    usual,
                    WATCHED_WINDOWS,
                )
                .fetch_optional(&self.ledger.pool)
            })
            .await?;
        Ok(step.map_or(self.terms.step, seconds))
    }
}

/// The settings that other processes use a quota with.
struct OtherTerms {
    text: String,
    used_by: String,
    /// In seconds since 1970.
    reserved_at: f64,
}

fn describe(limit: RateLimit, ceiling: Option<u32>) -> String {
    let ceiling = ceiling
        .map(|most| format!(", ceiling {most}"))
        .unwrap_or_default();
    format!(
        "{} requests per {}, burst {}{ceiling}",
        limit.requests,
        humantime::format_duration(limit.per),
        limit.burst,
    )
}

/// Returns a time of the database; one that has passed is zero.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

fn whole(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
