//! Next steps after this run, as commands.

use maud::{Markup, html};

use super::{PageData, format::prose};
use crate::domain::Mode;

/// A step: its purpose and its command.
type Step = (String, Option<String>);

/// Renders the useful steps, in order.
pub(super) fn steps(data: &PageData) -> Markup {
    let steps = match data.run.summary.mode {
        Mode::Migrate => after_upload(data),
        Mode::DryRun => after_dry_run(data),
        Mode::Verify => after_verification(data),
        Mode::Rollback => after_rollback(data),
    };
    html! {
        ol.steps {
            @for (what, command) in &steps {
                li { (prose(what)) @if let Some(command) = command { (copied(command)) } }
            }
        }
    }
}

/// Renders a command with a button that copies it. The script shows the button: without it, it would do
/// nothing.
fn copied(command: &str) -> Markup {
    html! {
        div.command {
            pre { code { (command) } }
            button type="button" data-copy aria-live="polite" hidden { "Copy" }
        }
    }
}

fn look_at_superseded(data: &PageData) -> Option<Step> {
    let run = data.run.summary.run_id;
    (!data.run.summary.superseded.is_empty()).then(|| {
        step(
            "Check the rows that are left out: some of them may be separate connections.",
            &format!("tokenferry failures --run {run} --superseded"),
        )
    })
}

fn step(what: &str, command: &str) -> Step {
    (what.to_owned(), Some(command.to_owned()))
}

fn after_upload(data: &PageData) -> Vec<Step> {
    let (summary, run) = (&data.run.summary, data.run.summary.run_id);
    let failed = !summary.failures.is_empty();
    let mut steps = Vec::new();
    match summary.status.as_str() {
        "running" => {
            steps.push(("It is running.".to_owned(), Some("tokenferry status".to_owned())));
            return steps;
        }
        early @ ("interrupted" | "stopped") => {
            if early == "stopped" {
                steps.push(step("Find out why it stopped.", "tokenferry doctor"));
            }
            steps.push(if summary.is_taken_up == Some(true) {
                step("Resume it.", "tokenferry migrate")
            } else {
                step("Finish the rest with a new run.", "tokenferry migrate")
            });
        }
        _ => {}
    }
    if failed {
        steps.push(step(
            "List the rows that failed, with the SQL that shows them in the source.",
            &format!("tokenferry failures --run {run}"),
        ));
        steps.push(step(
            "Fix or exclude them, and send only those again.",
            "tokenferry migrate --only-failed",
        ));
    }
    if !summary.warnings.is_empty() {
        steps.push(step(
            "Check the warnings about uploaded tokens.",
            &format!("tokenferry failures --run {run} --warnings"),
        ));
    }
    steps.extend(look_at_superseded(data));
    if summary.tokens.committed > 0
        && matches!(summary.status.as_str(), "completed" | "completed_with_failures")
    {
        steps.push(step(
            "Read a sample back and compare it with the source.",
            &format!("tokenferry verify --run {run} --sample 200"),
        ));
    }
    if summary.status == "completed" {
        steps.push(step(
            "Until the cutover, run it on a schedule: only what is new, changed or failed is sent.",
            "tokenferry migrate",
        ));
    }
    steps
}

fn after_dry_run(data: &PageData) -> Vec<Step> {
    let (summary, run) = (&data.run.summary, data.run.summary.run_id);
    let mut steps = Vec::new();
    if !matches!(summary.status.as_str(), "completed" | "completed_with_failures") {
        steps.push(step(
            "It did not reach the end. Repeat it.",
            "tokenferry migrate --dry-run",
        ));
        return steps;
    }
    if !(summary.failures.is_empty() && summary.warnings.is_empty()) {
        steps.push(step(
            "List every row, with the SQL that shows it in the source.",
            &format!("tokenferry failures --run {run}"),
        ));
        steps.push(step(
            "Fix or exclude what you can, and check again.",
            "tokenferry migrate --dry-run",
        ));
    }
    steps.extend(look_at_superseded(data));
    steps.push(step(
        "Prove a few tokens at their providers, then send the rest.",
        "tokenferry migrate --canary 20",
    ));
    steps
}

fn after_verification(data: &PageData) -> Vec<Step> {
    let (summary, run) = (&data.run.summary, data.run.summary.run_id);
    let mut steps = Vec::new();
    if matches!(summary.status.as_str(), "interrupted" | "stopped" | "running") {
        steps.push(step("Resume it with the same tokens.", "tokenferry verify"));
    }
    if !(summary.failures.is_empty() && summary.warnings.is_empty()) {
        steps.push(step(
            "List the rows and fields that differ.",
            &format!("tokenferry failures --run {run}"),
        ));
        steps.push(step(
            "Show everything known about one of them.",
            "tokenferry show KEY",
        ));
    }
    let changed = summary.verify.is_some_and(|found| found.changed_in_source > 0);
    if changed {
        steps.push(step(
            "Send the rows that have changed since.",
            "tokenferry migrate",
        ));
    }
    if steps.is_empty() {
        steps.push((
            "Nothing: all tokens that were read back are as they should be.".to_owned(),
            None,
        ));
    }
    steps
}

fn after_rollback(data: &PageData) -> Vec<Step> {
    let (summary, run) = (&data.run.summary, data.run.summary.run_id);
    let mut steps = Vec::new();
    let of_run = summary.rollback.map(|found| (found.of_run, found.dry_run));
    if let Some((of_run, _)) = of_run
        && matches!(summary.status.as_str(), "interrupted" | "stopped" | "running")
    {
        steps.push(step("Resume it.", &format!("tokenferry rollback --run {of_run}")));
    }
    if !summary.failures.is_empty() {
        steps.push(step(
            "List the tokens that were kept, with reasons.",
            &format!("tokenferry failures --run {run}"),
        ));
    }
    if of_run.is_some_and(|(_, dry_run)| !dry_run) {
        steps.push(step(
            "Send them again once the problem is fixed.",
            "tokenferry migrate",
        ));
    }
    steps
}
