//! `doctor`: checks everything a run needs, and changes nothing.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use super::{
    Exit,
    args::{DoctorArgs, Global},
    load,
};
use crate::{
    doctor::{self, Check, Examination, FailureClass, Status},
    domain::{visible, visible_json},
};

pub(super) async fn run(global: &Global, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let examination = doctor::examine(&load(global)).await;
    let text = if args.json {
        visible_json(&(serde_json::to_string(&examination)? + "\n")).into_owned()
    } else {
        text(&examination)
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe means that the reader has seen enough; the exit code stays the same.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(match examination.class() {
        None => Exit::Done,
        Some(FailureClass::Configuration) => Exit::Usage,
        Some(FailureClass::Database) => Exit::Database,
        Some(FailureClass::Api) => Exit::StoppedEarly,
    })
}

/// Formats the checks by area, one line each, with the advice below.
fn text(examination: &Examination) -> String {
    let width = examination.checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default().min(36);
    let mut text = String::new();
    let mut area = None;
    for check in &examination.checks {
        if area != Some(check.area) {
            area = Some(check.area);
            let _ = writeln!(text, "{}", check.area.title());
        }
        line(&mut text, check, width);
    }
    let count = |status| examination.count(status);
    let _ = writeln!(
        text,
        "{} ok, {} warnings, {} failed, {} skipped",
        count(Status::Ok),
        count(Status::Warning),
        count(Status::Failed),
        count(Status::Skipped)
    );
    text.push_str(match examination.class() {
        None => "Next: tokenferry migrate --dry-run\n",
        Some(_) => "Next: what FAILED above, then tokenferry doctor again\n",
    });
    text
}

fn line(text: &mut String, check: &Check, width: usize) {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Failed => "FAILED",
        Status::Skipped => "skipped",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "  {status:<8} {:<width$}  {}",
        check.name,
        visible(&check.detail)
    );
    if let Some(advice) = &check.advice {
        let _ = writeln!(text, "           {:<width$}  -> {}", "", visible(advice));
    }
}
