//! The source: reached, as configured, read-only, and fit to be read page by page.

use super::{
    Area, Check, FailureClass, database,
    rows::{self, MOST_APPS},
    sample,
    sessions::{self, Need},
};
use crate::{
    config::{ConfigReport, Problem, Relation, RowSecurity, SourceSettings},
    postgres::{Failure, Server},
    reader::{SourceDiagnostics, SourceError, Writable},
    secret::FingerprintKey,
    validation::Validator,
};

const AREA: Area = Area::Source;

/// What cannot be looked at without one.
const BEHIND_A_CONNECTION: [&str; 8] = [
    "tls",
    "search_path",
    sessions::NAME,
    "table",
    "read_only",
    "key_index",
    "rows",
    "app_names",
];

/// The one that reads, and one that looks rows up beside it.
const SESSIONS: i64 = 2;

/// What was found out about the source.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    /// The names of apps in the rows; `None` if they could not be had, or are too many to be that.
    pub(super) app_names: Option<Vec<String>>,
    /// What a run needs of sessions, if the server was asked.
    pub(super) need: Option<Need>,
}

/// Everything about the source but its sessions.
pub(super) async fn examine(inspection: &ConfigReport) -> Examined {
    let mut examined = Examined::default();
    examined.checks = checks(inspection, &mut examined).await;
    examined
}

async fn checks(inspection: &ConfigReport, found: &mut Examined) -> Vec<Check> {
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
        let mut diagnostics = SourceDiagnostics::open(settings, &name).await?;
        let server = diagnostics.server().await?;
        Ok::<_, Failure>((diagnostics, server))
    };
    let (mut diagnostics, server) = match opened.await {
        Ok(opened) => opened,
        Err(failure) => {
            let mut checks = vec![database::unreachable(AREA, "source.url", &failure)];
            checks.extend(skip(&BEHIND_A_CONNECTION, "a connection"));
            return checks;
        }
    };
    let mut checks = connection(settings, &mut diagnostics, &server).await;
    match diagnostics.room().await {
        Ok(room) => {
            found.need = Some(Need {
                area: AREA,
                room,
                least: 1,
                most: SESSIONS,
            });
        }
        Err(failure) => checks.push(database::broken(AREA, sessions::NAME, &failure)),
    }
    if !settings.session.is_empty() {
        match diagnostics.apply_session_settings().await {
            Ok(()) => checks.push(Check::ok(
                AREA,
                "session",
                format!(
                    "{} set, and the server does not log them",
                    rows::list(settings.session.iter().map(|value| &value.name))
                ),
            )),
            Err(failure) => {
                checks.push(Check::failed(
                    AREA,
                    FailureClass::Database,
                    "session",
                    failure.to_string(),
                    "change the server's settings for this role as said, or decrypt with `decrypt` instead of in the database",
                ));
                checks.extend(skip(
                    &["table", "read_only", "key_index", "rows", "app_names"],
                    "the session",
                ));
                diagnostics.close().await;
                return checks;
            }
        }
    }
    let fit = diagnostics.inspect().await;
    let fits = fit.is_ok();
    checks.extend(table(settings, fit));
    checks.push(match diagnostics.writable().await {
        Ok(writable) => read_only(&server, &writable),
        Err(failure) => database::broken(AREA, "read_only", &failure),
    });
    if fits {
        checks.push(match diagnostics.key_index().await {
            Ok(index) => rows::key_index(settings, index),
            Err(failure) => database::broken(AREA, "key_index", &failure),
        });
        checks.push(rows::rows(settings, diagnostics.expected_rows().await));
        checks.extend(sampled(&mut diagnostics, settings, inspection).await);
        checks.push(match diagnostics.app_names(MOST_APPS + 1).await {
            Ok(names) => {
                let names = names.unwrap_or_default();
                let check = rows::named(&inspection.apps, &names);
                found.app_names = Some(names).filter(|names| (1..=MOST_APPS as usize).contains(&names.len()));
                check
            }
            Err(failure) => rows::unlisted(&failure),
        });
    } else {
        checks.extend(skip(&["key_index", "rows", "app_names"], "a table as configured"));
    }
    diagnostics.close().await;
    checks
}

/// What some rows say, from all over the source.
async fn sampled(
    diagnostics: &mut SourceDiagnostics,
    settings: &SourceSettings,
    inspection: &ConfigReport,
) -> Vec<Check> {
    let rows = match diagnostics.sample(sample::ROWS).await {
        Ok(rows) => rows,
        Err(error) => return vec![sample::unreadable(error)],
    };
    let mut checks = Vec::new();
    if is_encrypted(settings) {
        let sealed = rows.iter().filter(|row| row.sealed.is_some()).count();
        checks.push(rows::decryption(rows.len(), sealed));
    }
    // Nothing is compared with what stands in a ledger.
    let key = FingerprintKey::new(&[0; 32], None);
    let validator = Validator::new(inspection.apps.clone(), key).tolerating(inspection.tolerated);
    checks.extend(sample::checks(settings, &validator, &rows));
    checks
}

/// What there is to say of the connection itself.
async fn connection(
    settings: &SourceSettings,
    diagnostics: &mut SourceDiagnostics,
    server: &Server,
) -> Vec<Check> {
    vec![
        database::reached(AREA, server),
        database::line(AREA, "source.url", settings.url.line(), server),
        match diagnostics.shared_schemas().await {
            Ok(shared) => database::search_path(AREA, &shared),
            Err(failure) => database::broken(AREA, "search_path", &failure),
        },
    ]
}

fn table(settings: &SourceSettings, fit: Result<(), SourceError>) -> Vec<Check> {
    let misfit = |problem: Problem| {
        Check::failed(
            AREA,
            FailureClass::Configuration,
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
            let mut checks = vec![Check::ok(AREA, "table", detail)];
            if settings.row_security == RowSecurity::Allow {
                let detail =
                    "rows that policies hide from the role are left out, as `source.row_security` allows";
                checks.push(Check::ok(AREA, "row_security", detail));
            }
            checks
        }
        Err(SourceError::Misfit(problems)) => problems.into_iter().map(misfit).collect(),
        Err(SourceError::Database(failure)) => vec![database::broken(AREA, "table", &failure)],
        Err(SourceError::RowSecurity { policies, source }) => vec![Check::failed(
            AREA,
            FailureClass::Database,
            "row_security",
            format!("{source}{policies}"),
            "read as the table's owner or as a role with bypassrls; or set `source.row_security = \"allow\"`, and rows that the \
             policies hide are left out",
        )],
        Err(error) => vec![Check::failed(
            AREA,
            FailureClass::Configuration,
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

/// Whether some value has to be decrypted on its way. What a setting of the session is for is not said, and mostly it is that.
fn is_encrypted(settings: &SourceSettings) -> bool {
    !settings.session.is_empty() || settings.columns.values().any(|mapping| mapping.decrypt.is_some())
}
