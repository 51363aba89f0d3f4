//! `show`: everything the ledger knows of one row, user or tenant.

use std::{collections::HashMap, fmt::Write as _};

use serde::Serialize;

use super::{
    Exit,
    args::{Global, ShowArgs},
    exit::UsageError,
    load, print_json, print_lines,
};
use crate::{
    config::Loaded,
    domain::{SourceKey, visible},
    ledger::{History, LedgerReader},
    pipeline::{self, RowStatus},
    report::history_text,
};

/// The most tokens shown for one user or tenant.
const MOST: usize = 100;

#[derive(Serialize)]
struct ShownTokens<'a> {
    migration: &'a str,
    asked: &'a str,
    /// The user whose login ID was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_of_login: Option<String>,
    tokens: Vec<Token<'a>>,
    /// The number of tokens that are not shown.
    more: usize,
    /// The reason why the source could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_error: Option<String>,
}

#[derive(Serialize)]
struct Token<'a> {
    #[serde(flatten)]
    history: &'a History,
    /// The current state of the row; null if the source could not be read.
    source: Option<&'a RowStatus>,
}

pub(super) async fn run(global: &Global, args: &ShowArgs) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let access = loaded.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let (mut histories, mut more) = reports.history(&args.of, MOST).await?;
    let mut user_of_login = None;
    if histories.is_empty() {
        user_of_login = user_with_login_id(&loaded, &mut reports, &args.of).await?;
        if let Some(user) = &user_of_login {
            (histories, more) = reports.history(user, MOST).await?;
        }
    }
    reports.close().await;
    if histories.is_empty() {
        let text = format!(
            "migration \"{}\" has no record of \"{}\": it is neither the key of a row with an outcome, nor the ID of a user or \
             tenant of one, nor a login ID that a run has looked up",
            visible(&access.migration),
            visible(&args.of)
        );
        return Err(UsageError(text).into());
    }
    let row_status = look(&loaded, &histories).await;
    let (row_status, source_error) = match row_status {
        Ok(row_status) => (Some(row_status), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let of = |history: &History| row_status.as_ref()?.get(&history.key());
    if args.json {
        let shown = ShownTokens {
            migration: &access.migration,
            asked: &args.of,
            user_of_login,
            tokens: histories
                .iter()
                .map(|history| Token {
                    history,
                    source: of(history),
                })
                .collect(),
            more,
            source_error,
        };
        return print_json(&shown).map(|()| Exit::Done);
    }
    let mut text = match &user_of_login {
        Some(user) => format!("This is a login ID of user {}.\n", visible(user)),
        None => String::new(),
    };
    for history in &histories {
        let source = match of(history) {
            Some(row_status) => sentence(row_status),
            None => format!(
                "could not be read: {}",
                visible(source_error.as_deref().unwrap_or("unknown"))
            ),
        };
        text += &history_text(&access.migration, history, &source);
    }
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "… and {more} more");
    }
    print_lines(&text)?;
    Ok(Exit::Done)
}

/// Returns the user that a run has found for a login ID, if it is one.
async fn user_with_login_id(
    loaded: &Loaded,
    reports: &mut LedgerReader,
    login_id: &str,
) -> anyhow::Result<Option<String>> {
    // Users are those of a project.
    let Ok(settings) = loaded.settings() else {
        return Ok(None);
    };
    let access = loaded.ledger_access()?;
    let project_id = &settings.api.project_id;
    Ok(reports.user_with_login_id(&access, project_id, login_id).await?)
}

/// Compares the rows in the source with what was sent for them.
async fn look(loaded: &Loaded, histories: &[History]) -> anyhow::Result<HashMap<SourceKey, RowStatus>> {
    let settings = loaded.settings()?;
    let rows: Vec<_> = histories
        .iter()
        .map(|history| (history.key(), history.fingerprint()))
        .collect();
    Ok(Box::pin(pipeline::row_status(&settings, &rows)).await?)
}

fn sentence(row_status: &RowStatus) -> String {
    match row_status {
        RowStatus::Unchanged => "the row is unchanged since it was sent".to_owned(),
        RowStatus::UnchangedButFetched => {
            "the row is unchanged; its token was fetched from Descope, and it is unknown whether that one has changed"
                .to_owned()
        }
        RowStatus::Changed => {
            "the row or its mapping has changed since it was sent: `tokenferry migrate` sends it again"
                .to_owned()
        }
        RowStatus::Sendable => "the row can be sent now: run `tokenferry migrate`".to_owned(),
        RowStatus::Refused { code, reason } => {
            format!("the row cannot be sent: {}: {}", visible(code), visible(reason))
        }
        RowStatus::Gone => "the row is no longer in the source, or does not match `source.where`".to_owned(),
        RowStatus::UserUnknown => {
            "the row names its user by a login ID, which was not looked up".to_owned()
        }
    }
}
