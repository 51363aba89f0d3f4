//! Failed and superseded tokens and findings, for reports.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream::BoxStream};
use serde::Serialize;

use super::{LedgerError, LedgerReader};
use crate::{
    domain::{RunId, Superseded},
    postgres::{quote_identifier, quote_literal},
};

/// The tokens that a listing asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listing {
    /// The run; if absent, every token whose last outcome is a failure.
    pub run: Option<RunId>,
    /// The kind of tokens.
    pub listed: Listed,
    /// Maximum number of tokens; if absent, all of them.
    pub most: Option<i64>,
}

/// The kinds of tokens that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listed {
    /// Tokens that failed.
    #[default]
    Failed,
    /// Tokens that failed, and warnings about tokens that are uploaded.
    Problems,
    /// Tokens that were left out in favour of another token.
    Superseded,
}

impl Listed {
    /// Returns the severities that belong to the kind. Acknowledged failures are errors, listed apart.
    fn severities(self) -> &'static [&'static str] {
        match self {
            Self::Failed => &["error", "acknowledged"],
            Self::Problems => &["error", "acknowledged", "warning"],
            Self::Superseded => &["superseded"],
        }
    }
}

/// A token that failed or was left out, with the columns of `failures`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct FailedToken {
    pub source_key: String,
    pub app_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant_id: Option<String>,
    pub refused_by: Option<String>,
    pub error_code: Option<String>,
    pub reason: Option<String>,
    pub attempts: i32,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub severity: String,
    /// The key of the row that takes its place, or the name of the migration.
    pub superseded_by: Option<String>,
    /// Since when the failure is acknowledged.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Why it is accepted.
    pub acknowledgement: Option<String>,
}

/// All tokens with the same problem.
#[derive(Debug, Clone)]
pub struct FailureGroup {
    /// `error`, `acknowledged`, `warning` or `superseded`.
    pub severity: String,
    /// The code.
    pub code: String,
    /// The number of tokens of each app, most first; the app is absent if it is unknown.
    pub apps: Vec<(Option<String>, i64)>,
    /// One of the reasons.
    pub example: String,
    /// The first keys.
    pub keys: Vec<String>,
    /// A query for the ledger's database that returns all keys.
    pub keys_sql: String,
}

impl FailureGroup {
    /// Returns the number of tokens.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.apps.iter().map(|(_, count)| count).sum()
    }
}

impl LedgerReader {
    /// Returns the latest dry run and the number of problems it found, if no migration ran after it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn dry_run_since(&mut self) -> Result<Option<(RunId, i64)>, LedgerError> {
        let found = sqlx::query!(
            r#"select id, (select count(*) from findings where run_id = runs.id and severity <> 'superseded') as "problems!"
               from runs where migration = $1 and mode = 'dry_run'
                 and id > (select coalesce(max(id), 0) from runs where migration = $1 and mode = 'migrate')
               order by id desc limit 1"#,
            self.migration,
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(found.map(|run| (run.id, run.problems)))
    }

    /// Returns the last run that covered every row; `None` if there was none.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn latest_full_run(&mut self) -> Result<Option<RunId>, LedgerError> {
        let found = sqlx::query_scalar!(
            "select max(id) from runs where migration = $1 and mode = 'migrate' and selection = 'all'",
            self.migration,
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(found)
    }

