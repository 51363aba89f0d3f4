//! The doctor's report as text: findings first, then how to fix them.

use std::fmt::Write as _;

use crate::{
    doctor::{Area, Check, Examination, Status},
    domain::visible,
    report::counted,
};

/// Formats the findings, and with `everything` all other checks below them.
pub(super) fn text(examination: &Examination, everything: bool) -> String {
    let found: Vec<&Check> = examination
        .checks
        .iter()
        .filter(|check| matches!(check.status, Status::Failed | Status::Warning))
        .collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    for check in &found {
        let detail = visible(&check.detail);
        let _ = writeln!(text, "{:<8} {}: {detail}", word(check.status), subject(check));
    }
    if found.is_empty() {
        text += "A run will work: nothing was found that needs attention.\n";
    } else {
        text += "\nTo fix\n";
    }
    for (number, check) in found.iter().enumerate() {
        let advice = check.advice.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  {}. {}: {}", number + 1, subject(check), visible(advice));
        for line in &check.fix {
            let _ = writeln!(text, "       {}", visible(line));
        }
    }
    text.push('\n');
    if everything {
        all(&mut text, examination);
    }
    let count = |status| i64::try_from(examination.count(status)).unwrap_or(i64::MAX);
    let _ = writeln!(
        text,
        "{} ok, {}, {} failed, {} skipped{}",
        count(Status::Ok),
        counted(count(Status::Warning), "warning", "warnings"),
        count(Status::Failed),
        count(Status::Skipped),
        if everything { "" } else { "; -v shows them all" }
    );
    if examination.class().is_none() {
        text += "Next: tokenferry migrate --dry-run\n";
    }
    text
}

/// Formats every check by area, one line each.
fn all(text: &mut String, examination: &Examination) {
    let width = examination.checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default().min(36);
    let mut area = None;
    for check in &examination.checks {
        if area != Some(check.area) {
            area = Some(check.area);
            let _ = writeln!(text, "{}", check.area.title());
        }
        let _ = writeln!(
            text,
            "  {:<8} {:<width$}  {}",
            word(check.status),
            check.name,
            visible(&check.detail)
        );
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Failed => "FAILED",
        Status::Skipped => "skipped",
    }
}

/// Names the object of a check. A name of the configuration, or with a dot, is a key.
fn subject(check: &Check) -> String {
    if check.area == Area::Configuration || check.name.contains('.') {
        return visible(&check.name);
    }
    format!("{} {}", check.area.title(), visible(&check.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::FailureClass;

    #[test]
    fn findings_come_first_and_each_has_a_numbered_remedy() {
        let checks = vec![
            Check::ok(Area::Configuration, "migration", "crm (file)"),
            Check::warning(Area::Source, "rows", "none", "fill it"),
            Check::failed(
                Area::Api,
                FailureClass::Api,
                "credentials",
                "refused",
                "renew them",
            )
            .with_fix(["export KEY=…".to_owned()]),
            Check::skipped(Area::Api, "apps", "credentials"),
        ];
        let examination = Examination::new(checks);
        let short = "warning  source rows: none\n\
                     FAILED   API credentials: refused\n\n\
                     To fix\n  1. source rows: fill it\n  2. API credentials: renew them\n       export KEY=…\n\n";
        let tally = "1 ok, 1 warning, 1 failed, 1 skipped";
        assert_eq!(
            text(&examination, false),
            format!("{short}{tally}; -v shows them all\n")
        );
        let long = text(&examination, true);
        assert!(
            long.starts_with(short) && long.ends_with(&format!("{tally}\n")),
            "{long}"
        );
        assert!(long.contains("  ok       migration    crm (file)\n"), "{long}");
    }
}
