//! Ledger checks: connection, schema, privileges, pepper, target and rollbacks.

use super::{
    Area, Check, FailureClass, database, durability,
    sessions::{self, Need},
};
use crate::{
    config::{ConfigReport, LedgerAccess, Origin},
    ledger::{LedgerDiagnostics, LedgerError, LockKind, Missing, State},
    postgres::{Server, quote_identifier},
};

const AREA: Area = Area::Ledger;

/// The results for the ledger.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    /// The sessions that a run needs, if the server was reached.
    pub(super) need: Option<Need>,
}

/// Checks the ledger, except its sessions.
pub(super) async fn examine(inspection: &ConfigReport) -> Examined {
    let mut examined = Examined::default();
    examined.checks = checks(inspection, &mut examined.need).await;
    examined
}

async fn checks(inspection: &ConfigReport, need: &mut Option<Need>) -> Vec<Check> {
    let skip = |names: &[&str], needs: &str| -> Vec<Check> {
        names
            .iter()
            .map(|name| Check::skipped(AREA, *name, needs))
            .collect()
    };
    let Some(access) = &inspection.ledger else {
        return skip(&["connection"], "valid settings under [ledger]");
    };
    let opened = async {
        let mut diagnostics = LedgerDiagnostics::open(access).await?;
        let server = diagnostics.server().await?;
        Ok::<_, LedgerError>((diagnostics, server))
    };
    let (mut diagnostics, server) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            let mut checks = vec![match error {
                LedgerError::Database(failure) => database::unreachable(AREA, "ledger.url", &failure),
                error => failed("connection", access, &error),
            }];
            checks.extend(skip(
                &[
                    "tls",
                    "search_path",
                    sessions::NAME,
                    "writable",
                    "encoding",
                    "durability",
                    "schema",
                    "privileges",
                    "pepper",
                ],
                "a connection",
            ));
            return checks;
        }
    };
    let mut checks = vec![
        database::reached(AREA, &server),
        database::line(AREA, "ledger.url", access.ledger.url.line(), &server),
        match diagnostics.shared_schemas().await {
            Ok(shared) => database::search_path(AREA, &shared),
            Err(error) => failed("search_path", access, &error),
        },
        writable(&server),
        match diagnostics.check_encoding().await {
            Ok(()) => Check::ok(AREA, "encoding", "UTF8"),
            Err(error) => failed("encoding", access, &error),
        },
    ];
    match diagnostics.room().await {
        Ok(room) => {
            *need = Some(Need {
                area: AREA,
                room,
                // One session holds the lock.
                least: 2,
                most: i64::from(inspection.batch.ledger_statements()) + 1,
            });
        }
        Err(error) => checks.push(failed(sessions::NAME, access, &error)),
    }
    let durability = durability::examine(&mut diagnostics).await;
    checks.push(durability.unwrap_or_else(|error| failed("durability", access, &error)));
    match diagnostics.state().await {
        Ok(state) => {
            checks.push(schema(access, &state));
            checks.extend(allowed(&mut diagnostics, inspection, access, &server, &state).await);
            if state == State::Current {
                checks.push(target(&mut diagnostics, access, inspection).await);
                checks.push(siblings(&mut diagnostics, access, inspection).await);
                checks.push(deletions(&mut diagnostics, access).await);
            }
        }
        Err(error) => {
            checks.push(failed("schema", access, &error));
            checks.extend(skip(
                &["privileges", "pepper"],
                "a ledger that this version can use",
            ));
        }
    }
    diagnostics.close().await;
    checks
}

fn writable(server: &Server) -> Check {
    if server.is_standby {
        return Check::failed(
            AREA,
            FailureClass::Database,
            "writable",
            "the server is a standby, which accepts no writes",
            "let `ledger.url` point to the primary",
        );
    }
    if server.read_only_by_default {
        return Check::failed(
            AREA,
            FailureClass::Database,
            "writable",
            format!(
                "transactions of the role \"{}\" are read-only by default",
                server.role
            ),
            "give the ledger a role of its own (`ledger.url`), without default_transaction_read_only",
        );
    }
    Check::ok(AREA, "writable", "the server accepts writes")
}