    /// Returns the tokens of a listing by code and app, with up to `most_keys` keys of each code: errors
    /// first, acknowledged ones last, the most frequent codes before others.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn failure_groups(
        &mut self,
        listing: Listing,
        most_keys: i64,
    ) -> Result<Vec<FailureGroup>, LedgerError> {
        let counts = sqlx::query!(
            r#"select severity as "severity!", error_code as "code!", app_id, count(*) as "count!", min(reason) as reason,
                      min(superseded_by) as superseded_by
               from (
                   select case when known.source_key is null then 'error' else 'acknowledged' end as severity,
                          failed.error_code, app_id, coalesce(known.reason, failed.reason) as reason, null as superseded_by
                   from token_rows as failed left join acknowledged as known using (migration, source_key)
                   where migration = $1 and state = 'failed' and ($2::bigint is null or failed.run_id = $2)
                   union all
                   select 'superseded', superseded_code, app_id, null, superseded_by
                   from token_rows where migration = $1 and superseded_code is not null and outdated_run = $2
                   union all
                   select severity, error_code, app_id, reason, superseded_by
                   from findings where run_id = $2
               ) as problems
               where severity = any($3) and exists (select from runs where $2 is null or id = $2 and migration = $1)
               group by severity, error_code, app_id
               order by severity = 'acknowledged', severity, sum(count(*)) over (partition by severity, error_code) desc, error_code, count(*) desc, app_id"#,
            self.migration,
            listing.run,
            listing.listed.severities() as _,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut groups: Vec<FailureGroup> = Vec::new();
        for row in counts {
            let known = groups
                .last_mut()
                .filter(|group| group.severity == row.severity && group.code == row.code);
            if let Some(group) = known {
                group.apps.push((row.app_id, row.count));
                continue;
            }
            let example = Superseded::sentence(&row.code, row.superseded_by.as_deref());
            let keys = self.keys(listing, &row.severity, &row.code, most_keys).await?;
            groups.push(FailureGroup {
                keys_sql: self.keys_sql(listing, &row.severity, &row.code),
                severity: row.severity,
                code: row.code,
                apps: vec![(row.app_id, row.count)],
                example: row.reason.unwrap_or(example),
                keys,
            });
        }
        Ok(groups)
    }

    async fn keys(
        &mut self,
        listing: Listing,
        severity: &str,
        code: &str,
        most: i64,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"(select source_key as "key!" from token_rows
                where migration = $1 and state = 'failed' and ($2::bigint is null or run_id = $2)
                  and $3 in ('error', 'acknowledged') and error_code = $4
                  and exists (select from acknowledged as known
                              where known.migration = $1 and known.source_key = token_rows.source_key) = ($3 = 'acknowledged')
                order by length(source_key), source_key limit $5)
               union all
               (select source_key from token_rows
                where migration = $1 and outdated_run = $2 and $3 = 'superseded' and superseded_code = $4
                order by length(source_key), source_key limit $5)
               union all
               (select source_key from findings join runs on runs.id = run_id
                where run_id = $2 and migration = $1 and severity = $3 and error_code = $4
                order by length(source_key), source_key limit $5)"#,
            self.migration,
            listing.run,
            severity,
            code,
            most,
        )
        .fetch_all(&mut self.connection)
        .await
    }

    fn keys_sql(&self, listing: Listing, severity: &str, code: &str) -> String {
        let schema = quote_identifier(&self.schema);
        let code = quote_literal(code);
        let migration = quote_literal(&self.migration);
        let is_known =
            format!("in (select source_key from {schema}.acknowledged where migration = {migration})");
        let failed = match severity {
            "acknowledged" => format!("state = 'failed' and error_code = {code} and source_key {is_known}"),
            _ => format!("state = 'failed' and error_code = {code} and source_key not {is_known}"),
        };
        let among_tokens = match (severity, listing.run) {
            ("error" | "acknowledged", None) => failed,
            ("error" | "acknowledged", Some(run)) => format!("{failed} and run_id = {run}"),
            ("superseded", Some(run)) => format!("superseded_code = {code} and outdated_run = {run}"),
            _ => "false".to_owned(),
        };
        let tokens = format!(
            "select source_key from {schema}.tokens where migration = {migration} and {among_tokens}"
        );
        match listing.run {
            None => tokens,
            // Errors of a real run are among the tokens, those of a dry run among the findings.
            Some(run) => {
                let severity = quote_literal(severity);
                format!(
                    "{tokens} union all select source_key from {schema}.findings where run_id = {run} and severity = {severity} \
                     and error_code = {code}"
                )
            }
        }
    }

    /// Streams the tokens of a listing, ordered by code and key, acknowledged ones last: there may be more
    /// than fit into memory.
    pub fn failures(&mut self, listing: Listing) -> BoxStream<'_, Result<FailedToken, LedgerError>> {
        sqlx::query_as!(
            FailedToken,
            r#"select * from (
                   select source_key as "source_key!", app_id, user_id, tenant_id, refused_by, failed.error_code, failed.reason,
                          attempts as "attempts!", first_seen_at as "first_seen_at!", updated_at as "last_seen_at!",
                          'error' as "severity!", null as superseded_by, acknowledged_at, known.reason as acknowledgement
                   from token_rows as failed left join acknowledged as known using (migration, source_key)
                   where migration = $1 and state = 'failed' and ($2::bigint is null or failed.run_id = $2)
                   union all
                   select source_key, app_id, user_id, tenant_id, null, superseded_code, null, attempts, first_seen_at, updated_at,
                          'superseded', superseded_by, null, null
                   from token_rows where migration = $1 and superseded_code is not null and outdated_run = $2
                   union all
                   select source_key, app_id, user_id, tenant_id, refused_by, error_code, reason, 1, found_at, found_at, severity,
                          superseded_by, null, null
                   from findings join runs on runs.id = run_id
                   where run_id = $2 and migration = $1
               ) as listed
               where "severity!" = any($3)
               order by acknowledged_at is not null, 11, 6, 2, 1 limit $4"#,
            self.migration,
            listing.run,
            listing.listed.severities() as _,
            listing.most,
        )
        .fetch(&mut self.connection)
        .map(|row| {
            let mut row = row?;
            if let (None, Some(code)) = (&row.reason, &row.error_code) {
                row.reason = Some(Superseded::sentence(code, row.superseded_by.as_deref()));
            }
            Ok(row)
        })
        .boxed()
    }
}
