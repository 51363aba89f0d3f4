//! What rows are read from: tables, views and queries, whatever they are called, and the rows a condition
//! leaves.

use crate::support::{
    database::TestDatabase,
    settings::settings,
    source::{COLUMNS, keys, plain, problem, read},
};

/// A table `tokens` with the keys 1 to 12.
async fn twelve() -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int primary key, token text, revoked_at timestamptz); \
             insert into tokens select n, 'at-' || n, case when n % 4 = 0 then now() end from generate_series(1, 12) n; \
             create view living as select * from tokens where revoked_at is null",
        )
        .await;
    database
}

const ALL: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
const LIVING: [&str; 9] = ["1", "2", "3", "5", "6", "7", "9", "10", "11"];

#[tokio::test]
async fn a_query_may_end_in_a_semicolon_or_a_comment() {
    let database = twelve().await;
    for query in [
        "select * from tokens",
        "select * from tokens;",
        "select * from tokens ; \n",
        "select * from tokens -- all of them",
        "select * from tokens -- all of them;",
        "-- all of them\nselect * from tokens order by id desc",
        "with t as (select id, token from tokens) select * from t",
    ] {
        let source = format!("query = '''{query}'''\nkey = \"id\"\npage_size = 5");
        let tokens = read(&plain(&database, &source)).await.unwrap();
        assert_eq!(keys(&tokens), ALL, "{query}");
    }
}

#[tokio::test]
async fn a_query_is_narrowed_by_the_condition() {
    let database = twelve().await;
    let source = r#"
        query = "select t.*, id * 10 as tenfold from tokens t"
        key = "tenfold"
        where = "revoked_at is null or id = 12"
        page_size = 2
    "#;
    let tokens = read(&plain(&database, source)).await.unwrap();
    let expected = ["10", "20", "30", "50", "60", "70", "90", "100", "110", "120"];
    assert_eq!(keys(&tokens), expected);
}

#[tokio::test]
async fn a_view_is_read_like_a_table() {
    let database = twelve().await;
    let source = "table = \"living\"\nkey = \"id\"\npage_size = 2";
    let tokens = read(&plain(&database, source)).await.unwrap();
    assert_eq!(keys(&tokens), LIVING);
}

#[tokio::test]
async fn a_partitioned_table_is_read_as_one() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int primary key, token text) partition by hash (id); \
             create table tokens_0 partition of tokens for values with (modulus 2, remainder 0); \
             create table tokens_1 partition of tokens for values with (modulus 2, remainder 1); \
             insert into tokens select n, 'at' from generate_series(1, 12) n",
        )
        .await;
    let source = "table = \"tokens\"\nkey = \"id\"\npage_size = 5";
    assert_eq!(keys(&read(&plain(&database, source)).await.unwrap()), ALL);
}

#[tokio::test]
async fn a_condition_binds_less_than_the_page() {
    let database = twelve().await;
    // Without parentheses of our own, `or` would let rows of earlier pages in again.
    for condition in [
        "revoked_at is null or false",
        "revoked_at is null -- the living",
        "not revoked_at is not null",
    ] {
        let source = format!("table = \"tokens\"\nkey = \"id\"\nwhere = \"{condition}\"\npage_size = 2");
        let tokens = read(&plain(&database, &source)).await.unwrap();
        assert_eq!(keys(&tokens), LIVING, "{condition}");
    }
    let nothing = "table = \"tokens\"\nkey = \"id\"\nwhere = \"false\"";
    assert!(read(&plain(&database, nothing)).await.unwrap().is_empty());
}

#[tokio::test]
async fn names_are_taken_letter_by_letter() {
    let database = TestDatabase::create().await;
    database
        .execute(
            r#"create schema "We.ird ""S""";
               create table "We.ird ""S"""."Order.Table ""x""" ("The Id" bigint primary key, "Tok""en" text, "select" text);
               insert into "We.ird ""S"""."Order.Table ""x""" select n, 'at-' || n, 'u' from generate_series(1, 12) n"#,
        )
        .await;
    let source = r#"
        table = '"We.ird ""S"""."Order.Table ""x"""'
        key = "The Id"
        page_size = 5
        [source.columns]
        app = { sql = "'google'" }
        user_id = "select"
        access_token = 'Tok"en'
    "#;
    let tokens = read(&settings(database.url(), source).source).await.unwrap();
    assert_eq!(keys(&tokens), ALL);
    let last = tokens.last().unwrap();
    assert_eq!(last.access_token.as_ref().unwrap().reveal(), "at-12");
    assert_eq!(last.user_id.as_deref(), Some("u"));
}

#[tokio::test]
async fn an_expression_may_name_the_table_and_look_elsewhere() {
    let database = twelve().await;
    database
        .execute(
            "create table owners (id int primary key, owner text); insert into owners values (3, 'carol')",
        )
        .await;
    let source = r#"
        table = "public.tokens"
        key = "id"
        where = "tokens.id <= 3"
        [source.columns]
        app = { sql = "case when tokens.id = 1 then 'google' else 'github' end -- by age" }
        user_id = { sql = "(select owner from owners where owners.id = tokens.id)" }
        access_token = { sql = "upper(token)" }
    "#;
    let tokens = read(&settings(database.url(), source).source).await.unwrap();
    let seen: Vec<_> = tokens
        .iter()
        .map(|token| {
            let value = token.access_token.as_ref().unwrap().reveal();
            (token.app.as_deref().unwrap(), token.user_id.as_deref(), value)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("google", None, "AT-1"),
            ("github", None, "AT-2"),
            ("github", Some("carol"), "AT-3"),
        ]
    );
}

#[tokio::test]
async fn a_query_that_cannot_run_is_named_as_such() {
    let database = twelve().await;
    for query in [
        "select * from nowhere",
        "delete from tokens",
        "select * fro tokens",
    ] {
        let source = format!("query = \"{query}\"\nkey = \"id\"\n{COLUMNS}");
        let (key, must) = problem(&settings(database.url(), &source).source).await;
        assert_eq!(key, "source.query");
        assert!(
            must.contains("is not a query that this database can run"),
            "{must}"
        );
    }
}

#[tokio::test]
async fn the_planner_knows_about_how_many_rows_there_are() {
    let database = twelve().await;
    database.execute("analyze tokens").await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"id\"");
    let mut source = crate::support::source::open(&settings).await.unwrap();
    assert_eq!(source.expected_rows().await, Some(12));
}