fn schema(access: &LedgerAccess, state: &State) -> Check {
    let name = &access.ledger.schema;
    let detail = match state {
        State::NoSchema => format!("\"{name}\" does not exist yet: the first `migrate` creates it"),
        State::Empty => {
            format!("\"{name}\" exists without tables: the first `migrate` creates them")
        }
        State::Behind(1) => {
            format!("\"{name}\" is from an earlier version: the next `migrate` upgrades it (1 step)")
        }
        State::Behind(steps) => {
            format!("\"{name}\" is from an earlier version: the next `migrate` upgrades it ({steps} steps)")
        }
        State::Current => format!("\"{name}\" is up to date"),
    };
    Check::ok(AREA, "schema", detail)
}

/// Checks the role's privileges in the ledger, and its pepper.
async fn allowed(
    diagnostics: &mut LedgerDiagnostics,
    inspection: &ConfigReport,
    access: &LedgerAccess,
    server: &Server,
    state: &State,
) -> Vec<Check> {
    let missing = match diagnostics.missing(state).await {
        Ok(missing) => missing,
        Err(error) => {
            return vec![
                failed("privileges", access, &error),
                Check::skipped(AREA, "pepper", "the ledger's privileges"),
            ];
        }
    };
    let privileges = privileges(inspection, access, server, state, &missing);
    let pepper = match state {
        State::NoSchema | State::Empty if access.ledger.pepper.is_some() => {
            Check::ok(AREA, "pepper", "set; the ledger will be created with it")
        }
        State::NoSchema | State::Empty => Check::ok(AREA, "pepper", "not set"),
        State::Behind(_) | State::Current if !missing.is_empty() => {
            Check::skipped(AREA, "pepper", "the privileges above")
        }
        State::Behind(_) | State::Current => match diagnostics.pepper_fits().await {
            Ok(true) => Check::ok(AREA, "pepper", "matches the ledger"),
            Ok(false) => failed("pepper", access, &LedgerError::Pepper),
            Err(error) => failed("pepper", access, &error),
        },
    };
    vec![privileges, pepper]
}

/// Checks that the migration's tokens went to the configured target.
async fn target(
    diagnostics: &mut LedgerDiagnostics,
    access: &LedgerAccess,
    inspection: &ConfigReport,
) -> Check {
    const NAME: &str = "target";
    let Some(api) = &inspection.api else {
        return Check::skipped(AREA, NAME, "valid settings under [api]");
    };
    match diagnostics.other_target(&api.target()).await {
        Ok(None) => Check::ok(
            AREA,
            NAME,
            "no token of the migration went to another project or address",
        ),
        Ok(Some(went_to)) => Check::failed(
            AREA,
            FailureClass::Configuration,
            NAME,
            format!(
                "the migration's tokens went to {went_to}, but the configuration names {}",
                api.target()
            ),
            "restore the configuration of that project and address, or set another `ledger.schema` to send everything again",
        ),
        Err(error) => failed(NAME, access, &error),
    }
}

/// Checks whether the migration may be another one under a new name.
async fn siblings(
    diagnostics: &mut LedgerDiagnostics,
    access: &LedgerAccess,
    inspection: &ConfigReport,
) -> Check {
    const NAME: &str = "migration";
    let Some(api) = &inspection.api else {
        return Check::skipped(AREA, NAME, "valid settings under [api]");
    };
    match diagnostics.possible_former_names(&api.target()).await {
        Ok(others) if others.is_empty() => Check::ok(AREA, NAME, format!("\"{}\"", access.migration)),
        Ok(others) => {
            let names: Vec<String> = others.iter().map(ToString::to_string).collect();
            Check::warning(
                AREA,
                NAME,
                format!(
                    "\"{}\" has no tokens in the ledger, but others do: {}",
                    access.migration,
                    names.join(", ")
                ),
                "if one of them is this migration under its old name, set `migration` to that name; otherwise everything is sent again",
            )
        }
        Err(error) => failed(NAME, access, &error),
    }
}

