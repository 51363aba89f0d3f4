//! The configuration: every value with its origin, and every problem.

use super::{Area, Check, FailureClass};
use crate::{
    config::{ConfigError, ConfigReport, Loaded, Origin, Value},
    observe::notify::which,
};

const AREA: Area = Area::Configuration;

/// A configuration that cannot even be taken apart.
pub(super) fn unreadable(error: &ConfigError) -> Vec<Check> {
    let advice = match error {
        ConfigError::Missing { .. } => "begin with `tokenferry config example > tokenferry.toml`",
        ConfigError::Unreadable { .. } => "let this user read it",
        ConfigError::Syntax { .. } => "correct that line",
        ConfigError::Environment { .. } | ConfigError::Invalid(_) => "correct or unset the variable",
    };
    let mut detail = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        detail = format!("{detail}: {cause}");
    }
    vec![Check::failed(
        AREA,
        FailureClass::Configuration,
        "file",
        detail,
        advice,
    )]
}

/// One check per key, and one per problem with a key that is not known.
pub(super) fn examine(loaded: &Loaded, inspection: &ConfigReport) -> Vec<Check> {
    let mut problems = inspection.problems.clone();
    let mut checks = Vec::with_capacity(inspection.values.len());
    for value in &inspection.values {
        let mut own: Vec<String> = Vec::new();
        problems.retain(|problem| {
            let is_own = problem.key == value.key;
            if is_own {
                own.push(problem.must.clone());
            }
            !is_own
        });
        checks.push(if let Some(absent) = absent_hook(value, inspection) {
            absent
        } else if own.is_empty() {
            Check::ok(AREA, &value.key, describe(value))
        } else {
            failed(
                &value.key,
                &value.origin,
                value.pointer.as_deref(),
                &own.join("; "),
            )
        });
    }
    // Keys that nobody knows, and entries of tables whose keys are free.
    let others = problems
        .iter()
        .map(|problem| failed(&problem.key, &loaded.origin(&problem.key), None, &problem.must));
    checks.extend(others);
    checks
}

/// A hook that cannot be run. No run depends on it.
fn absent_hook(value: &Value, inspection: &ConfigReport) -> Option<Check> {
    let notify = inspection
        .notify
        .as_ref()
        .filter(|_| value.key == "notify.command")?;
    if which(&notify.program).is_some() {
        return None;
    }
    Some(Check::warning(
        AREA,
        &value.key,
        format!("{} is not a program that this user may run", notify.program),
        "install it, make it executable (`chmod +x`), or name it with its whole path; until then nobody is told of a run",
    ))
}

fn describe(value: &Value) -> String {
    let shown = value.shown.as_deref().unwrap_or("not set");
    match value.origin {
        Origin::Default if value.shown.is_none() => shown.to_owned(),
        _ => format!("{shown} ({})", origin(&value.origin, value.pointer.as_deref())),
    }
}

fn failed(key: &str, from: &Origin, pointer: Option<&str>, must: &str) -> Check {
    let detail = match from {
        Origin::Default => must.to_owned(),
        _ => format!("{must} ({})", origin(from, pointer)),
    };
    let points_to = pointer.and_then(|pointer| pointer.split_once(':'));
    let advice = match (points_to, from) {
        // What is wrong is what the value stands for, or that it stands for nothing.
        (Some(("env", name)), _) => {
            format!("set the variable {name} to what it must be, or let `{key}` name another")
        }
        (Some((_, path)), _) => format!(
            "see that this user may read {path} and that it holds what it must, or let `{key}` name another file"
        ),
        (None, Origin::Default) => format!("set `{key}` in the file"),
        (None, Origin::File) => format!("correct `{key}` in the file"),
        (None, Origin::Environment(name)) => format!("correct or unset the variable {name}"),
    };
    Check::failed(AREA, FailureClass::Configuration, key, detail, advice)
}

/// Where the value is from, and what it points to.
fn origin(origin: &Origin, pointer: Option<&str>) -> String {
    let origin = match origin {
        Origin::File => "file".to_owned(),
        Origin::Environment(name) => format!("environment, {name}"),
        Origin::Default => "default".to_owned(),
    };
    match pointer {
        Some(pointer) => format!("{origin}, from {pointer}"),
        None => origin,
    }
}
