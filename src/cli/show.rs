//! `show`: everything the ledger knows of one token.

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

/// Of one user or tenant, so many tokens are shown.
const MOST: usize = 100;

#[derive(Serialize)]
struct ShownTokens<'a> {
    migration: &'a str,
    asked: &'a str,
    tokens: Vec<Token<'a>>,
    /// Tokens beyond those that are shown.
    more: usize,
    /// Why the source could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_error: Option<String>,
}

#[derive(Serialize)]
struct Token<'a> {
    #[serde(flatten)]
    history: &'a History,
    /// What the row is today; null where the source could not be looked at.
    source: Option<&'a RowStatus>,
}

pub(super) async fn run(global: &Global, args: &ShowArgs) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let access = loaded.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let (histories, more) = reports.history(&args.of, MOST).await?;
    reports.close().await;
    if histories.is_empty() {
        let text = format!(
            "migration \"{}\" knows nothing of \"{}\": it is neither the key of a row that has an outcome, nor the ID of a user or \
             tenant of one",
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
    let mut text = String::new();
    for history in &histories {
        let source = match of(history) {
            Some(row_status) => sentence(row_status),
            None => format!(
                "could not be looked at: {}",
                visible(source_error.as_deref().unwrap_or("unknown"))
            ),
        };
        text += &history_text(&access.migration, history, &source);
    }
    if more > 0 {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "… and {more} more");
    }
    print_lines(&text)?;
    Ok(Exit::Done)
}

/// The rows in the source, held against what was sent for them.
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
        RowStatus::Unchanged => "the row is as it was sent".to_owned(),
        RowStatus::UnchangedButFetched => {
            "the row is as it was; its token was fetched from where Descope keeps it, and whether that has changed is not known"
                .to_owned()
        }
        RowStatus::Changed => {
            "the row, or how it is mapped, has changed since it was sent: `tokenferry migrate` sends it again"
                .to_owned()
        }
        RowStatus::Sendable => "the row can be sent as it is now: `tokenferry migrate` does it".to_owned(),
        RowStatus::Refused { code, reason } => {
            format!("the row cannot be sent: {}: {}", visible(code), visible(reason))
        }
        RowStatus::Gone => "there is no such row any more, or it does not meet `source.where`".to_owned(),
        RowStatus::UserUnknown => {
            "the row knows its user by a login ID that would have to be looked up".to_owned()
        }
    }
}
