//! `init` at a database without a known store, or with its tables under other names.

use std::fs;

use serde_json::Value;
use tokenferry::simulator::Simulator;

use super::{Store, sql};
use crate::support::bed::{Bed, TOKEN};

#[tokio::test]
async fn an_unknown_table_is_found_by_its_columns_and_what_is_open_is_marked() {
    let store = Store::of("authjs-pg");
    let bed = Bed::with(Simulator::builder()).await;
    bed.rows(1, 30).await;
    bed.sql("create table sessions (id int primary key, token text); analyze")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| store.run(&bed, folder.path(), arguments).await;
    let init = run(&["init"]).await.ended_with(0);
    assert!(
        init.stdout
            .contains("grant select on \"public\".\"legacy_tokens\" to"),
        "{}",
        init.stdout
    );
    let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let written = file("tokenferry.toml");
    for line in [
        "#:schema ./tokenferry.schema.json",
        "table = \"legacy_tokens\"",
        "key = \"id\"",
        "refresh_token = \"refresh_token\"",
        "access_token_expiry = \"expires_at\"",
        "# OPEN: `user_id` must be",
        "\"google\" = \"google\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(file(".env.example").contains("DESCOPE_MANAGEMENT_KEY="));
    assert!(
        serde_json::from_str::<Value>(&file("tokenferry.schema.json")).unwrap()["properties"]["source"]
            .is_object()
    );
    run(&["doctor"]).await.ended_with(0);
    run(&["migrate", "--dry-run"]).await.ended_with(0);
    assert!(![init.stdout, init.stderr, written].concat().contains(TOKEN));

    // Nothing is overwritten.
    let again = run(&["init", "--yes"]).await.ended_with(2);
    assert!(
        again.stderr.contains("exists already: nothing was written"),
        "{}",
        again.stderr
    );
}

#[tokio::test]
async fn encrypted_values_are_recognised_and_asked_for_by_a_variable() {
    let store = Store::of("authjs-pg");
    let bed = Bed::with(Simulator::builder()).await;
    bed.sql(
        "drop table legacy_tokens; create schema crm;
         create table crm.\"Grants\" (\"Provider\" text, \"UserId\" text, \"AccessToken\" text, \"ExpiresIn\" int, \"UpdatedAt\" timestamptz,
                                      data jsonb, unique (\"Provider\", \"UserId\"));
         insert into crm.\"Grants\" values ('google', 'u1', 'gAAAAABrAmaJScRcMGmAcJjVSv1jlrhRs6E1PCf-Qsddl1-d-J4rKFR4dpehiNSXNnH3vpDL5elnlLcoe4bRlPTHFd35Dw_7dkhR4gc1b_XciveXseKMKRU=', 60, now()),
             ('ya29.a0AfH6SMBx1y2z3w4v5u', 'u2', 'x', 60, now())",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    store
        .run(&bed, folder.path(), &["init", "--table", "crm.Grants"])
        .await
        .ended_with(0);
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    // A token where the name of an app should be.
    assert!(!written.contains("ya29"), "{written}");
    for line in [
        "table = \"crm.Grants\"",
        "# OPEN: no key of integers, texts or UUIDs is unique and without nulls.",
        "access_token = { column = \"AccessToken\", decrypt = \"fernet\" }",
        "access_token_expiry = { column = \"ExpiresIn\", since = \"UpdatedAt\" }",
        "[source.decrypt.fernet]",
        "keys = \"env:SOURCE_TOKEN_KEY\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (
            &["init", "--table", "crm.Grant"][..],
            "there is no table crm.Grant",
        ),
        (
            &["init", "--preset", "keyclock"],
            "the presets are airflow, authjs-drizzle",
        ),
    ] {
        let wrong = store.run(&bed, folder.path(), arguments).await.ended_with(2);
        assert!(wrong.stderr.contains(said), "{}", wrong.stderr);
    }
    bed.sql("drop schema crm cascade").await;
    let none = store.run(&bed, folder.path(), &["init"]).await.ended_with(2);
    assert!(
        none.stderr
            .contains("no table of this database looks as if it held tokens"),
        "{}",
        none.stderr
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_preset_for_another_table_grants_that_one_too() {
    for (schema, table) in [("crm", "\"crm.Logins\""), ("c.rm", "'\"c.rm\".Logins'")] {
        let store = Store::of("authjs-prisma");
        let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
        bed.sql(&format!(
            "create schema \"{schema}\"; create table \"{schema}\".\"Logins\" (like \"Account\")"
        ))
        .await;
        let name = format!("{schema}.Logins");
        let arguments = ["init", "--preset", "authjs-prisma", "--table", name.as_str()];
        let init = store.run(&bed, folder.path(), &arguments).await.ended_with(0);
        for said in [
            format!("grant usage on schema \"{schema}\", "),
            format!(", \"{schema}\".\"Logins\" to tokenferry_reader;"),
        ] {
            assert!(init.stdout.contains(&said), "{said}: {}", init.stdout);
        }
        let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
        assert!(written.contains(&format!("table = {table}")), "{written}");
    }
}

#[tokio::test]
async fn a_known_store_is_found_under_another_usual_name() {
    let mut store = Store::of("rails");
    let rename = "alter table identities rename to authorizations; create table identities (id int primary key, uid text)";
    store.sql = concat!(sql!("rails"), "; delete from identities where uid = 's2'");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    bed.sql(rename).await;
    let run = async |arguments: &[&str]| store.run(&bed, folder.path(), arguments).await.ended_with(0);
    let init = run(&["init", "--yes"]).await;
    let said = "grant select on users, \"public\".\"authorizations\" to";
    assert!(init.stdout.contains(said), "{}", init.stdout);
    run(&["doctor"]).await;
    // One row is from before encryption, which is a warning.
    let dry_run = run(&["migrate", "--dry-run", "--log-format", "text"]).await;
    let said = "lists every row with a warning. All would be uploaded: run `tokenferry migrate`.";
    assert!(dry_run.stderr.contains(said), "{}", dry_run.stderr);
    run(&["migrate"]).await;
    assert_eq!(super::stored(&bed), store.stored);
}

#[tokio::test]
async fn every_form_of_encrypted_values_gets_the_settings_that_it_needs() {
    let store = Store::of("rails");
    for (preset, key) in [
        ("rails", "identities"),
        ("laravel", "connected_accounts"),
        ("n8n", "data"),
    ] {
        let (bed, folder) = (Store::of(preset).bed().await, tempfile::tempdir().unwrap());
        if preset == "n8n" {
            bed.sql("create table data as select id, data as token, type as provider, name as user_id from credentials_entity where id = 'c2'")
                .await;
        }
        let run = async |arguments: &[&str]| {
            let mut command = store.command(&bed, folder.path(), arguments);
            let keys = Store::of(preset).environment;
            for (variable, (_, key)) in ["SOURCE_TOKEN_KEY", "SOURCE_TOKEN_SALT"].iter().zip(keys) {
                command.env(variable, key);
            }
            crate::support::bed::ended(command.output()).await
        };
        run(&["init", "--table", key]).await.ended_with(0);
        run(&["config", "check"]).await.ended_with(0);
        if preset == "n8n" {
            // Its values are JSON, of which an unknown table says nothing.
            continue;
        }
        let ran = run(&["migrate", "--dry-run", "--json"]).await;
        assert!(
            ran.json()["tokens"]["committed"].as_u64() > Some(0),
            "{preset}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[tokio::test]
async fn names_that_need_quotes_are_quoted() {
    let store = Store::of("authjs-pg");
    let (bed, folder) = (
        Bed::with(Simulator::builder()).await,
        tempfile::tempdir().unwrap(),
    );
    bed.sql(
        "drop table legacy_tokens; create schema \"Order\";
         create table \"Order\".\"my \"\"oauth.\"\" tokens\" (\"Key Id\" int primary key, \"user\" text, \"Provider\" text, \"User Id\" text, \"Access-Token\" text);
         insert into \"Order\".\"my \"\"oauth.\"\" tokens\" values (1, 'x', 'google', 'U1', 'ya29.token-of-one')",
    )
    .await;
    let run = async |arguments: &[&str]| store.run(&bed, folder.path(), arguments).await.ended_with(0);
    let init = run(&["init", "--table", "Order.my \"oauth.\" tokens"]).await;
    let said = "grant usage on schema \"Order\" to";
    assert!(init.stdout.contains(said), "{}", init.stdout);
    run(&["migrate"]).await;
    assert_eq!(bed.api.stored_count(), 1);
}

#[tokio::test]
async fn what_cannot_be_guessed_is_marked() {
    let store = Store::of("authjs-pg");
    let bed = Bed::with(Simulator::builder()).await;
    bed.sql(
        "drop table legacy_tokens;
         create table by_day (id int, day date, app text, user_id text, token text, primary key (id, day)) partition by range (day);
         create table plain (x int)",
    )
    .await;
    for (table, said) in [
        ("by_day", "# OPEN: no key of integers, texts or UUIDs is unique"),
        ("plain", "# OPEN: no column looks like a token."),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let init = store
            .run(&bed, folder.path(), &["init", "--table", table])
            .await
            .ended_with(0);
        assert!(init.stdout.contains("look for OPEN"), "{}", init.stdout);
        let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
        assert!(written.contains(said), "{said}: {written}");
        if table == "by_day" {
            continue;
        }
        let doctor = store.run(&bed, folder.path(), &["doctor"]).await.ended_with(2);
        assert!(doctor.stdout.contains("\nTo fix\n"), "{}", doctor.stdout);
    }
}

#[tokio::test]
async fn a_role_that_may_not_read_the_table_is_told_so() {
    let store = Store::of("authjs-pg");
    let (bed, folder) = (Bed::new().await, tempfile::tempdir().unwrap());
    let (url, _) = bed.database.create_guest().await;
    let mut command = store.command(&bed, folder.path(), &["init"]);
    command.env("SOURCE_DATABASE_URL", url);
    let init = crate::support::bed::ended(command.output()).await.ended_with(0);
    let said = "This role may not read \"public\".\"legacy_tokens\"";
    assert!(init.stdout.contains(said), "{}", init.stdout);
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_no_matter_for_doctor() {
    let store = Store::of("authjs-pg");
    let (bed, folder) = (Bed::new().await, tempfile::tempdir().unwrap());
    let mut command = store.command(&bed, folder.path(), &["init"]);
    command.env("SOURCE_DATABASE_URL", "postgres://u:p@127.0.0.1:1/none");
    let init = crate::support::bed::ended(command.output()).await.ended_with(6);
    assert!(
        init.stderr.contains("cannot be inspected") && !init.stderr.contains("doctor"),
        "{}",
        init.stderr
    );
}
