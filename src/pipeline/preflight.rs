//! The preflight of a dry run: announces the number of lookups before it starts them.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{PipelineError, Request};
use crate::{
    config::{Field, Settings},
    domain::Selection,
    lookup::{ExistenceCheck, LookupClient, Sample},
    rate::Pacer,
    reader::Source,
};

/// Returns the check of apps, tenants and users, if requested, and announces it.
pub(super) async fn check(
    settings: &Settings,
    request: &Request,
    source: &mut Source,
    lookup_client: &Arc<LookupClient>,
) -> Result<Option<ExistenceCheck>, PipelineError> {
    let Some(online) = request.online else {
        return Ok(None);
    };
    let row_counts = match request.selection {
        Selection::All => source.count_rows_and_users().await?,
        Selection::Failed { .. } => None,
    };
    match row_counts {
        Some(row_counts) => {
            let most = [request.limit, online.sample].into_iter().flatten().min();
            let users = row_counts.users.min(most.unwrap_or(u64::MAX));
            let (lookups, duration) = lookups(settings, row_counts.rows, users);
            info!(
                users,
                lookups,
                duration = %humantime::format_duration(Duration::from_secs(duration.as_secs())),
                "checking apps, tenants and users at the API; `lookups` and `duration` are upper limits"
            );
        }
        None if request.selection == Selection::All => warn!(
            "the users cannot be counted, because that takes longer than `source.statement_timeout` or a value cannot be read: \
             the number of lookups is unknown"
        ),
        None => info!("checking apps, tenants and users of the failed tokens at the API"),
    }
    let sample = match online.sample {
        Some(wanted) => {
            let rows = match row_counts {
                Some(row_counts) => row_counts.rows,
                None => source.expected_rows().await.unwrap_or_default(),
            };
            let rows = rows.min(request.limit.unwrap_or(u64::MAX));
            Some(Sample::new(wanted, rows))
        }
        None => None,
    };
    let (lookup_client, settings) = (Arc::clone(lookup_client), settings.api.lookup);
    Ok(Some(ExistenceCheck::new(lookup_client, settings, sample)))
}

/// Returns the maximum number of requests, unless apps or tenants are missing, and their duration. Users are
/// looked up page by page, and the last request of a page is usually not full.
fn lookups(settings: &Settings, rows: u64, users: u64) -> (u64, Duration) {
    let api = &settings.api;
    let pages = rows.div_ceil(u64::from(settings.source.page_size)).max(1);
    let in_bulk = users
        .div_ceil(api.lookup.per_request as u64)
        .saturating_add(pages - 1)
        .min(users);
    let has = |field| settings.source.columns.contains_key(&field);
    let searches = if has(Field::LoginId) { in_bulk } else { 0 };
    // The licence, the apps and the tenants.
    let lists = 2 + u64::from(has(Field::TenantId));
    let time = |limit, count: u64| Pacer::time_for(limit, i64::try_from(count).unwrap_or(i64::MAX));
    let duration = time(api.rate_limit, lists)
        .saturating_add(time(api.lookup.search, searches))
        .saturating_add(time(api.lookup.users, in_bulk));
    (lists + searches + in_bulk, duration)
}
