//! Row status: the current state of single rows, compared with what was sent for them.

use std::collections::HashMap;

use serde::Serialize;

use super::{PipelineError, source_rows};
use crate::{
    config::Settings,
    domain::{LegacyToken, Login, SourceKey},
    ledger::Ledger,
    postgres::Patience,
    reader::Source,
    secret::Fingerprint,
    validation::{Origin, Validator},
};

/// The current state of a source row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum RowStatus {
    /// The same token would be sent.
    Unchanged,
    /// The row is unchanged. Its token was fetched from Descope, and its current value is unknown.
    UnchangedButFetched,
    /// A different token would be sent.
    Changed,
    /// It can be sent; no earlier upload is known.
    Sendable,
    /// A rule rejects it.
    Refused {
        /// The rule's code.
        code: String,
        /// The problem and the advice.
        reason: String,
    },
    /// It does not exist, or does not match the configured condition.
    Gone,
    /// Its user is only known by a login ID that would have to be looked up.
    UserUnknown,
}

/// Looks rows up in the databases, never at the API.
///
/// # Errors
/// Fails if a database cannot be read.
pub async fn row_status(
    settings: &Settings,
    rows: &[(SourceKey, Option<Fingerprint>)],
) -> Result<HashMap<SourceKey, RowStatus>, PipelineError> {
    let patience = &Patience::new(settings.stop.after_unreachable.min(PATIENCE));
    let application_name = format!("tokenferry {} show", settings.migration);
    let mut source = Source::open(&settings.source, &application_name, patience).await?;
    let ledger = Ledger::open_existing(&settings.ledger_access(), 1, patience).await?;
    let keys: Vec<SourceKey> = rows.iter().map(|(key, _)| key.clone()).collect();
    let mut found = source
        .rows(&keys)
        .await?
        .map(|page| page.tokens)
        .unwrap_or_default();
    recall_users(settings, &ledger, &mut found).await?;
    let validator = source_rows::validator(settings, &ledger);
    ledger.close().await;
    let now = chrono::Utc::now().timestamp();
    let mut found: HashMap<SourceKey, LegacyToken> =
        found.into_iter().map(|row| (row.key.clone(), row)).collect();
    let of = |(key, sent): &(SourceKey, Option<Fingerprint>)| {
        let row_status = match found.remove(key) {
            None => RowStatus::Gone,
            Some(row) => judge(&validator, &row, *sent, now),
        };
        (key.clone(), row_status)
    };
    Ok(rows.iter().map(of).collect())
}

/// Short, since a person is waiting.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

fn judge(validator: &Validator, row: &LegacyToken, sent: Option<Fingerprint>, now: i64) -> RowStatus {
    if row.user_id.is_none() && matches!(row.login, Login::Id(_)) {
        return RowStatus::UserUnknown;
    }
    match (validator.as_sent(row, now), sent) {
        (Ok(row_status), Some(sent)) if row_status.fingerprint == sent => match row_status.origin {
            Origin::Row { .. } => RowStatus::Unchanged,
            Origin::Fetched => RowStatus::UnchangedButFetched,
        },
        (Ok(_), Some(_)) => RowStatus::Changed,
        (Ok(_), None) => RowStatus::Sendable,
        (Err(reason), _) => RowStatus::Refused {
            code: reason.code.into_owned(),
            reason: reason.text,
        },
    }
}

/// Sets the remembered users of rows with login IDs.
async fn recall_users(
    settings: &Settings,
    ledger: &Ledger,
    rows: &mut [LegacyToken],
) -> Result<(), PipelineError> {
    let digest = |row: &LegacyToken| match &row.login {
        Login::Id(login_id) if row.user_id.is_none() => Some(
            ledger
                .key()
                .login_digest(&settings.api.project_id, login_id.reveal()),
        ),
        _ => None,
    };
    let digests: Vec<Fingerprint> = rows.iter().filter_map(digest).collect();
    let users = ledger.known_users(&digests, settings.api.lookup.remember).await?;
    for row in rows {
        if let Some(user) = digest(row).and_then(|digest| users.get(&digest)) {
            row.user_id = Some(user.clone());
            if let Login::Id(login_id) = &row.login {
                row.login = Login::Resolved(login_id.clone());
            }
        }
    }
    Ok(())
}
