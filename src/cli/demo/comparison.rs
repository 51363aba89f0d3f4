//! Compares what arrived with what was to arrive, token by token.

use std::{collections::HashMap, fmt};

use anyhow::{Context, ensure};

use super::seed::{APPS, Row};
use crate::simulator::{Destination, SimulatorHandle, StoredToken};

/// The result of a comparison without a difference.
#[derive(Debug)]
pub(super) struct Comparison {
    tokens: usize,
    writes: u64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "   equal: {} destinations in the source, {} tokens at the stand-in, the same values in each; {} writes, none of them twice",
            self.tokens, self.tokens, self.writes
        )
    }
}

/// Compares every field of every row with what is stored for its destination.
pub(super) fn compare(rows: &[Row], simulator: &SimulatorHandle) -> anyhow::Result<Comparison> {
    let stored = simulator.stored();
    let by_destination: HashMap<&Destination, &StoredToken> =
        stored.iter().map(|token| (&token.destination, token)).collect();
    for row in rows {
        let destination = destination(row)?;
        let token = by_destination
            .get(&destination)
            .with_context(|| format!("{destination:?} is missing"))?;
        let scopes: Vec<&str> = row.scope.split([' ', ',']).collect();
        let expiry = row.expires_at.map_or(0, |at| at.timestamp());
        ensure!(
            token.exposed_access_token() == row.access_token.as_deref(),
            "{destination:?} has another access token"
        );
        ensure!(
            token.exposed_refresh_token() == row.refresh_token.as_deref(),
            "{destination:?} has another refresh token"
        );
        ensure!(
            i64::from(token.access_token_expiry) == expiry,
            "{destination:?} has another expiry"
        );
        ensure!(
            token.access_token_type.as_deref() == Some(row.token_type.as_str()),
            "{destination:?} has another type"
        );
        ensure!(token.scopes == scopes, "{destination:?} has other scopes");
    }
    ensure!(
        stored.len() == rows.len(),
        "{} tokens were stored for {} destinations",
        stored.len(),
        rows.len()
    );
    let writes = simulator.writes();
    let twice = writes.values().filter(|&&count| count > 1).count();
    ensure!(twice == 0, "{twice} destinations were written more than once");
    Ok(Comparison {
        tokens: rows.len(),
        writes: writes.values().sum(),
    })
}

fn destination(row: &Row) -> anyhow::Result<Destination> {
    let app = APPS
        .iter()
        .find(|(name, _)| *name == row.provider)
        .map(|(_, app)| *app);
    let app = app.with_context(|| format!("the provider {} has no app", row.provider))?;
    let owned = match (&row.user_id, &row.tenant_id) {
        (Some(user), _) => Destination::user(app, user),
        (None, Some(tenant)) => Destination::tenant(app, tenant),
        (None, None) => anyhow::bail!("a row without user and tenant was not fixed"),
    };
    Ok(owned.with_scopes(row.scope.split([' ', ','])))
}