/// Checks whether a rollback ended in the middle of a deletion.
async fn deletions(diagnostics: &mut LedgerDiagnostics, access: &LedgerAccess) -> Check {
    const NAME: &str = "rollbacks";
    let looked = async {
        let pending = diagnostics.pending_deletions().await?;
        // A running rollback always has some.
        let is_settled = pending.is_some() && diagnostics.is_held(LockKind::Migration).await?;
        Ok::<_, LedgerError>(pending.filter(|_| !is_settled))
    };
    match looked.await {
        Ok(None) => Check::ok(AREA, NAME, "none ended in the middle of a deletion"),
        Ok(Some(pending)) => Check::failed(
            AREA,
            FailureClass::Configuration,
            NAME,
            format!(
                "run {} ended while {} tokens of run {} were being deleted: it is unknown whether they still exist at Descope",
                pending.rollback, pending.tokens, pending.of_run
            ),
            format!("`tokenferry rollback --run {}` resumes it", pending.of_run),
        )
        .with_fix([format!("tokenferry rollback --run {}", pending.of_run)]),
        Err(error) => failed(NAME, access, &error),
    }
}

fn privileges(
    inspection: &ConfigReport,
    access: &LedgerAccess,
    server: &Server,
    state: &State,
    missing: &[Missing],
) -> Check {
    if missing.is_empty() {
        let detail = match state {
            State::NoSchema => "the role can create the schema",
            State::Empty => "the role can create the tables",
            State::Behind(_) => "the role can upgrade the tables",
            State::Current => "the role can read and write the tables",
        };
        return Check::ok(AREA, "privileges", detail);
    }
    let list = |each: &dyn Fn(&Missing) -> String| missing.iter().map(each).collect::<Vec<_>>().join("; ");
    let detail = format!(
        "the role \"{}\" lacks {}",
        server.role,
        list(&|one| format!("{} on {}", one.privileges, one.on))
    );
    let has_own_url = inspection
        .values
        .iter()
        .any(|value| value.key == "ledger.url" && value.origin != Origin::Default);
    if !has_own_url {
        return Check::failed(
            AREA,
            FailureClass::Database,
            "privileges",
            detail,
            "set `ledger.url` to a role (or database) of its own that can write: without it the ledger uses the source's role, \
             which should be read-only",
        )
        .with_fix([
            "create role tokenferry_ledger login password '\u{2026}';".to_owned(),
            format!(
                "grant create on database {} to tokenferry_ledger;",
                quote_identifier(&server.database)
            ),
            format!(
                "export LEDGER_DATABASE_URL='postgres://tokenferry_ledger:\u{2026}@{}/{}'",
                access.ledger.url.place(),
                server.database
            ),
            "ledger.url = \"env:LEDGER_DATABASE_URL\"".to_owned(),
        ]);
    }
    let role = server.role.replace('"', "\"\"");
    let advice = list(&|one| match one.privileges.as_str() {
        "ownership" => format!("alter {} owner to \"{role}\"", one.on),
        privileges => format!("grant {privileges} on {} to \"{role}\"", one.on),
    });
    let fix: Vec<String> = advice.split("; ").map(|one| format!("{one};")).collect();
    Check::failed(AREA, FailureClass::Database, "privileges", detail, advice).with_fix(fix)
}

fn failed(name: &str, access: &LedgerAccess, error: &LedgerError) -> Check {
    let usage =
        |detail: String, advice: &str| Check::failed(AREA, FailureClass::Configuration, name, detail, advice);
    match error {
        LedgerError::Database(failure) => database::broken(AREA, name, failure),
        LedgerError::Encoding(encoding) => usage(
            format!("{encoding}, which cannot store every key, user and app"),
            "set `ledger.url` to a database in UTF8 (create database … encoding 'UTF8' template template0)",
        ),
        LedgerError::Newer { .. } => usage(
            error.to_string(),
            "use the newer tokenferry, or another `ledger.schema`",
        ),
        LedgerError::Pepper => usage(
            "`ledger.pepper` differs from the one this ledger was created with".to_owned(),
            "restore the previous value: with another one every token would look changed and be sent again",
        ),
        error => usage(
            error.to_string(),
            &format!(
                "use a matching tokenferry version, or another `ledger.schema` than \"{}\"",
                access.ledger.schema
            ),
        ),
    }
}
