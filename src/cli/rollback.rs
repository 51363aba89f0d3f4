//! `rollback`: deletes what a run uploaded, after confirmation.

use std::io::{self, BufRead, IsTerminal, Write};

use super::{
    Exit,
    args::{Global, RollbackArgs},
    exit::UsageError,
    logging::Console,
    run_command::RunCommand,
};
use crate::{
    domain::{DryRun, Mode, RollbackRequest, RunId, visible},
    ledger::LedgerReader,
    pipeline,
};

pub(super) async fn run(global: &Global, args: &RollbackArgs, console: &Console) -> anyhow::Result<Exit> {
    let command = RunCommand::load(global, console, Mode::Rollback, &args.watch, args.json)?;
    let dry_run = if args.dry_run { DryRun::On } else { DryRun::Off };
    if !args.dry_run && !args.yes {
        let mut reports = LedgerReader::open(&command.access).await?;
        let apps = reports.sent_by(args.run).await?;
        reports.close().await;
        let api = &command.settings.api;
        let place = format!("project {} at {}", api.project_id, api.base_url);
        let question = question(args.run, &place, &apps, args.include_expired);
        let (stdin, stderr) = (io::stdin(), io::stderr());
        if !stdin.is_terminal() || !stderr.is_terminal() {
            return Err(UsageError(format!(
                "{question} There is no terminal to confirm on: add --yes to confirm, or --dry-run to see what would be \
                 deleted. Nothing was deleted"
            ))
            .into());
        }
        // Blocking is harmless here: nothing else runs yet.
        if !confirmed(&question, &mut stdin.lock(), &mut stderr.lock())? {
            return Err(UsageError("not confirmed: nothing was deleted".to_owned()).into());
        }
    }
    let request = RollbackRequest {
        of_run: args.run,
        dry_run,
        include_expired: args.include_expired,
    };
    command
        .run(async |settings, control, view| pipeline::rollback(settings, request, control, view).await)
        .await
}

/// Describes what is about to be deleted.
fn question(run: RunId, place: &str, apps: &[(String, i64)], include_expired: bool) -> String {
    let total: i64 = apps.iter().map(|(_, count)| count).sum();
    let apps: Vec<String> = apps
        .iter()
        .map(|(app, count)| format!("{count} of {}", visible(app)))
        .collect();
    let of = if apps.is_empty() {
        String::new()
    } else {
        format!(" ({})", apps.join(", "))
    };
    format!(
        "This deletes, in {}, the {total} tokens that run {run} uploaded{of}, except those that have changed since.{}",
        visible(place),
        if include_expired {
            " It also reads tokens whose access tokens have expired. Descope refreshes them, so the old system's copies may become invalid."
        } else {
            ""
        }
    )
}

/// Asks for confirmation and accepts only `yes`.
fn confirmed(question: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<bool> {
    write!(output, "{question} Type `yes` to continue: ")?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_yes_is_one() {
        for (answer, expected) in [
            ("yes\n", true),
            ("y\n", false),
            ("YES\n", true),
            (" yes \r\n", true),
            ("", false),
            ("\n", false),
            ("no\n", false),
            ("yes please\n", false),
        ] {
            let mut asked = Vec::new();
            let apps = [("google".to_owned(), 40), ("slack\u{1b}".to_owned(), 2)];
            let question = question(7, "project P1", &apps, false);
            assert_eq!(
                confirmed(&question, &mut answer.as_bytes(), &mut asked).unwrap(),
                expected,
                "{answer:?}"
            );
            let asked = String::from_utf8(asked).unwrap();
            assert!(
                asked.contains("the 42 tokens that run 7 uploaded (40 of google, 2 of slack"),
                "{asked}"
            );
            assert!(!asked.contains('\u{1b}'), "{asked}");
        }
    }
}
