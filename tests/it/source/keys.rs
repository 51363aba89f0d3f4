//! Keys: every row once, in the order of the key, over many small pages.

use crate::support::{
    database::TestDatabase,
    source::{keys, open, pages, plain, read},
};

/// Fills a table `tokens` with rows of the given keys, in disorder.
async fn table(key_type: &str, keys: &str) -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(&format!(
            "create table tokens (id {key_type} primary key, token text); \
             insert into tokens select id, 'at-' || id::text from ({keys}) as keys (id) order by random()"
        ))
        .await;
    database
}

/// Reads the table three rows at a time and compares with what the database says itself.
async fn all_are_read_in_order(database: &TestDatabase, rows: usize) {
    let settings = plain(database, "table = \"tokens\"\nkey = \"id\"\npage_size = 3");
    let pages = pages(&mut open(&settings).await.unwrap()).await.unwrap();
    assert_eq!(pages.len(), rows.div_ceil(3));
    for (number, page) in pages.iter().enumerate() {
        assert_eq!(page.number, u64::try_from(number).unwrap());
        assert_eq!(page.last, page.tokens.last().unwrap().key);
    }
    let tokens: Vec<_> = pages.into_iter().flat_map(|page| page.tokens).collect();
    let expected = database
        .texts("select t.id::text from tokens t order by t.id")
        .await;
    assert_eq!(expected.len(), rows);
    assert_eq!(keys(&tokens), expected);
    for token in &tokens {
        let value = token.access_token.as_ref().unwrap().reveal();
        assert_eq!(value, format!("at-{}", token.key));
    }
}

#[tokio::test]
async fn integers_of_every_width_ascend_as_numbers() {
    for (key_type, keys) in [
        ("smallint", "select generate_series(-7, 25)"),
        ("int", "select generate_series(-7, 25)"),
        ("bigint", "select 9223372036854775807 - generate_series(0, 32)"),
    ] {
        all_are_read_in_order(&table(key_type, keys).await, 33).await;
    }
}

#[tokio::test]
async fn uuids_ascend_as_the_database_orders_them() {
    let database = table("uuid", "select gen_random_uuid() from generate_series(1, 50)").await;
    all_are_read_in_order(&database, 50).await;
}

const STRANGE_TEXTS: &str = r#"values ('a'), ('A'), ('b'), ('B'), ('ab'), ('aB'), ('it''s'), ('say "hi"'), ('ünï'), ('日本'),
    ('😀'), (''), (' '), (' a'), ('a '), ('10'), ('9'), ('-1'), ('\\'), ('%s'), ('$1'), (E'line\nbreak'), (E'tab\t'),
    ('null'), ('É'), ('e'), ('f'), (repeat('x', 2000))"#;

#[tokio::test]
async fn strange_texts_are_keys_like_any_other() {
    for key_type in ["text", "varchar(3000)"] {
        all_are_read_in_order(&table(key_type, STRANGE_TEXTS).await, 28).await;
    }
}

#[tokio::test]
async fn texts_ascend_as_the_collation_of_their_column_orders_them() {
    let database = TestDatabase::create().await;
    let languages = database
        .texts("select collname::text from pg_collation where collname in ('C', 'und-x-icu', 'en_US.utf8')")
        .await;
    for collation in languages {
        let database = table(&format!("text collate \"{collation}\""), STRANGE_TEXTS).await;
        all_are_read_in_order(&database, 28).await;
    }
}

#[tokio::test]
async fn a_page_goes_on_after_any_key() {
    let database = table("int", "select generate_series(1, 12)").await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"id\"");
    let mut source = open(&settings).await.unwrap();
    let page = source.page(Some(&"9".into()), None).await.unwrap().unwrap();
    assert_eq!(keys(&page.tokens), ["10", "11", "12"]);
    assert!(source.page(Some(&"12".into()), None).await.unwrap().is_none());
}

#[tokio::test]
async fn the_key_may_be_mapped_to_a_field_as_well() {
    let database = table("int", "select generate_series(1, 12)").await;
    let source = r#"
        table = "tokens"
        key = "id"
        page_size = 3
        [source.columns]
        app = { sql = "id::text" }
        user_id = "id"
        external_identifier = { sql = "(select 'x' || id)" }
        access_token = "token"
    "#;
    let settings = crate::support::settings::settings(database.url(), source).source;
    let tokens = read(&settings).await.unwrap();
    let expected: Vec<String> = (1..=12).map(|id| id.to_string()).collect();
    assert_eq!(keys(&tokens), expected);
    assert!(
        tokens
            .iter()
            .all(|token| token.user_id.as_deref() == Some(token.key.as_str()))
    );
}

#[tokio::test]
async fn a_key_without_an_index_will_do_if_it_is_unique() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int, token text); \
             insert into tokens select n, 't' from generate_series(1, 10) n; insert into tokens values (null, 'dead')",
        )
        .await;
    let source = "table = \"tokens\"\nkey = \"id\"\npage_size = 4\nwhere = \"token <> 'dead' -- buried\"";
    assert_eq!(read(&plain(&database, source)).await.unwrap().len(), 10);
}
