//! A table of rows of which each breaks a rule, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokenferry::domain::{Rule, Severity};

use crate::support::bed::{Bed, TOKEN};

/// What is done to a good row, and the codes that this is answered with.
const BROKEN: &[(&str, &[&str])] = &[
    ("provider = null", &["no_app"]),
    ("provider = '  '", &["no_app"]),
    ("provider = 'gogle'", &["app_not_mapped"]),
    ("provider = 'Google'", &["app_not_mapped"]),
    ("user_id = null", &["no_subject"]),
    ("user_id = e' \\t'", &["no_subject"]),
    ("user_id = ' ', tenant_id = 'acme'", &["user_blank"]),
    ("user_id = repeat('u', 600)", &["id_too_long"]),
    ("provider = access_token", &["app_not_mapped"]),
    ("user_id = access_token", &["id_is_token"]),
    ("external_id = 'x-' || access_token", &["id_is_token"]),
    ("tenant_id = 'ya29.a0AfB_byC3xQeW7'", &["id_is_token"]),
    ("user_id = user_id || ' '", &["id_padded"]),
    ("tenant_id = e'acme\\n'", &["id_padded"]),
    ("user_id = e'user\\x1b[31m-' || id", &["id_control_characters"]),
    ("user_id = 'null'", &["id_placeholder"]),
    ("tenant_id = 'NULL'", &["id_placeholder"]),
    ("external_id = 'N/A'", &["id_placeholder"]),
    ("access_token = null", &["no_token"]),
    ("access_token = ''", &["no_token"]),
    ("access_token = 'NULL'", &["token_placeholder"]),
    ("refresh_token = 'undefined'", &["token_placeholder"]),
    ("access_token = access_token || e'\\n'", &["token_whitespace"]),
    ("refresh_token = e'first\\r\\nsecond'", &["token_whitespace"]),
    ("access_token = '\"' || access_token || '\"'", &["token_quoted"]),
    ("access_token = 'Bearer ' || access_token", &["token_prefixed"]),
    (
        "access_token = '{\"access_token\": \"' || access_token || '\"}'",
        &["token_is_json"],
    ),
    (
        "access_token = 'gAAAAA' || repeat('B', 92) || '=='",
        &["token_encrypted"],
    ),
    (
        "refresh_token = 'eyJpdiI6IkJ3PT0iLCJ2YWx1ZSI6IngiLCJtYWMiOiJ5In0='",
        &["token_encrypted"],
    ),
    (
        "access_token = e'-----BEGIN PGP MESSAGE-----\\n\\nww0EBwMC\\n-----END PGP MESSAGE-----\\n'",
        &["token_encrypted"],
    ),
    (
        "access_token = '\\xc30d0407030295ed4ba5aa6b5c0674d23601'",
        &["token_encrypted"],
    ),
    (
        // What is opened may be sealed once more.
        "id_token = 'gAAAAABlU_EAAAECAwQFBgcICQoLDA0ODx_ZVs_GzGhacwVP_ydzCz9tF8DHdrusSENqlW_5x9yPpyt1xFSSkTdB9AjPeZNtHjmiYxnoTqZ0tlJlmleoAoOfwI58hOTb9YDoAtH3iVAu'",
        &["token_encrypted"],
    ),
    (
        "access_token = 'access_token=gho_1&scope=repo'",
        &["token_is_form"],
    ),
    (
        "access_token = encode(access_token::bytea, 'hex')",
        &["token_encoded"],
    ),
    ("access_token = repeat('xy', 4500)", &["too_large"]),
    ("scope = '{\"a\": true}'", &["scopes_unreadable"]),
    ("epoch = 'tomorrow'", &["expiry_unreadable"]),
    ("epoch = '1790000000000000'", &["expiry_scaled"]),
    ("epoch = '2208988800'", &["expiry_out_of_range"]),
    ("epoch = '-5'", &["expiry_out_of_range"]),
    ("id_token = 'in the clear'", &["not_decryptable"]),
    ("granted_by = 'broken'", &["unreadable_value"]),
    ("granted_by = repeat('g', 1048577)", &["value_too_large"]),
    // What goes up, and should be looked at.
    ("token_type = 'Bearer'", &["value_plain"]),
    (
        "access_token = 'eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..bm9uY2Vub25jZW5v.c2VhbGVk.dGFndGFndGFndGFndGFndA' || id",
        &["token_jwe"],
    ),
    ("tenant_id = ' '", &["tenant_blank"]),
    ("external_id = ' work'", &["external_identifier_unclean"]),
    (
        "access_token = access_token || ' ' || access_token",
        &["token_space"],
    ),
    ("access_token = access_token || 'ü'", &["token_not_ascii"]),
    ("refresh_token = access_token", &["tokens_identical"]),
    ("scope = '[\"a\", \"\"]'", &["scopes_empty"]),
    ("scope = 'a,b,a'", &["scopes_duplicate"]),
    ("scope = '[\"a b\", \"c\"]'", &["scopes_unsplit"]),
    (
        "epoch = '1790000', refresh_token = 'renews-' || id",
        &["expiry_implausible"],
    ),
    ("epoch = '-1'", &["expiry_never"]),
    ("epoch = '1600000000'", &["expired_without_refresh"]),
    (
        "access_token = 'eyJhbGciOiJub25lIn0.eyJleHAiOjE2MDAwMDAwMDB9.c2ln' || id",
        &["jwt_expiry_differs"],
    ),
    (
        "epoch = '3600'",
        &["expired_without_refresh", "expiry_implausible"],
    ),
];

