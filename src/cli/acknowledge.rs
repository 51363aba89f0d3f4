//! `failures --acknowledge` and `--unacknowledge`: failures that are known and accepted.

use super::{Exit, args::Global, exit::UsageError, ledger_args::AcknowledgeArgs, load};
use crate::{
    domain::{Acknowledged, FailureFilter, visible},
    ledger::Ledger,
    postgres::Patience,
};

pub(super) async fn run(global: &Global, args: &AcknowledgeArgs) -> anyhow::Result<Exit> {
    let access = load(global)?.ledger_access()?;
    let ledger = Ledger::open_existing(&access, 1, &Patience::none()).await?;
    let filter = args.filter();
    let told = match &args.reason {
        Some(reason) if args.acknowledge => {
            let acknowledged = ledger.acknowledge(&filter, reason).await;
            acknowledged.map(|acknowledged| acknowledged_text(&acknowledged, &filter))
        }
        _ => {
            let ended = ledger.unacknowledge(&filter).await;
            ended.map(|ended| unacknowledged_text(ended, &filter))
        }
    };
    ledger.close().await;
    eprintln!("{}", told??);
    Ok(Exit::Done)
}

fn acknowledged_text(acknowledged: &Acknowledged, filter: &FailureFilter) -> Result<String, UsageError> {
    let Acknowledged {
        tokens,
        uncertain,
        unrecognisable,
        includes_uncertain,
    } = *acknowledged;
    if tokens + uncertain + unrecognisable == 0 {
        return Err(UsageError(format!(
            "nothing is acknowledged: no token{} has failed; `tokenferry failures` lists those that have",
            of(filter)
        )));
    }
    let mut lines = vec![format!("{tokens} failed {} acknowledged", noun(tokens))];
    if uncertain > 0 && includes_uncertain {
        lines.push(format!(
            "{uncertain} of them may be stored at Descope: their outcome is unknown. `tokenferry show KEY` tells what is known"
        ));
    } else if uncertain > 0 {
        lines.push(format!(
            "{uncertain} not acknowledged: their outcome is unknown, and they may be stored at Descope. Run `tokenferry migrate` to \
             find out, or name them with --key"
        ));
    }
    if unrecognisable > 0 {
        lines.push(format!(
            "{unrecognisable} not acknowledged, as nothing would tell that their rows have changed. Run `tokenferry migrate` once \
             more if they failed under an earlier version; rows with unreadable values need `source.columns.updated_at`"
        ));
    }
    Ok(lines.join("\n"))
}

fn unacknowledged_text(ended: u64, filter: &FailureFilter) -> Result<String, UsageError> {
    if ended == 0 {
        return Err(UsageError(format!(
            "nothing is taken back: no failure{} is acknowledged",
            of(filter)
        )));
    }
    Ok(format!(
        "{ended} {} taken back: they count as failed again",
        if ended == 1 {
            "acknowledgement"
        } else {
            "acknowledgements"
        }
    ))
}

fn noun(count: i64) -> &'static str {
    if count == 1 { "token" } else { "tokens" }
}

fn of(filter: &FailureFilter) -> String {
    match (&filter.code, &filter.key) {
        (Some(code), _) => format!(" with the code {}", visible(code)),
        (None, Some(key)) => format!(" with the key {}", visible(key)),
        (None, None) => String::new(),
    }
}
