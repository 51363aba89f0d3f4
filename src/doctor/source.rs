//! The source: reached, as configured, read-only, and fit to be read page by page.

use super::{Area, Blame, Check, database};
use crate::{
    config::{AppMap, Inspection, Problem, Relation, SourceSettings},
    postgres::{Failure, FailureKind, Server},
    source::{KeyIndex, SourceError, Survey, Writable},
};

const AREA: Area = Area::Source;

/// Different names of apps that are looked at. Somebody with more has another column in mind.
const MOST_APPS: u32 = 200;

/// What was found out about the source.
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    /// The names of apps in the rows; `None` if they could not be had, or are too many to be that.
    pub(super) app_names: Option<Vec<String>>,
}

/// Everything about the source.
pub(super) async fn examine(inspection: &Inspection) -> Examined {
    let mut app_names = None;
    let checks = checks(inspection, &mut app_names).await;
    Examined { checks, app_names }
}

async fn checks(inspection: &Inspection, app_names: &mut Option<Vec<String>>) -> Vec<Check> {
    let skip = |names: &[&str], needs: &str| -> Vec<Check> {
        names
            .iter()
            .map(|name| Check::skipped(AREA, *name, needs))
            .collect()
    };
    let Some(settings) = &inspection.source else {
        return skip(&["connection"], "valid settings under [source]");
    };
    let name = inspection.ledger.as_ref().map_or_else(
        || "tokenferry".to_owned(),
        |access| format!("tokenferry {}", access.migration),
    );
    let opened = async {
        let mut survey = Survey::open(settings, &name).await?;
        let server = survey.server().await?;
        Ok::<_, Failure>((survey, server))
    };
    let (mut survey, server) = match opened.await {
        Ok(opened) => opened,
        Err(failure) => {
            let mut checks = vec![database::unreachable(AREA, "source.url", &failure)];
            checks.extend(skip(
                &["tls", "table", "read_only", "key_index", "rows", "app_names"],
                "a connection",
            ));
            return checks;
        }
    };
    let mut checks = vec![
        database::reached(AREA, &server),
        database::line(AREA, "source.url", &server),
    ];
    if !settings.session.is_empty() {
        match survey.hand_over().await {
            Ok(()) => checks.push(Check::ok(
                AREA,
                "session",
                format!(
                    "{} set, and the server does not log them",
                    list(settings.session.iter().map(|value| &value.name))
                ),
            )),
            Err(failure) => {
                checks.push(Check::failed(
                    AREA,
                    Blame::Database,
                    "session",
                    failure.to_string(),
                    "change the server's settings for this role as said, or decrypt with `decrypt` instead of in the database",
                ));
                checks.extend(skip(
                    &["table", "read_only", "key_index", "rows", "app_names"],
                    "the session",
                ));
                survey.close().await;
                return checks;
            }
        }
    }
    let fit = survey.inspect().await;
    let fits = fit.is_ok();
    checks.extend(table(settings, fit));
    checks.push(match survey.writable().await {
        Ok(writable) => read_only(&server, &writable),
        Err(failure) => database::broken(AREA, "read_only", &failure),
    });
    if fits {
        checks.push(match survey.key_index().await {
            Ok(index) => key_index(settings, index),
            Err(failure) => database::broken(AREA, "key_index", &failure),
        });
        checks.push(rows(settings, survey.expected_rows().await));
        checks.push(match survey.app_names(MOST_APPS + 1).await {
            Ok(names) => {
                let names = names.unwrap_or_default();
                let check = named(&inspection.apps, &names);
                *app_names = Some(names).filter(|names| (1..=MOST_APPS as usize).contains(&names.len()));
                check
            }
            Err(failure) => unlisted(&failure),
        });
    } else {
        checks.extend(skip(&["key_index", "rows", "app_names"], "a table as configured"));
    }
    survey.close().await;
    checks
}

fn table(settings: &SourceSettings, fit: Result<(), SourceError>) -> Vec<Check> {
    let misfit = |problem: Problem| {
        Check::failed(
            AREA,
            Blame::Configuration,
            &problem.key,
            problem.must,
            format!("correct `{}`, or the database", problem.key),
        )
    };
    match fit {
        Ok(()) => {
            let what = match &settings.relation {
                Relation::Table(parts) => format!("\"{}\"", parts.join(".")),
                Relation::Query(_) => "the query".to_owned(),
            };
            let detail = format!(
                "{what} has the key \"{}\" and {} fields",
                settings.key,
                settings.columns.len()
            );
            vec![Check::ok(AREA, "table", detail)]
        }
        Err(SourceError::Misfit(problems)) => problems.into_iter().map(misfit).collect(),
        Err(SourceError::Database(failure)) => vec![database::broken(AREA, "table", &failure)],
        Err(error) => vec![Check::failed(
            AREA,
            Blame::Configuration,
            "table",
            error.to_string(),
            "correct what [source] says about these rows",
        )],
    }
}

