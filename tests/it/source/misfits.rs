//! What does not fit is said before the first row is read: every problem by its key, with what to do about
//! it.

use tokenferry::{postgres::FailureKind, reader::SourceError};

use crate::support::{
    database::TestDatabase,
    settings::settings,
    source::{COLUMNS, open, plain, problem, problems, read},
};

async fn tokens() -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table legacy_oauth_tokens (id int primary key, token text, raw bytea, price numeric, \
                                               flag boolean, made timestamptz, twice int, gaps int); \
             insert into legacy_oauth_tokens select n, 'ya29.secret-' || n, 'x', 1, true, now(), n / 2, nullif(n, 3) \
             from generate_series(1, 9) n",
        )
        .await;
    database
}

const TABLE: &str = "table = \"legacy_oauth_tokens\"";

/// The table above, with one more or another column mapped.
fn with_column(database: &TestDatabase, column: &str) -> tokenferry::config::SourceSettings {
    settings(
        database.url(),
        &format!("{TABLE}\nkey = \"id\"\n{COLUMNS}{column}"),
    )
    .source
}

#[tokio::test]
async fn a_missing_table_is_named_with_its_nearest_neighbour() {
    let database = tokens().await;
    database
        .execute("create schema crm; create table crm.grants (id int)")
        .await;
    for (wrong, near) in [
        ("legacy_oauth_token", Some("legacy_oauth_tokens")),
        ("Legacy_OAuth_Tokens", Some("legacy_oauth_tokens")),
        ("crm.grant", Some("crm.grants")),
        ("crm.legacy_oauth_tokens", Some("legacy_oauth_tokens")),
        ("nowhere.legacy_oauth_tokens", Some("legacy_oauth_tokens")),
        ("zzz", None),
    ] {
        let source = format!("table = \"{wrong}\"\nkey = \"id\"");
        let (key, must) = problem(&plain(&database, &source)).await;
        assert_eq!(key, "source.table");
        assert!(must.contains(&format!("\"{wrong}\", which this database does not have")));
        let hint = near.map(|near| format!("did you mean \"{near}\"?"));
        assert_eq!(must.contains("did you mean"), hint.is_some(), "{must}");
        assert!(must.contains(&hint.unwrap_or_default()), "{must}");
    }
}

#[tokio::test]
async fn all_problems_are_named_at_once() {
    let database = tokens().await;
    let source = format!(
        r#"
        {TABLE}
        key = "idd"
        where = "revoked is null"
        [source.columns]
        app = "tokn"
        user_id = {{ sql = "user_id + " }}
        access_token = "raw"
        updated_at = "flag"
        "#
    );
    let found = problems(&settings(database.url(), &source).source).await;
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    for (part, hint) in [
        ("`source.key` names the column \"idd\"", "did you mean \"id\"?"),
        (
            "`source.where` is not a condition over these rows",
            "\"revoked\" does not exist",
        ),
        (
            "`source.columns.app` names the column \"tokn\"",
            "did you mean \"token\"?",
        ),
        ("`source.columns.user_id` is not an expression", "syntax error"),
        (
            "`source.columns.access_token` is bytea",
            "convert_from(column, 'UTF8')",
        ),
        ("`source.columns.updated_at` must be a timestamp or a number", ""),
    ] {
        assert!(
            said.iter().any(|text| text.contains(part) && text.contains(hint)),
            "{part} … {hint}: {said:#?}"
        );
    }
    assert_eq!(said.len(), 6, "{said:#?}");
    let together = SourceError::Misfit(found).to_string();
    assert!(said.iter().all(|one| together.contains(one)), "{together}");
}

#[tokio::test]
async fn a_column_that_resembles_none_is_answered_with_all() {
    let database = tokens().await;
    let (key, must) = problem(&with_column(&database, "granted_by = \"zzz\"")).await;
    assert_eq!(key, "source.columns.granted_by");
    assert!(must.contains("the columns are id, token, raw, price"), "{must}");
}

#[tokio::test]
async fn a_promise_of_a_parent_that_its_children_do_not_keep_is_none() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int not null unique, token text); \
             create table more () inherits (tokens); \
             insert into tokens values (1, 't'); insert into more values (2, 't')",
        )
        .await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"id\"");
    assert_eq!(read(&settings).await.unwrap().len(), 2);
    database.execute("alter table more alter id drop not null").await;
    assert_eq!(read(&settings).await.unwrap().len(), 2, "there is none yet");
    database.execute("insert into more values (null, 't')").await;
    let (key, must) = problem(&settings).await;
    assert_eq!(key, "source.key");
    assert!(must.contains("is null in at least one row"), "{must}");
}

#[tokio::test]
async fn nobody_keeps_the_promise_of_a_foreign_table() {
    let database = TestDatabase::create().await;
    let is_there = "select name::text from pg_available_extensions where name = 'file_fdw'";
    if database.texts(is_there).await.is_empty() {
        return;
    }
    database
        .execute(
            "create extension file_fdw; create server files foreign data wrapper file_fdw; \
             create foreign table tokens (id int not null, token text) server files \
                    options (program 'printf \"1,t\\n,t\\n\"', format 'csv')",
        )
        .await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"id\"");
    let (_, must) = problem(&settings).await;
    assert!(must.contains("is null in at least one row"), "{must}");
}

