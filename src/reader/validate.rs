//! Validates the configuration against the database before the first page is read.

use sqlx::{AssertSqlSafe, Executor};

use super::{
    SourceError,
    columns::Columns,
    key,
    plan::{Bounds, Plan, from_clause, parenthesize},
    relation::{problem, relation_columns, types},
    row_security,
};
use crate::{
    config::SourceSettings,
    postgres::{Failure, Session},
};

/// Checks relation, condition, columns and key, and makes the plan. All that is wrong is named at once.
pub(super) async fn inspect(
    connection: &mut Session,
    settings: &SourceSettings,
) -> Result<Plan, SourceError> {
    match plan(connection, settings).await {
        Ok(plan) => Ok(plan),
        Err(error) => Err(row_security::named(connection, error).await),
    }
}

async fn plan(connection: &mut Session, settings: &SourceSettings) -> Result<Plan, SourceError> {
    let from = from_clause(&settings.relation);
    let names = relation_columns(connection, settings, &from).await?;
    let mut problems = Vec::new();

    let condition = settings.condition.as_deref().map(parenthesize);
    if let Some(condition) = &condition {
        let sql = format!("select 1 from {from} where {condition} limit 0");
        if let Err(failure) = types(connection, sql).await? {
            problems.push(problem(
                "source.where",
                format!("is not a condition over these rows: {failure}"),
            ));
        }
    }
    let key = key::key_columns(connection, settings, &from, &names, &mut problems).await?;
    let mut columns = Columns {
        connection,
        from: &from,
        names: &names,
        problems: &mut problems,
        data_keys: Vec::new(),
    };
    let mut found = Vec::new();
    for (&field, wanted) in &settings.columns {
        found.extend(columns.column(field, &field.key(), wanted).await?);
    }
    let Some(key) = key.filter(|_| problems.is_empty()) else {
        return Err(SourceError::Misfit(problems));
    };
    key::check_key(connection, settings, &from, condition.as_deref()).await?;
    let plan = Plan::new(settings, key, found);
    // Privileges are only looked at when a query runs.
    connection
        .execute(AssertSqlSafe(plan.page(Bounds::NONE, 0)))
        .await
        .map_err(Failure::from)?;
    Ok(plan)
}

/// Returns the planner's estimate of the number of rows: good enough for a progress bar, and free.
pub(super) async fn expected_rows(connection: &mut Session, settings: &SourceSettings) -> Option<u64> {
    let from = from_clause(&settings.relation);
    let filter = settings
        .condition
        .as_deref()
        .map(|sql| format!(" where {}", parenthesize(sql)))
        .unwrap_or_default();
    let sql = format!("explain (format json) select 1 from {from}{filter}");
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut *connection)
        .await
        .ok()?;
    plan.pointer("/0/Plan/Plan Rows")?.as_u64()
}