fn read_only(server: &Server, writable: &[Writable]) -> Check {
    const NAME: &str = "read_only";
    let guarded = "tokenferry's own session is read-only all the same";
    if server.is_superuser {
        return Check::warning(
            AREA,
            NAME,
            format!("the role \"{}\" is a superuser; {guarded}", server.role),
            "use a role that may do no more than `select`",
        );
    }
    if let Some(first) = writable.first() {
        let all = writable
            .iter()
            .map(|one| format!("{} on {}", one.privileges.join(", "), one.relation))
            .collect::<Vec<_>>()
            .join("; ");
        return Check::warning(
            AREA,
            NAME,
            format!("the role \"{}\" may {all}; {guarded}", server.role),
            format!(
                "use a role that may do no more than `select` (or: revoke {} on {} from its owner's role)",
                first.privileges.join(", "),
                first.relation
            ),
        );
    }
    let also = if server.is_standby {
        ", and the server is a standby"
    } else if server.read_only_by_default {
        ", and its transactions are read-only by default"
    } else {
        ""
    };
    Check::ok(
        AREA,
        NAME,
        format!("the role \"{}\" can only read{also}", server.role),
    )
}

fn key_index(settings: &SourceSettings, index: Option<KeyIndex>) -> Check {
    const NAME: &str = "key_index";
    let key = &settings.key;
    let is_table = matches!(settings.relation, Relation::Table(_));
    let sorted = format!(
        "no index gives the rows in the order of \"{key}\": each page of {} sorts all that is left",
        settings.page_size
    );
    match index {
        Some(KeyIndex {
            unique: Some(name),
            gives_order: true,
        }) => Check::ok(
            AREA,
            NAME,
            format!("{name} is unique and gives the pages their order"),
        ),
        Some(KeyIndex {
            gives_order: true, ..
        }) if is_table => Check::warning(
            AREA,
            NAME,
            format!(
                "an index gives the pages their order, and none promises that \"{key}\" is unique: that was looked up row by row"
            ),
            format!("create unique index concurrently on the table ({key})"),
        ),
        Some(KeyIndex {
            gives_order: true, ..
        }) => Check::ok(
            AREA,
            NAME,
            format!(
                "pages are had in the order of \"{key}\" without sorting; that it is unique was looked up row by row"
            ),
        ),
        Some(KeyIndex {
            unique: Some(name), ..
        }) => Check::warning(
            AREA,
            NAME,
            format!("{sorted} ({name} has another order)"),
            format!("create an index on ({key}) with the column's own collation and operators"),
        ),
        _ if is_table => Check::warning(
            AREA,
            NAME,
            sorted,
            format!("create unique index concurrently on the table ({key}), or choose a key that has one"),
        ),
        _ => Check::warning(
            AREA,
            NAME,
            sorted,
            "let `source.key` be a column that an index of a table behind the query is on, or raise `source.page_size`",
        ),
    }
}

fn rows(settings: &SourceSettings, expected: Option<u64>) -> Check {
    const NAME: &str = "rows";
    match expected {
        Some(0) => Check::warning(
            AREA,
            NAME,
            "the planner expects none",
            "check `source.table` and `source.where`; for a table just filled, `analyze` it",
        ),
        Some(rows) => Check::ok(
            AREA,
            NAME,
            format!(
                "about {rows}, as the planner expects ({} pages of at most {})",
                rows.div_ceil(u64::from(settings.page_size)),
                settings.page_size
            ),
        ),
        None => Check::ok(AREA, NAME, "the planner has no idea"),
    }
}

/// The names of apps in the rows, held against [apps].
fn named(apps: &AppMap, names: &[String]) -> Check {
    const NAME: &str = "app_names";
    if names.is_empty() {
        return Check::warning(
            AREA,
            NAME,
            "no row names an app",
            "check what `source.columns.app` is mapped to",
        );
    }
    if names.len() > MOST_APPS as usize {
        return Check::warning(
            AREA,
            NAME,
            format!("the rows name more than {MOST_APPS} different apps"),
            "check what `source.columns.app` is mapped to: it should name a provider",
        );
    }
    let unmapped: Vec<_> = names.iter().filter(|name| apps.resolve(name).is_none()).collect();
    if unmapped.is_empty() {
        Check::ok(AREA, NAME, list(names.iter()))
    } else {
        Check::warning(
            AREA,
            NAME,
            format!("without an entry under [apps]: {}", list(unmapped.into_iter())),
            "add them to [apps], or exclude their rows with `source.where`: such rows fail as app_not_mapped",
        )
    }
}

fn unlisted(failure: &Failure) -> Check {
    if failure.kind == FailureKind::Timeout {
        return Check::warning(
            AREA,
            "app_names",
            "listing them takes longer than `source.statement_timeout`",
            "raise it for this once, or have the column indexed",
        );
    }
    database::broken(AREA, "app_names", failure)
}

/// What a source holds may be anything: short, and without control characters.
fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const AT_MOST: usize = 20;
    let names: Vec<String> = names
        .map(|name| name.chars().filter(|c| !c.is_control()).take(80).collect())
        .collect();
    let more = names.len().saturating_sub(AT_MOST);
    let listed = names.into_iter().take(AT_MOST).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{listed} and {more} more")
    } else {
        listed
    }
}