/// The rows above among good ones. Row n is the n-th of the list, from 1.
async fn bed() -> Bed {
    let bed = Bed::new().await.set(
        "apps.google = \"google\"
         batch.max_bytes = \"8KiB\"
         source.page_size = 20
         source.columns.id_token = { column = \"id_token\", decrypt = \"fernet\" }
         source.columns.access_token_type = { column = \"token_type\", decrypt = \"fernet\", plain = \"accept\" }
         source.decrypt.fernet = \"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=\"
         source.columns.granted_by = { sql = \"case granted_by when 'broken' then granted_by::int::text else granted_by end\" }
         source.columns.access_token_expiry = { sql = \"coalesce(epoch, extract(epoch from expires_at)::text)\" }",
    );
    bed.sql("alter table legacy_tokens add epoch text").await;
    bed.user_rows(1, 300).await;
    for (number, (change, _)) in (1..).zip(BROKEN) {
        bed.sql(&format!("update legacy_tokens set {change} where id = {number}"))
            .await;
    }
    // An older row for the place of row 300.
    bed.sql(
        "update legacy_tokens set user_id = 'user-300', updated_at = now() - interval '1 day' where id = 299",
    )
    .await;
    bed
}

/// The codes by row, as they are expected.
fn expected(severity: Severity) -> BTreeMap<String, BTreeSet<String>> {
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (number, (_, codes)) in (1..).zip(BROKEN) {
        for code in *codes {
            if Rule::find(code).unwrap().severity() == severity {
                rows.entry(format!("{number}"))
                    .or_default()
                    .insert((*code).to_owned());
            }
        }
    }
    rows
}

/// "row code" pairs as a query gives them.
fn by_row(pairs: Vec<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in pairs {
        let (row, code) = pair.split_once(' ').unwrap();
        rows.entry(row.to_owned()).or_default().insert(code.to_owned());
    }
    rows
}

async fn findings(bed: &Bed, run: &Value, severity: &str) -> BTreeMap<String, BTreeSet<String>> {
    by_row(
        bed.texts(&format!(
            "select source_key || ' ' || error_code from tokenferry.findings where run_id = {run} and severity = '{severity}'"
        ))
        .await,
    )
}

#[tokio::test]
async fn every_rule_is_broken_by_a_row_that_is_named_and_no_bad_row_goes_up() {
    // Those about providers' tokens take another source: tests/it/provider.rs has them.
    let local = Rule::ALL
        .iter()
        .filter(|rule| !rule.is_asked() && !rule.code().starts_with("provider_"));
    let rules: BTreeSet<&str> = local.map(|rule| rule.code()).collect();
    let broken: BTreeSet<&str> = BROKEN
        .iter()
        .flat_map(|(_, codes)| codes.iter().copied())
        .collect();
    assert_eq!(broken, rules, "each rule has its row");

    let bed = bed().await;
    let (errors, warnings) = (expected(Severity::Error), expected(Severity::Warning));
    assert!(errors.len() >= 25);
    let dry = bed
        .run(&["migrate", "--dry-run", "--json", "-vv"])
        .await
        .ended_with(3);
    let (logged, dry) = (dry.stderr.clone(), dry.json());
    assert_eq!(findings(&bed, &dry["run_id"], "error").await, errors);
    assert_eq!(findings(&bed, &dry["run_id"], "warning").await, warnings);
    assert_eq!(bed.api.requests().all().len(), 0);
    let good = 300 - errors.len() - 1;
    let books =
        json!({"selected": 300, "committed": good, "failed": errors.len(), "superseded": 1, "unchanged": 0});
    assert_eq!(dry["tokens"], books);

    let real = bed.migrate().await.ended_with(3).json();
    assert_eq!(real["tokens"], books);
    assert_eq!(real["failures_by_code"], dry["failures_by_code"]);
    assert_eq!(real["warnings_by_code"], dry["warnings_by_code"]);
    let failed = "select source_key || ' ' || error_code from tokenferry.tokens where state = 'failed'";
    assert_eq!(by_row(bed.texts(failed).await), errors);
    assert_eq!(findings(&bed, &real["run_id"], "warning").await, warnings);
    assert!(findings(&bed, &real["run_id"], "error").await.is_empty());
    assert_eq!(bed.api.stored_count(), good, "and no bad one");
    assert_eq!(
        bed.number("select count(*) from tokenferry.tokens where refused_by = 'api'")
            .await,
        0
    );

    // What is stored and did not change is looked at no more.
    let again = bed.migrate().await.ended_with(3).json();
    assert_eq!(again["warnings_by_code"], json!({}));
    let ledger = bed.ledger_dump().await;
    for told in [&logged, &ledger] {
        assert!(
            !told.contains(TOKEN) && !told.contains("ww0EBwMC"),
            "no token in {told}"
        );
    }
}

#[tokio::test]
async fn problems_come_as_table_csv_and_json_with_the_sql_that_shows_their_rows() {
    let bed = bed().await;
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(3)
        .json();
    let run = dry["run_id"].to_string();
    let all = BROKEN.iter().map(|(_, codes)| codes.len()).sum::<usize>();

    let json = bed
        .run(&["failures", "--run", &run, "--format", "json"])
        .await
        .ended_with(0)
        .json();
    let json = json.as_array().unwrap();
    assert_eq!(json.len(), all);
    assert_eq!(json[0]["error_code"], "app_not_mapped");
    assert_eq!(json.last().unwrap()["severity"], "warning");
    let csv = bed
        .run(&["failures", "--run", &run, "--format", "csv"])
        .await
        .ended_with(0)
        .stdout;
    let lines = csv::Reader::from_reader(csv.as_bytes()).into_records().count();
    assert_eq!(lines, all);

    let table = bed.run(&["failures", "--run", &run]).await.ended_with(0);
    assert!(
        table.stderr.contains(&format!("{all} problems in run {run}")),
        "{}",
        table.stderr
    );
    let table = table.stdout;
    assert!(table.contains("5 × token_encrypted: 5 google\n"), "{table}");
    assert!(
        table.contains("1 × warning tokens_identical: 1 google\n"),
        "{table}"
    );
    // A cell may be wrapped within an escape.
    assert!(!table.contains('\u{1b}') && csv.contains("\\u{1b}"), "{table}");
    for told in [&table, &csv] {
        assert!(!told.contains(TOKEN), "{told}");
    }
    // Each query gives the rows of its group.
    let mut queries = 0;
    for query in table
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("select "))
    {
        assert!(!query.contains("_token\""), "tokens are not selected: {query}");
        let count = bed
            .number(&format!(
                "select count(*) from ({}) q",
                query.trim_end_matches(';')
            ))
            .await;
        assert!(count > 0, "{query}");
        queries += count;
    }
    assert_eq!(usize::try_from(queries).unwrap(), all);
}

#[tokio::test]
async fn of_many_rows_the_sql_names_all_where_the_ledger_is_beside_them_and_some_elsewhere() {
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    bed.sql("update legacy_tokens set access_token = null where id <= 50")
        .await;
    bed.migrate().await.ended_with(3);
    let table = bed.run(&["failures"]).await.ended_with(0).stdout;
    let query = table
        .lines()
        .find(|line| line.trim().starts_with("select "))
        .unwrap();
    let count = format!("select count(*) from ({}) q", query.trim().trim_end_matches(';'));
    assert_eq!(bed.number(&count).await, 50);

    let bed = bed.set("ledger.url = \"env:SOURCE_DATABASE_URL\"");
    let table = bed.run(&["failures"]).await.ended_with(0).stdout;
    let query = table
        .lines()
        .find(|line| line.trim().starts_with("select "))
        .unwrap();
    assert!(query.contains("/* and 30 more: "), "{query}");
    let count = format!("select count(*) from ({}) q", query.trim().trim_end_matches(';'));
    assert_eq!(bed.number(&count).await, 20);
}

#[tokio::test]
async fn warnings_of_a_real_run_are_listed_when_they_are_asked_for() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    bed.sql("update legacy_tokens set refresh_token = access_token where id = 3; update legacy_tokens set provider = null where id = 4")
        .await;
    let run = bed.migrate().await.ended_with(3).json()["run_id"].to_string();
    let keys = async |more: &[&str]| {
        let mut arguments = vec!["failures", "--run", &run, "--format", "json"];
        arguments.extend(more);
        let listed = bed.run(&arguments).await.ended_with(0).json();
        let keys = listed.as_array().unwrap().iter();
        keys.map(|row| row["source_key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]).await, ["4"]);
    assert_eq!(keys(&["--warnings"]).await, ["4", "3"]);
    // The summary counts one that failed, and so does the list.
    let listed = bed.run(&["failures", "--run", &run, "--warnings"]).await;
    assert!(
        listed
            .stderr
            .contains(&format!("2 problems in run {run} (1 failed, 1 with a warning)")),
        "{}",
        listed.stderr
    );
    assert_eq!(bed.run(&["failures", "--warnings"]).await.code, 2);
}

#[tokio::test]
async fn what_is_tolerated_goes_up_with_a_warning() {
    let bed = Bed::new()
        .await
        .set("rules.tolerate = [\"token_encrypted\", \"token_quoted\"]");
    bed.user_rows(1, 10).await;
    bed.sql(
        "update legacy_tokens set access_token = 'gAAAAA' || repeat('B', 92) || '==' where id = 3;
         update legacy_tokens set access_token = access_token || e'\\n' where id = 4",
    )
    .await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["failures_by_code"], &ran["warnings_by_code"]),
        (&json!({"token_whitespace": 1}), &json!({"token_encrypted": 1}))
    );
    assert_eq!(bed.api.stored_count(), 9);
    let text = bed.run(&["status"]).await.ended_with(0).stdout;
    assert!(text.contains("1 × warning token_encrypted: "), "{text}");
}

#[tokio::test]
async fn a_row_whose_user_is_white_space_supersedes_no_tenant_token() {
    let bed = Bed::new().await;
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, tenant_id, access_token, updated_at)
         values (1, 'google', null, 'acme', 'of-the-tenant', now() - interval '1 day'),
                (2, 'google', '  ', 'acme', 'of-somebody', now())",
    )
    .await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["failures_by_code"]),
        (&json!(1), &json!({"user_blank": 1}))
    );
}

