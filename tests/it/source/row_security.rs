//! Row-level security: rows that it would hide are never left out in silence.

use tokenferry::{postgres::FailureKind, reader::SourceError};

use crate::support::{
    bed::{Bed, Ran, ended},
    source::{open, pages, plain},
};

const POLICY: &str = "alter table legacy_tokens enable row level security; \
                      create policy \"only the first\" on legacy_tokens for select using (id <= 10)";

/// Fifty rows, of which a guest may read ten.
async fn guarded() -> (Bed, String, String) {
    let bed = Bed::new().await;
    bed.user_rows(1, 50).await;
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!("{POLICY}; grant select on legacy_tokens to {guest}"))
        .await;
    (bed, url, guest)
}

/// A command whose source is read as the guest.
async fn run(bed: &Bed, url: &str, arguments: &[&str], allow: bool) -> Ran {
    let mut command = bed.command(arguments);
    command
        .env("SOURCE_DATABASE_URL", url)
        .env("TOKENFERRY__LEDGER__URL", bed.database.url());
    if allow {
        command.env("TOKENFERRY__SOURCE__ROW_SECURITY", "allow");
    }
    ended(command.output()).await
}

#[tokio::test]
async fn hidden_rows_end_the_run_with_6_and_table_and_policy_are_named() {
    let (bed, url, _) = guarded().await;
    let ran = run(&bed, &url, &["migrate", "--json"], false).await.ended_with(6);
    for part in [
        "row-level security would hide rows",
        "public.legacy_tokens: policy \"only the first\"",
        "bypassrls",
        "source.row_security = \"allow\"",
    ] {
        assert!(
            ran.stderr.replace('\\', "").contains(part),
            "{part}: {}",
            ran.stderr
        );
    }
    assert_eq!(bed.api.stored_count(), 0);
    let doctor = run(&bed, &url, &["doctor", "--json"], false).await.ended_with(6);
    let checks = doctor.json()["checks"].as_array().unwrap().clone();
    let check = checks
        .iter()
        .find(|check| check["name"] == "row_security")
        .unwrap();
    assert_eq!(check["status"], "failed", "{check}");
    let said = check.to_string();
    assert!(
        said.contains("only the first") && said.contains("bypassrls"),
        "{said}"
    );
    // Without a policy for it nobody sees anything.
    bed.sql("drop policy \"only the first\" on legacy_tokens").await;
    let ran = run(&bed, &url, &["migrate", "--json"], false).await.ended_with(6);
    assert!(
        ran.stderr
            .contains("public.legacy_tokens: no policy lets anybody read"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn rows_are_hidden_on_purpose_where_that_is_allowed() {
    let (bed, url, _) = guarded().await;
    let ran = run(&bed, &url, &["migrate", "--json"], true).await.ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 10);
    let doctor = run(&bed, &url, &["doctor", "--json"], true).await.ended_with(0);
    assert!(
        doctor.stdout.contains("as `source.row_security` allows"),
        "{}",
        doctor.stdout
    );
}

#[tokio::test]
async fn who_sees_every_row_reads_every_row() {
    let (bed, url, guest) = guarded().await;
    bed.sql(&format!("alter role {guest} bypassrls")).await;
    let ran = run(&bed, &url, &["migrate", "--json"], false).await.ended_with(0);
    assert_eq!(ran.json()["tokens"]["committed"], 50);
}

#[tokio::test]
async fn views_queries_and_expressions_hide_no_rows_either() {
    let (bed, url, guest) = guarded().await;
    let owner = bed.database.role("owner");
    bed.sql(&format!(
        "create role {owner}; grant select on legacy_tokens to {owner}; grant create on schema public to {owner}; \
         set role {owner}; create view seen as select id, access_token as token from legacy_tokens; \
         grant select on seen to {guest}; reset role; \
         create table own (id int primary key, token text); grant select on own to {guest}"
    ))
    .await;
    for source in [
        "table = \"seen\"",
        "query = \"select id, access_token as token from legacy_tokens\"",
        "table = \"own\"\nwhere = \"exists (select from legacy_tokens t where t.id = own.id)\"",
    ] {
        let mut settings = plain(&bed.database, &format!("{source}\nkey = \"id\""));
        settings.url = tokenferry::postgres::Address::parse(&url).unwrap();
        let error = open(&settings).await.unwrap_err();
        assert!(
            matches!(&error, SourceError::RowSecurity { policies, .. } if policies.contains("legacy_tokens")),
            "{source}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_comes_while_pages_are_read_is_an_error_too() {
    let (bed, url, _) = guarded().await;
    bed.sql("alter table legacy_tokens disable row level security")
        .await;
    let source = "table = \"legacy_tokens\"\nkey = \"id\"\npage_size = 20";
    let mut settings = plain(&bed.database, source);
    settings.url = tokenferry::postgres::Address::parse(&url).unwrap();
    for mapping in settings.columns.values_mut() {
        if mapping.expression == tokenferry::config::Expression::Column("token".into()) {
            mapping.expression = tokenferry::config::Expression::Column("access_token".into());
        }
    }
    let mut source = open(&settings).await.unwrap();
    source.page(None, None).await.unwrap();
    bed.sql("alter table legacy_tokens enable row level security")
        .await;
    let error = pages(&mut source).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Database(failure) if failure.kind == FailureKind::RowSecurity),
        "{error:?}"
    );
}
