//! Values on which the database fails: each fails its own row, and every other row is read.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokenferry::{
    config::SourceSettings,
    domain::{LegacyToken, Unreadable, UnreadableCause},
    reader::SourceError,
    secret::Secret,
};
use tokio::time::sleep;
use url::Url;

use crate::support::{
    bed::Bed,
    database::TestDatabase,
    settings::settings,
    source::{COLUMNS, keys, open, pages, read},
};

/// Rows 1 to `count` with a JSON answer each, and this one in place of some of them.
async fn answers(count: i32, bad: &[i32], answer: &str) -> TestDatabase {
    let database = TestDatabase::create().await;
    let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
    database
        .execute(&format!(
            "create table tokens (id int primary key, token text, answer text); \
             insert into tokens select n, 'at-' || n, \
                    '{{\"a\": \"at-' || n || '\", \"t\": \"2030-01-01\"}}' from generate_series(1, {count}) n; \
             update tokens set answer = '{answer}' where id in (0{}{})",
            if bad.is_empty() { "" } else { ", " },
            bad.join(", ")
        ))
        .await;
    database
}

fn mapped(database: &TestDatabase, columns: &str) -> SourceSettings {
    let source = format!("table = \"tokens\"\nkey = \"id\"\npage_size = 100\n[source.columns]\n{columns}");
    settings(database.url(), &source).source
}

const BY_JSON: &str = "app = { sql = \"'google'\" }\nuser_id = { sql = \"'u'\" }\n\
                       access_token = { sql = \"answer::jsonb->>'a'\" }";

fn unreadable(tokens: &[LegacyToken]) -> Vec<(&str, Unreadable)> {
    let bad = |token: &'_ LegacyToken| Some((token.key.as_str().to_owned(), token.unreadable?));
    let keys = tokens.iter().filter(|token| bad(token).is_some());
    keys.map(|token| (token.key.as_str(), token.unreadable.unwrap()))
        .collect()
}

#[tokio::test]
async fn a_bad_value_fails_its_row_alone_wherever_it_stands() {
    for (bad, answer) in [
        (vec![1], "not json"),
        (vec![100], "{\"a\": \"\\u0000\"}"),
        (vec![101, 137, 138, 300], ""),
        (vec![2, 3, 5, 7, 11, 13, 250], "{"),
        ((1..=300).collect(), "not json"),
    ] {
        let database = answers(300, &bad, answer).await;
        let tokens = read(&mapped(&database, BY_JSON)).await.unwrap();
        let all: Vec<String> = (1..=300).map(|id| id.to_string()).collect();
        assert_eq!(keys(&tokens), all, "{bad:?}");
        for token in &tokens {
            let is_bad = bad.iter().any(|id| id.to_string() == token.key.as_str());
            let value = token.access_token.as_ref().map(Secret::reveal);
            let good = format!("at-{}", token.key);
            assert_eq!(value, (!is_bad).then_some(good.as_str()), "{bad:?}");
            let noted = is_bad.then_some(Unreadable {
                field: "access_token",
                decides_place: false,
                cause: UnreadableCause::DatabaseError,
            });
            assert_eq!(token.unreadable, noted, "{bad:?}");
        }
    }
}

#[tokio::test]
async fn one_among_many_is_found_in_a_few_steps() {
    let database = answers(600, &[600], "not json").await;
    let settings = settings(
        database.url(),
        &format!("table = \"tokens\"\nkey = \"id\"\npage_size = 500\n[source.columns]\n{BY_JSON}"),
    );
    assert_eq!(read(&settings.source).await.unwrap().len(), 600);
    // What a session counted is there once the session is gone.
    let sessions = "select pid::text from pg_stat_activity
                    where datname = current_database() and application_name = 'tokenferry tests'";
    while !database.texts(sessions).await.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let failed = database
        .texts("select xact_rollback::text from pg_stat_database where datname = current_database()")
        .await;
    let failed: u32 = failed[0].parse().unwrap();
    // The page, its seven halves and the fields of the row by themselves; row by row it is a hundred.
    assert!(failed < 30, "{failed} statements failed");
}

#[tokio::test]
async fn every_field_may_be_the_one() {
    let database = answers(30, &[17], "{\"t\": \"2030-02-30\"}").await;
    let date = "(answer::jsonb->>'t')::timestamptz";
    for (field, sql, decides_place) in [
        ("app", format!("({date})::text"), true),
        ("user_id", format!("({date})::text"), true),
        ("login_id", format!("({date})::text"), true),
        ("tenant_id", format!("({date})::text"), true),
        ("scopes", format!("({date})::text"), true),
        ("external_identifier", format!("({date})::text"), true),
        ("updated_at", date.to_owned(), true),
        ("access_token_expiry", date.to_owned(), false),
        ("access_token_type", format!("({date})::text"), false),
        ("refresh_token", format!("({date})::text"), false),
        (
            "granted_by",
            "(select n::text from generate_series(1, case id when 17 then 2 else 1 end) n)".to_owned(),
            false,
        ),
        ("id_token", format!("({date})::text"), false),
    ] {
        let line = format!("{field} = {{ sql = \"{sql}\" }}");
        let others = [
            "app = { sql = \"'google'\" }",
            "user_id = { sql = \"'u'\" }",
            "access_token = \"token\"",
        ];
        let others = others
            .iter()
            .filter(|other| !other.starts_with(&format!("{field} =")));
        let columns = others.fold(line, |columns, other| columns + "\n" + other);
        let tokens = read(&mapped(&database, &columns)).await.unwrap();
        assert_eq!(tokens.len(), 30, "{field}");
        let name = tokens[16].unreadable.unwrap_or_else(|| panic!("{field}"));
        assert_eq!((name.field, name.decides_place), (field, decides_place));
        assert_eq!(unreadable(&tokens).len(), 1, "{field}");
    }
}

