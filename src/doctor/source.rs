//! Source checks: connection, mapping, read-only access and paging.

use super::{
    Area, Check, FailureClass, database, paste,
    rows::{self, MOST_APPS},
    sample,
    sessions::{self, Need},
};
use crate::{
    config::{ConfigReport, Problem, Relation, RowSecurity, SourceSettings},
    postgres::{Failure, FailureKind, Server, quote_identifier},
    reader::{SourceDiagnostics, SourceError, Writable},
    secret::FingerprintKey,
    validation::Validator,
};

const AREA: Area = Area::Source;

/// The checks that need a connection.
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

/// One session reads, and one looks rows up.
const SESSIONS: i64 = 2;

/// The results for the source.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    /// The app names in the rows; `None` if they could not be read, or are too many to be names of apps.
    pub(super) app_names: Option<Vec<String>>,
    /// The sessions that a run needs, if the server was reached.
    pub(super) need: Option<Need>,
}

/// Checks the source, except its sessions.
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
                    "change the server's settings for this role, or decrypt with `decrypt` instead of in the database",
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
    checks.extend(table(settings, &server, fit));
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
        found.app_names = app_names(&mut diagnostics, inspection, &mut checks).await;
    } else {
        checks.extend(skip(&["key_index", "rows", "app_names"], "a table as configured"));
    }
    diagnostics.close().await;
    checks
}

/// Checks the names of apps, and returns them unless they could not be read or are too many.
async fn app_names(
    diagnostics: &mut SourceDiagnostics,
    inspection: &ConfigReport,
    checks: &mut Vec<Check>,
) -> Option<Vec<String>> {
    let names = match diagnostics.app_names(MOST_APPS + 1).await {
        Ok(names) => names.unwrap_or_default(),
        Err(failure) => {
            checks.push(rows::unlisted(&failure));
            return None;
        }
    };
    let check = rows::named(&inspection.apps, &names);
    // One fault: the rows of the sample fail because of these names.
    match checks.iter_mut().find(|one| sample::is_about_apps(one)) {
        Some(mapping) if !check.fix.is_empty() => {
            mapping.fix = check.fix;
            checks.push(Check::skipped(AREA, &check.name, "apps that are mapped"));
        }
        _ => checks.push(check),
    }
    Some(names).filter(|names| (1..=MOST_APPS as usize).contains(&names.len()))
}

/// Checks a sample of rows.
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
    // The fingerprints are not compared with a ledger.
    let key = FingerprintKey::new(&[0; 32], None);
    let validator = Validator::new(inspection.apps.clone(), key).tolerating(inspection.tolerated);
    checks.extend(sample::checks(settings, &validator, &rows));
    checks
}

/// Checks the connection itself.
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

fn table(settings: &SourceSettings, server: &Server, fit: Result<(), SourceError>) -> Vec<Check> {
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
                settings.key.join("\", \""),
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
        Err(SourceError::Database(failure)) => {
            let grant = paste::table(&settings.relation)
                .filter(|_| failure.kind == FailureKind::Permission)
                .map(|table| format!("grant select on {table} to {};", quote_identifier(&server.role)));
            vec![database::broken(AREA, "table", &failure).with_fix(grant)]
        }
        Err(SourceError::RowSecurity { policies, source }) => vec![Check::failed(
            AREA,
            FailureClass::Database,
            "row_security",
            format!("{source}{policies}"),
            "use the table's owner or a role with bypassrls; or set `source.row_security = \"allow\"`, and rows that the \
             policies hide are left out",
        )],
        Err(error) => vec![Check::failed(
            AREA,
            FailureClass::Configuration,
            "table",
            error.to_string(),
            "correct the settings under [source]",
        )],
    }
}

fn read_only(server: &Server, writable: &[Writable]) -> Check {
    const NAME: &str = "read_only";
    let guarded = "tokenferry's own session is read-only regardless";
    if server.is_superuser {
        return Check::warning(
            AREA,
            NAME,
            format!("the role \"{}\" is a superuser; {guarded}", server.role),
            "use a role that can only `select`",
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
                "use a role that can only `select` (or: revoke {} on {} from its owner's role)",
                first.privileges.join(", "),
                first.relation
            ),
        )
        .with_fix(writable.iter().map(|one| {
            format!(
                "revoke {} on {} from {};",
                one.privileges.join(", "),
                one.relation,
                quote_identifier(&server.role)
            )
        }));
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

/// Returns true if a value has to be decrypted. A session setting counts, as decryption is its usual purpose.
fn is_encrypted(settings: &SourceSettings) -> bool {
    !settings.session.is_empty() || settings.columns.values().any(|mapping| mapping.decrypt.is_some())
}