#[tokio::test]
async fn a_unique_index_of_a_parent_says_nothing_of_its_children() {
    let database = tokens().await;
    database
        .execute("create table child () inherits (legacy_oauth_tokens); insert into child select * from only legacy_oauth_tokens")
        .await;
    let (key, must) = problem(&plain(&database, &format!("{TABLE}\nkey = \"id\""))).await;
    assert_eq!(key, "source.key");
    assert!(must.contains("is not unique"), "{must}");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let database = tokens().await;
    for (key, expected) in [
        ("twice", "is not unique"),
        ("gaps", "is null in at least one row"),
        ("made", "uuid, text or enum type, and \"made\" is TIMESTAMPTZ"),
        ("raw", "uuid, text or enum type, and \"raw\" is BYTEA"),
        ("ids", "did you mean \"id\"?"),
    ] {
        let (found, must) = problem(&plain(&database, &format!("{TABLE}\nkey = \"{key}\""))).await;
        assert_eq!(found, "source.key");
        assert!(must.contains(expected), "{key}: {must}");
    }
    // What the condition leaves out may be as it likes.
    let settings = plain(
        &database,
        &format!("{TABLE}\nkey = \"twice\"\nwhere = \"id % 2 = 0 -- every other\""),
    );
    assert_eq!(read(&settings).await.unwrap().len(), 4);
    let settings = plain(
        &database,
        &format!("{TABLE}\nkey = \"gaps\"\nwhere = \"gaps > 0 or false\""),
    );
    assert_eq!(read(&settings).await.unwrap().len(), 8);
}

#[tokio::test]
async fn texts_that_the_columns_collation_takes_for_equal_are_no_keys() {
    let database = TestDatabase::create().await;
    let icu = "select collname::text from pg_collation where collname = 'und-x-icu'";
    if database.texts(icu).await.is_empty() {
        // A server without ICU has no such collation.
        return;
    }
    database
        .execute(
            "create collation lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             create table tokens (id text collate lax not null, token text); \
             create unique index by_bytes on tokens (id collate \"C\"); \
             insert into tokens select chr(97 + n % 26) || n / 26, 'at' from generate_series(0, 99) n; \
             insert into tokens select upper(id), 'at' from tokens limit 25",
        )
        .await;
    let source = "table = \"tokens\"\nkey = \"id\"\npage_size = 10";
    let (key, must) = problem(&plain(&database, source)).await;
    assert_eq!(key, "source.key");
    assert!(
        must.contains("is not unique") && must.contains("collation lax"),
        "{must}"
    );
    // By another collation they are, and all are read.
    let by_bytes =
        "query = \"select id collate \\\"C\\\" as id, token from tokens\"\nkey = \"id\"\npage_size = 10";
    assert_eq!(read(&plain(&database, by_bytes)).await.unwrap().len(), 125);
    // And so they are where the collation itself tells them apart.
    database
        .execute("delete from tokens where id = upper(id) collate \"C\"")
        .await;
    assert_eq!(read(&plain(&database, source)).await.unwrap().len(), 100);
}

#[tokio::test]
async fn an_index_that_does_not_cover_all_rows_is_no_promise() {
    let database = tokens().await;
    database
        .execute(
            "create unique index on legacy_oauth_tokens (twice) where id % 2 = 0; \
             create unique index on legacy_oauth_tokens (twice, id); \
             create unique index on legacy_oauth_tokens ((twice * 100 + id)); \
             create unique index on legacy_oauth_tokens (gaps)",
        )
        .await;
    for (key, expected) in [("twice", "is not unique"), ("gaps", "is null")] {
        let (_, must) = problem(&plain(&database, &format!("{TABLE}\nkey = \"{key}\""))).await;
        assert!(must.contains(expected), "{must}");
    }
}

#[tokio::test]
async fn a_key_of_a_query_or_a_view_is_looked_at_row_by_row() {
    let database = tokens().await;
    database
        .execute("create view doubled as select * from legacy_oauth_tokens union all select * from legacy_oauth_tokens")
        .await;
    for relation in ["table = \"doubled\"", "query = \"select * from doubled\""] {
        let (key, must) = problem(&plain(&database, &format!("{relation}\nkey = \"id\""))).await;
        assert_eq!(key, "source.key");
        assert!(must.contains("is not unique"), "{must}");
    }
}

#[tokio::test]
async fn a_column_of_the_wrong_type_is_told_what_it_should_be() {
    let database = tokens().await;
    for (field, column, expected) in [
        ("refresh_token", "raw", "is bytea"),
        ("refresh_token", "price", "must be of a text type"),
        ("access_token_expiry", "flag", "must be a timestamptz"),
        ("scopes", "price", "must be text[], a JSON array, or text"),
        ("updated_at", "token", "must be a timestamp or a number"),
        ("granted_by", "flag", "must be of a text, integer or uuid type"),
        ("tenant_id", "made", "must be of a text, integer or uuid type"),
    ] {
        let (key, must) = problem(&with_column(&database, &format!("{field} = \"{column}\""))).await;
        assert_eq!(key, format!("source.columns.{field}"));
        assert!(must.contains(expected), "{must}");
    }
    let remedy = "refresh_token = { sql = \"convert_from(raw, 'UTF8')\" }";
    let read = read(&with_column(&database, remedy)).await.unwrap();
    assert_eq!(read[0].refresh_token.as_ref().unwrap().reveal(), "x");
}