#[tokio::test]
async fn rows_are_read_so_without_an_index_and_by_their_keys() {
    let database = answers(300, &[250], "not json").await;
    database
        .execute("alter table tokens drop constraint tokens_pkey")
        .await;
    let settings = mapped(&database, BY_JSON);
    let tokens = read(&settings).await.unwrap();
    assert_eq!(tokens.len(), 300);
    assert_eq!(unreadable(&tokens).len(), 1);
    let wanted = ["250", "7", "9999"].map(tokenferry::domain::SourceKey::from);
    let page = open(&settings)
        .await
        .unwrap()
        .rows(&wanted)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.tokens.len(), 2);
    assert_eq!(unreadable(&page.tokens).len(), 1);
}

#[tokio::test]
async fn a_condition_that_fails_is_no_field_and_ends_the_reading() {
    let database = answers(300, &[250], "not json").await;
    let mut settings = mapped(&database, BY_JSON);
    settings.condition = Some("answer::jsonb->>'a' is not null".to_owned());
    let error = pages(&mut open(&settings).await.unwrap()).await.unwrap_err();
    assert!(matches!(&error, SourceError::Rows { .. }), "{error:?}");
    assert!(error.to_string().contains("source.where"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_text_fail_their_row_and_as_a_key_they_are_named() {
    let database = TestDatabase::create().await;
    let name = database.role("ascii");
    database
        .execute(&format!(
            "create database {name} encoding 'SQL_ASCII' locale 'C' template template0"
        ))
        .await;
    let mut url = Url::parse(database.url()).unwrap();
    url.set_path(&name);
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    let latin = "convert_from('\\x6dfc6c6c6572', 'SQL_ASCII')";
    connection
        .execute(AssertSqlSafe(format!(
            "create table tokens (id int primary key, name text, token text); \
             insert into tokens select n, 'u-' || n, 'at-' || n from generate_series(1, 20) n; \
             update tokens set name = {latin} where id = 7"
        )))
        .await
        .unwrap();
    let columns =
        "[source.columns]\napp = { sql = \"'google'\" }\nuser_id = \"name\"\naccess_token = \"token\"";
    let source = format!("table = \"tokens\"\nkey = \"id\"\n{columns}");
    let tokens = read(&settings(url.as_str(), &source).source).await.unwrap();
    assert_eq!(tokens.len(), 20);
    let expected = Unreadable {
        field: "user_id",
        decides_place: true,
        cause: UnreadableCause::DatabaseError,
    };
    assert_eq!(unreadable(&tokens), [("7", expected)]);

    connection
        .execute("create unique index on tokens (name)")
        .await
        .unwrap();
    let source = format!("table = \"tokens\"\nkey = \"name\"\n{COLUMNS}");
    let error = read(&settings(url.as_str(), &source).source).await.unwrap_err();
    assert!(matches!(&error, SourceError::NotAKey { .. }), "{error:?}");
    assert!(error.to_string().contains("not valid text"), "{error}");
    connection.close().await.unwrap();
    database.execute(&format!("drop database {name}")).await;
}

#[tokio::test]
async fn the_others_arrive_and_the_row_is_listed_with_its_column() {
    let columns = "source.columns.external_identifier = { sql = \"(external_id::date)::text\" }\n\
                   source.columns.updated_at = { sql = \"nullif(granted_by, 'admin')::timestamptz\" }\n\
                   source.columns.id_token = { sql = \"(token_type::jsonb)->>'id'\" }";
    let bed = Bed::new().await.set(columns);
    bed.user_rows(1, 600).await;
    bed.sql("update legacy_tokens set granted_by = 's3cr3t-day' where id = 400; update legacy_tokens set token_type = 'null'")
        .await;
    bed.sql(
        "update legacy_tokens set token_type = 's3cr3t-json' where id = 500; \
             update legacy_tokens set external_id = 's3cr3t-date' where id = 300",
    )
    .await;
    for arguments in [
        &["migrate", "--dry-run", "--json"][..],
        &["migrate", "--json", "-vv"],
    ] {
        let ran = bed.run(arguments).await.ended_with(3);
        let report = ran.json();
        assert_eq!(report["failures_by_code"], json!({ "unreadable_value": 3 }));
        assert_eq!(report["tokens"]["selected"], 600);
        assert_eq!(report["tokens"]["committed"], 597);
        assert!(
            ran.stderr
                .contains("rows with the same destination cannot be found"),
            "{}",
            ran.stderr
        );
        assert!(!(ran.stdout + &ran.stderr).contains("s3cr3t-"));
    }
    assert_eq!(bed.api.stored_count(), 597);
    let reasons = bed
        .texts("select source_key || ' ' || reason from tokenferry.tokens where state = 'failed' order by 1")
        .await;
    assert!(
        reasons[0].starts_with("300 the database cannot read the value of `external_identifier`"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].starts_with("400 the database cannot read the value of `updated_at`"),
        "{reasons:?}"
    );
    assert!(
        reasons[2].starts_with("500 the database cannot read the value of `id_token`"),
        "{reasons:?}"
    );
    assert!(!bed.ledger_dump().await.contains("s3cr3t-day"));

    // Put right, it goes up; the others are not sent again.
    bed.sql("update legacy_tokens set granted_by = null where id = 400")
        .await;
    let report = bed.migrate().await.ended_with(3).json();
    assert_eq!(report["tokens"]["committed"], 1);
    assert_eq!(report["tokens"]["failed"], 2);
}
