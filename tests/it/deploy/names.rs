//! The grants with names that SQL has to quote, and for a ledger that another role has begun.

use super::grants::{has_psql, psql};
use crate::support::bed::{Bed, ended};

const PASSWORD: &str = "chosen";

#[tokio::test]
async fn any_names_will_do_and_so_will_a_ledger_that_another_role_has_begun() {
    if !has_psql() {
        return;
    }
    let bed = Bed::new().await;
    bed.rows(1, 40).await;
    let (folder, table) = (r#""Crm ""x""""#, r#""Crm ""x"""."OAuth 'Tokens'""#);
    bed.sql(&format!(
        r#"create schema {folder}; alter table legacy_tokens rename column access_token to "accessToken";
           alter table legacy_tokens rename to "OAuth 'Tokens'"; alter table "OAuth 'Tokens'" set schema {folder}"#
    ))
    .await;
    let schema = r#"Led "ger" %I"#;
    let bed = bed.set(&format!(
        "source.table = {}\nsource.columns.access_token = \"accessToken\"\nledger.schema = '{schema}'",
        toml::Value::from(table)
    ));
    bed.run(&["migrate", "--limit", "10"]).await.ended_with(0);

    let role = |of: &str| format!(r#"{} {of} o'"x" %I"#, bed.database.role("any"));
    let columns = r#"id, provider, user_id, tenant_id, "accessToken", refresh_token, expires_at, token_type, scope,
                     external_id, id_token, granted_by, updated_at"#;
    let ledger = ("ledger", schema.to_owned());
    // They may be run again.
    for _ in 0..2 {
        let names = [
            ("role", role("source")),
            ("table", table.to_owned()),
            ("columns", columns.to_owned()),
        ];
        psql(&bed, "source-grants.sql", &names).await;
        let names = [
            ledger.clone(),
            ("role", role("ledger")),
            ("report", role("report")),
        ];
        psql(&bed, "ledger-grants.sql", &names).await;
        psql(
            &bed,
            "ledger-split-grants.sql",
            &[ledger.clone(), ("role", role("runtime"))],
        )
        .await;
    }
    for of in ["source", "ledger", "report", "runtime"] {
        let quoted = role(of).replace('"', "\"\"");
        bed.sql(&format!("alter role \"{quoted}\" password '{PASSWORD}'"))
            .await;
    }
    let url = |of: &str| bed.database.url_for(&role(of), PASSWORD, None);
    let run = async |of: &str, arguments: &[&str]| {
        let mut command = bed.command(arguments);
        command
            .env("SOURCE_DATABASE_URL", url("source"))
            .env("TOKENFERRY__LEDGER__URL", url(of));
        ended(command.output()).await
    };
    run("runtime", &["migrate", "--limit", "10"]).await.ended_with(0);
    run("ledger", &["migrate"]).await.ended_with(0);
    run("report", &["status"]).await.ended_with(0);
    run("report", &["migrate"]).await.ended_with(6);
    assert_eq!(bed.api.stored_count(), 40);
}
