//! Configuration checks: every value with its origin, and every problem.

use super::{Area, Check, FailureClass, credentials, paste};
use crate::{
    config::{ConfigError, ConfigReport, Loaded, Origin, Value},
    observe::notify::which,
};

const AREA: Area = Area::Configuration;

/// Reports a configuration that could not be read at all.
pub(super) fn unreadable(error: &ConfigError) -> Vec<Check> {
    let advice = match error {
        ConfigError::Missing { .. } => "start with `tokenferry config example > tokenferry.toml`",
        ConfigError::Unreadable { .. } => "let this user read it",
        ConfigError::Syntax { .. } => "correct that line",
        ConfigError::Environment { .. } | ConfigError::Invalid(_) => "correct or unset the variable",
    };
    let mut detail = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        detail = format!("{detail}: {cause}");
    }
    let fix = match error {
        ConfigError::Missing { .. } => vec!["tokenferry init".to_owned()],
        _ => Vec::new(),
    };
    vec![Check::failed(AREA, FailureClass::Configuration, "file", detail, advice).with_fix(fix)]
}

/// Returns one check per known key and one per problem with an unknown key.
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
        } else if own.is_empty()
            && let Some(warning) = credentials::written_in_file(value)
        {
            warning
        } else if own.is_empty() {
            Check::ok(AREA, &value.key, describe(value))
        } else {
            let must = own.join("; ");
            let failed = failed(&value.key, &value.origin, value.pointer.as_deref(), &must);
            let exchange = must
                .ends_with("exchange the two")
                .then(|| credentials::exchanged(&inspection.values));
            match exchange.flatten() {
                Some(exchange) => Check {
                    advice: Some("exchange the two variables".to_owned()),
                    ..failed.with_fix([exchange])
                },
                None => failed,
            }
        });
    }
    // Unknown keys, and entries of tables with free keys.
    let others = problems.iter().map(|problem| {
        if problem.key.starts_with("TOKENFERRY_") {
            without_effect(&problem.key, &problem.must)
        } else {
            failed(&problem.key, &loaded.origin(&problem.key), None, &problem.must)
        }
    });
    checks.extend(others);
    checks
}

/// Warns about a hook that cannot be executed. No run depends on it.
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
        "install it, make it executable (`chmod +x`), or use its full path; until then no hook is called",
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
        // The value that is referred to is wrong or missing.
        (Some(("env", name)), _) => {
            format!("set the variable {name} to a valid value, or refer to another one in `{key}`")
        }
        (Some((_, path)), _) => format!(
            "check that this user can read {path} and that its content is right, or refer to another file in `{key}`"
        ),
        (None, Origin::Default) => format!("set `{key}` in the file"),
        (None, Origin::File) => format!("correct `{key}` in the file"),
        (None, Origin::Preset) => format!("set `{key}` in the file: it overrides the preset"),
        (None, Origin::Environment(name)) => format!("correct or unset the variable {name}"),
    };
    let fix = match (points_to, from) {
        (Some(("env", name)), _) => vec![paste::export(name)],
        (Some((_, path)), _) => vec![format!("ls -l {}", paste::shell(path))],
        (None, Origin::Environment(name)) => vec![format!("unset {name}")],
        // A placeholder becomes a pointer.
        (None, _) => match must.split('"').find_map(|word| word.strip_prefix("env:")) {
            Some(name) if must.starts_with("contains") => {
                let last = key.rsplit('.').next().unwrap_or(key);
                vec![paste::export(name), format!("{last} = \"env:{name}\"")]
            }
            _ => Vec::new(),
        },
    };
    Check::failed(AREA, FailureClass::Configuration, key, detail, advice).with_fix(fix)
}

/// Reports a variable that was meant to override a key and does not.
fn without_effect(name: &str, must: &str) -> Check {
    let meant = must
        .split([' ', ','])
        .find(|word| word.starts_with("TOKENFERRY__"));
    let fix = meant.map(|meant| format!("export {meant}=\"${name}\"; unset {name}"));
    Check::failed(
        AREA,
        FailureClass::Configuration,
        name,
        must,
        format!("rename the variable {name}"),
    )
    .with_fix(fix)
}

/// Describes the origin of a value, and the variable or file that it refers to.
fn origin(origin: &Origin, pointer: Option<&str>) -> String {
    let origin = match origin {
        Origin::File => "file".to_owned(),
        Origin::Preset => "preset".to_owned(),
        Origin::Environment(name) => format!("environment, {name}"),
        Origin::Default => "default".to_owned(),
    };
    match pointer {
        Some(pointer) => format!("{origin}, from {pointer}"),
        None => origin,
    }
}