#[tokio::test]
async fn a_wrong_expression_is_named_without_its_values() {
    let database = tokens().await;
    for (sql, expected) in [
        ("nosuch(token)", "nosuch(text) does not exist"),
        ("token ||", "syntax error"),
        ("count(*) over", "syntax error"),
        ("'hunter2'::int", "could not process a value (SQLSTATE 22P02)"),
        (
            "token) from legacy_oauth_tokens; drop table legacy_oauth_tokens; --",
            "syntax error",
        ),
    ] {
        let column = format!("granted_by = {{ sql = \"{sql}\" }}");
        let (key, must) = problem(&with_column(&database, &column)).await;
        assert_eq!(key, "source.columns.granted_by");
        assert!(
            must.contains("is not an expression over these rows"),
            "{sql}: {must}"
        );
        assert!(
            must.contains(expected) && !must.contains("hunter2"),
            "{sql}: {must}"
        );
    }
    for condition in ["token", "nosuch = 1", "id >", "id > 1 order by id"] {
        let source = format!("{TABLE}\nkey = \"id\"\nwhere = \"{condition}\"");
        let (key, must) = problem(&plain(&database, &source)).await;
        assert_eq!(key, "source.where");
        assert!(must.contains("is not a condition over these rows"), "{must}");
    }
}

#[tokio::test]
async fn an_expression_that_fails_for_another_reason_is_placed_and_values_are_kept_back() {
    let database = tokens().await;
    database
        .execute(
            "create function shout(text) returns text language plpgsql as \
             $$ begin raise exception 'cannot shout %', $1 using errcode = 'TF001'; end $$",
        )
        .await;
    for sql in [
        "token::regclass::text",
        "case when id > 5 then shout(token) else 'ok' end",
    ] {
        let column = format!("granted_by = {{ sql = \"{sql}\" }}");
        let mut settings = with_column(&database, &column);
        settings.page_size = 3;
        let error = read(&settings).await.unwrap_err();
        let SourceError::Rows { after, .. } = &error else {
            panic!("{sql}: {error:?}")
        };
        // Whether the rows before it on its page were handed out first is up to the planner.
        let places: &[&str] = if sql.starts_with("case") {
            &["3", "4", "5"]
        } else {
            &["(the beginning)"]
        };
        assert!(places.contains(&after.as_str()), "{sql}: {after}");
        let mut said = format!("{error:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            said += &error.to_string();
            cause = error.source();
        }
        assert!(!said.contains("ya29") && !said.contains("secret"), "{said}");
        assert!(said.contains("SQLSTATE"), "{said}");
    }
}

async fn failure_of(url: &str) -> FailureKind {
    let source = format!("{TABLE}\nkey = \"id\"\n{COLUMNS}");
    match open(&settings(url, &source).source).await {
        Err(SourceError::Database(failure)) => failure.kind,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn who_may_not_read_is_told_so() {
    let database = tokens().await;
    let (url, guest) = database.create_guest().await;
    assert_eq!(failure_of(&url).await, FailureKind::Permission);
    // One column too few is as bad, and one schema too few, too.
    database
        .execute(&format!("grant select (id) on legacy_oauth_tokens to {guest}"))
        .await;
    assert_eq!(failure_of(&url).await, FailureKind::Permission);
    database
        .execute(&format!(
            "grant select (id, token) on legacy_oauth_tokens to {guest}"
        ))
        .await;
    let source = format!("{TABLE}\nkey = \"id\"\n{COLUMNS}");
    assert_eq!(read(&settings(&url, &source).source).await.unwrap().len(), 9);
    database
        .execute("create schema hidden; create table hidden.tokens (id int primary key, token text)")
        .await;
    let source = format!("table = \"hidden.tokens\"\nkey = \"id\"\n{COLUMNS}");
    let error = open(&settings(&url, &source).source).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Database(failure) if failure.kind == FailureKind::Permission),
        "{error:?}"
    );
}

#[tokio::test]
async fn strangers_and_absent_databases_are_a_matter_of_permission() {
    let database = tokens().await;
    let stranger = database.url_for("nobody_of_that_name", "guess", None);
    assert_eq!(failure_of(&stranger).await, FailureKind::Permission);
    let (_, guest) = database.create_guest().await;
    let absent = database.url_for(&guest, "guest", Some("no_such_database"));
    assert_eq!(failure_of(&absent).await, FailureKind::Permission);
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    // A port that was free a moment ago.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://u:p@127.0.0.1:{port}/db");
    assert_eq!(failure_of(&url).await, FailureKind::Unreachable);
}
