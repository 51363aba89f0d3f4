//! `check`: one row through everything but sending.

use super::{
    Exit,
    args::{CheckArgs, Global},
    exit::UsageError,
    load, print_lines,
};
use crate::{
    doctor::{RowExamination, examine_row},
    domain::visible,
    ledger::LedgerReader,
    pipeline::PipelineError,
    report::history_text,
};

pub(super) async fn run(global: &Global, args: &CheckArgs) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let settings = loaded.settings()?;
    let examined = Box::pin(examine_row(&settings, &args.key)).await;
    let Some(row) = examined.map_err(PipelineError::Source)? else {
        let text = format!(
            "there is no row with the key \"{}\", or `source.where` leaves it out",
            visible(&args.key)
        );
        return Err(UsageError(text).into());
    };
    print_lines(&text(&row))?;
    let knows = match ledger(&loaded, &settings.migration, row.key.as_str()).await {
        Ok(known) => known,
        Err(error) => format!("The ledger could not be read: {error:#}\n"),
    };
    print_lines(&knows)?;
    Ok(if row.verdict.is_ok() {
        Exit::Done
    } else {
        Exit::SomeFailed
    })
}

fn text(row: &RowExamination) -> String {
    let width = row
        .fields
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let mut lines = vec![format!("Row {}, as it was read:", row.key)];
    lines.extend(
        row.fields
            .iter()
            .map(|(name, shown)| format!("  {name:<width$}  {shown}")),
    );
    if let Some(app) = &row.app_id {
        lines.push(format!("Outbound app: {app}"));
    }
    match &row.verdict {
        Ok(warnings) if warnings.is_empty() => lines.push("Rules: none is broken.".to_owned()),
        Ok(warnings) => {
            lines.push("Rules: warnings, the token is sent all the same.".to_owned());
            lines.extend(
                warnings
                    .iter()
                    .map(|rule| format!("  {}: {}", rule.code(), rule.what())),
            );
        }
        Err(reason) => lines.push(format!("Rules: not sent. {}: {}", reason.code, reason.text)),
    }
    if let Some(request) = &row.request {
        lines.push(format!("Would be sent, with secrets masked:\n  {request}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the ledger knows of the row.
async fn ledger(loaded: &crate::config::Loaded, migration: &str, key: &str) -> anyhow::Result<String> {
    let mut reader = LedgerReader::open(&loaded.ledger_access()?).await?;
    let (histories, _) = reader.history(key, 1).await?;
    reader.close().await;
    // The key may be a user's ID as well.
    let own = histories.iter().find(|history| history.key().as_str() == key);
    Ok(match own {
        Some(history) => history_text(migration, history, "as shown above"),
        None => "The ledger knows nothing of this row.\n".to_owned(),
    })
}