#[tokio::test]
async fn a_column_of_tokens_in_place_of_a_name_or_an_id_is_repeated_nowhere() {
    for column in ["app", "user_id", "tenant_id", "external_identifier"] {
        let bed = Bed::new().await.set(&format!(
            "apps.google = \"google\"
             source.columns.{column} = \"access_token\""
        ));
        bed.user_rows(1, 30).await;
        let mut told = String::new();
        for arguments in [
            &["migrate", "--dry-run", "--json", "-vv"][..],
            &["migrate", "--json", "-vv"],
            &["failures"],
            &["failures", "--format", "csv"],
            &["status"],
            &["doctor"],
        ] {
            let ran = bed.run(arguments).await;
            told += &ran.stdout;
            told += &ran.stderr;
        }
        assert_eq!(bed.api.stored_count(), 0, "{column}");
        let rule = if column == "app" {
            "app_not_mapped"
        } else {
            "id_is_token"
        };
        assert!(told.contains(rule), "{column}: {told}");
        told += &bed.ledger_dump().await;
        assert!(!told.contains(TOKEN), "{column}: {told}");
    }
    let bed = Bed::new().await.set("source.key = \"access_token\"");
    let refused = bed.migrate().await.ended_with(2);
    assert!(
        refused.stderr.contains("`source.key` is the column of"),
        "{}",
        refused.stderr
    );
}
