//! Applies to a session the values of `[source.session]`, such as the key of `pgp_sym_decrypt`.
//!
//! They travel as parameters, so they are in no statement's text: not in the server's log of statements, not
//! in `pg_stat_activity` or `pg_stat_statements`. Some servers log parameters, too. Then logging them is
//! switched off for the session if the role may do that, and if it may not, nothing is handed over.

use sqlx::Executor;

use crate::{
    config::SessionValue,
    postgres::{Failure, Session},
};

/// Sets the values for the session.
pub(super) async fn apply_session_settings(
    connection: &mut Session,
    values: &[SessionValue],
) -> Result<(), Failure> {
    if values.is_empty() {
        return Ok(());
    }
    keep_out_of_the_log(connection).await?;
    // A plan made for these very parameters would hold them, and extensions log plans.
    connection
        .execute("set plan_cache_mode = force_generic_plan")
        .await?;
    for SessionValue { name, value } in values {
        sqlx::query("select pg_catalog.set_config($1, $2, false) is not null")
            .bind(name)
            .bind(value.reveal())
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    connection
        .execute("set plan_cache_mode = force_custom_plan")
        .await?;
    Ok(())
}

async fn keep_out_of_the_log(connection: &mut Session) -> Result<(), Failure> {
    if logged_by(connection).await?.is_empty() {
        return Ok(());
    }
    if may_switch_it_off(connection).await? {
        connection.execute("set log_parameter_max_length = 0").await?;
    }
    let by = logged_by(connection).await?;
    if by.is_empty() {
        return Ok(());
    }
    let role: String = sqlx::query_scalar("select pg_catalog.quote_ident(current_user)")
        .fetch_one(connection)
        .await?;
    Err(Failure::withheld(format!(
        "the values of [source.session] were not sent, since the server would log them ({}); have a superuser run: {}",
        by.join(", "),
        by.iter()
            .map(|by| remedy(by, &role))
            .collect::<Vec<_>>()
            .join("; ")
    )))
}

fn remedy(by: &str, role: &str) -> String {
    match by {
        "pgaudit" => format!("alter role {role} set pgaudit.log_parameter = off"),
        "auto_explain" => format!("alter role {role} set auto_explain.log_min_duration = -1"),
        _ => format!("alter role {role} set log_parameter_max_length = 0"),
    }
}

/// Settings that log the parameters of fast statements. A threshold of a tenth of a second is far from that.
async fn logged_by(connection: &mut Session) -> Result<Vec<String>, Failure> {
    let found: Vec<String> = sqlx::query_scalar(
        "with settings as (
             select (select setting from pg_settings where name = 'log_statement') as statements,
                    (select setting::int from pg_settings where name = 'log_min_duration_statement') as duration,
                    (select setting::int from pg_settings where name = 'log_min_duration_sample') as sample,
                    (select setting::float8 from pg_settings where name = 'log_statement_sample_rate') as sample_rate,
                    (select setting::float8 from pg_settings where name = 'log_transaction_sample_rate') as transactions,
                    -- Before Postgres 13 there is none: parameters are logged whole.
                    coalesce((select setting::int from pg_settings where name = 'log_parameter_max_length'), -1) as longest,
                    (select setting::int from pg_settings where name = 'auto_explain.log_min_duration') as explained,
                    coalesce((select setting::int from pg_settings where name = 'auto_explain.log_parameter_max_length'), 0)
                        as explained_longest,
                    (select setting from pg_settings where name = 'pgaudit.log_parameter') as audited
         )
         select way from settings, lateral (values
             ('log_statement', longest <> 0 and statements = 'all'),
             ('log_min_duration_statement', longest <> 0 and duration between 0 and 99),
             ('log_min_duration_sample', longest <> 0 and sample between 0 and 99 and sample_rate > 0::float8),
             ('log_transaction_sample_rate', longest <> 0 and transactions > 0::float8),
             ('auto_explain', explained_longest <> 0 and explained between 0 and 99),
             ('pgaudit', audited = 'on')) as ways (way, applies)
         where applies",
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Since Postgres 15 a role may be granted a setting of superusers.
async fn may_switch_it_off(connection: &mut Session) -> Result<bool, Failure> {
    let (is_superuser, version): (bool, i32) = sqlx::query_as(
        "select pg_catalog.current_setting('is_superuser') = 'on', pg_catalog.current_setting('server_version_num')::int",
    )
    .fetch_one(&mut *connection)
    .await?;
    if version < 150_000 {
        return Ok(is_superuser && version >= 130_000);
    }
    let may =
        sqlx::query_scalar("select pg_catalog.has_parameter_privilege('log_parameter_max_length', 'set')")
            .fetch_one(connection)
            .await?;
    Ok(is_superuser || may)
}
