//! What the database says about values is never repeated, whatever class of error it is and whoever raised
//! it.

use crate::support::bed::{Bed, TOKEN};

/// A class of its own each: of rights, of time, of resources, of connections, of clashes, of values.
const STATES: [&str; 9] = [
    "42501", "25006", "28000", "57014", "53000", "58030", "40001", "22023", "P0001",
];

#[tokio::test]
async fn an_error_of_a_function_does_not_bring_a_token_to_light() {
    for state in STATES {
        let bed = Bed::new().await.set(
            "source.columns.granted_by = { sql = \"cannot_open(access_token)\" }\nstop.after_unreachable = \"1s\"",
        );
        bed.user_rows(1, 3).await;
        bed.sql(&format!(
            "create function cannot_open(t text) returns text language plpgsql stable as $$ begin \
             raise exception using errcode = '{state}', message = 'cannot open value ' || t || chr(27) || '[31m', \
                                   detail = t, hint = t, column = t, table = t; end $$"
        ))
        .await;
        for arguments in [
            &["migrate", "-vv"][..],
            &["migrate", "--dry-run", "-vv"],
            &["doctor"],
        ] {
            let mut command = bed.command(arguments);
            command.env("RUST_LOG", "trace");
            let ran = crate::support::bed::ended(command.output()).await;
            for said in [&ran.stdout, &ran.stderr] {
                assert!(!said.contains(TOKEN), "{state} {arguments:?}: {said}");
                assert!(!said.contains('\u{1b}'), "{state} {arguments:?}: {said}");
            }
            if arguments[0] == "migrate" {
                // What is about a value fails its rows, and says so without the state.
                let is_about_a_value = matches!(state, "22023" | "P0001");
                let named = if is_about_a_value {
                    "unreadable_value"
                } else {
                    state
                };
                assert!(ran.stderr.contains(named), "{state}: {}", ran.stderr);
                assert_ne!(ran.code, 0, "{state}");
            }
        }
        assert!(!bed.ledger_dump().await.contains(TOKEN), "{state}");
    }
}

#[tokio::test]
async fn nor_does_an_error_of_a_condition_while_keys_are_proven() {
    let bed = Bed::new()
        .await
        .set("source.where = \"cannot_open(access_token)\"");
    bed.user_rows(1, 3).await;
    bed.sql(
        "alter table legacy_tokens drop constraint legacy_tokens_pkey; \
         create function cannot_open(t text) returns bool language plpgsql stable as $$ begin \
         raise exception using errcode = '42501', message = 'cannot open value ' || t; end $$",
    )
    .await;
    for arguments in [&["migrate", "-vv"][..], &["doctor"]] {
        let ran = bed.run(arguments).await.ended_with(6);
        assert!(
            !format!("{}{}", ran.stdout, ran.stderr).contains(TOKEN),
            "{}",
            ran.stderr
        );
    }
}

/// An error of the server's own has no function around it by which it is known.
#[tokio::test]
async fn nor_does_an_error_of_the_servers_own_that_names_a_value() {
    let bed = Bed::new()
        .await
        .set("source.columns.granted_by = { sql = \"current_setting(access_token)\" }");
    bed.user_rows(1, 3).await;
    for arguments in [
        &["migrate", "-vv"][..],
        &["migrate", "--dry-run", "-vv"],
        &["doctor"],
    ] {
        let ran = bed.run(arguments).await;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains(TOKEN), "{arguments:?}: {said}");
        assert!(
            arguments[0] == "doctor" || said.contains("SQLSTATE 42"),
            "{arguments:?}: {said}"
        );
        assert_ne!(ran.code, 0, "{arguments:?}");
    }
}
