//! The session: named, bounded in time, unable to write, and taken up again when it breaks off.

use std::time::Duration;

use tokenferry::{
    postgres::{FailureKind, Patience},
    reader::{Source, SourceError},
};
use tokio::time::{Instant, timeout};

use crate::support::{
    database::TestDatabase,
    settings::settings,
    source::{COLUMNS, PATIENCE, keys, open, pages, plain},
};

async fn forty() -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int primary key, token text); \
             insert into tokens select n, 'at-' || n from generate_series(1, 40) n",
        )
        .await;
    database
}

const TABLE: &str = "table = \"tokens\"\nkey = \"id\"\npage_size = 3";

#[tokio::test]
async fn an_expression_cannot_write() {
    let database = forty().await;
    database
        .execute(
            "create table spoils (value text); \
             create function steal(value text) returns text language sql volatile as \
             $$ insert into spoils values (value) returning value $$; \
             create function steal_hard(value text) returns text language plpgsql volatile as \
             $$ begin insert into spoils values (value); return value; end $$",
        )
        .await;
    for sql in ["steal(token)", "steal_hard(token)"] {
        let source = format!("{TABLE}\n{COLUMNS}granted_by = {{ sql = \"{sql}\" }}");
        let settings = settings(database.url(), &source).source;
        let failed = async {
            let mut source = open(&settings).await?;
            pages(&mut source).await
        };
        let error = failed.await.unwrap_err();
        let (SourceError::Database(failure) | SourceError::Rows { source: failure, .. }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(failure.sqlstate.as_deref(), Some("25006"));
        assert!(failure.to_string().contains("read-only"), "{failure}");
    }
    assert!(database.texts("select value from spoils").await.is_empty());
}

#[tokio::test]
async fn the_server_sees_who_is_reading() {
    let database = forty().await;
    let settings = plain(&database, TABLE);
    let mut source = Source::open(&settings, "tokenferry crm-tokens", &Patience::new(PATIENCE))
        .await
        .unwrap();
    source.page(None, None).await.unwrap();
    let seen = "select state from pg_stat_activity \
                where datname = current_database() and application_name = 'tokenferry crm-tokens'";
    // Idle, and in no transaction: nothing is held between two pages.
    assert_eq!(database.texts(seen).await, ["idle"]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let database = forty().await;
    let slow = format!(
        "{TABLE}\nstatement_timeout = \"300ms\"\n{COLUMNS}granted_by = {{ sql = \"pg_sleep(60)::text\" }}"
    );
    let settings = settings(database.url(), &slow).source;
    let begin = Instant::now();
    let mut source = open(&settings).await.unwrap();
    let error = timeout(Duration::from_secs(20), source.page(None, None))
        .await
        .expect("bounded")
        .unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(10));
    let SourceError::Database(failure) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn a_key_that_cannot_be_proven_in_time_asks_for_an_index() {
    let database = forty().await;
    database
        .execute("create view slow as select id, token from tokens where pg_sleep(1) is not null")
        .await;
    let source = "table = \"slow\"\nkey = \"id\"\nstatement_timeout = \"300ms\"";
    let (key, must) = crate::support::source::problem(&plain(&database, source)).await;
    assert_eq!(key, "source.key");
    assert!(must.contains("has no unique index"), "{must}");
}

const TERMINATE: &str = "select pg_terminate_backend(pid)::text from pg_stat_activity \
                         where datname = current_database() and application_name = 'tokenferry tests'";

#[tokio::test]
async fn a_connection_lost_between_two_pages_is_taken_up_again() {
    let database = forty().await;
    let settings = plain(&database, TABLE);
    let mut source = open(&settings).await.unwrap();
    let mut read = Vec::new();
    let mut numbers = Vec::new();
    let mut last = None;
    while let Some(page) = source.page(last.as_ref(), None).await.unwrap() {
        read.extend(page.tokens);
        numbers.push(page.number);
        last = Some(page.last);
        if page.number % 4 == 1 {
            assert_eq!(database.texts(TERMINATE).await, ["true"]);
        }
    }
    let expected: Vec<_> = (1..=40).map(|id| id.to_string()).collect();
    assert_eq!(keys(&read), expected);
    assert_eq!(numbers, (0..14).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_connection_lost_within_a_page_is_taken_up_again() {
    let database = forty().await;
    let slow = format!("{TABLE}\n{COLUMNS}granted_by = {{ sql = \"pg_sleep(0.1)::text\" }}");
    let settings = settings(database.url(), &slow).source;
    let mut source = open(&settings).await.unwrap();
    let cut = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        database.texts(TERMINATE).await
    };
    let (page, cut) = tokio::join!(source.page(None, None), cut);
    assert_eq!(cut, ["true"]);
    assert_eq!(keys(&page.unwrap().unwrap().tokens), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_database_that_stays_away_is_given_up_when_patience_ends() {
    let database = forty().await;
    let (url, guest) = database.create_guest().await;
    database
        .execute(&format!("grant select on tokens to {guest}"))
        .await;
    let settings = settings(&url, &format!("{TABLE}\n{COLUMNS}")).source;
    let patience = Patience::new(Duration::from_millis(500));
    let mut source = Source::open(&settings, "tokenferry tests", &patience)
        .await
        .unwrap();
    let page = source.page(None, None).await.unwrap().unwrap();
    // To the guest, the server is full from now on.
    database
        .execute(&format!("alter role {guest} connection limit 0"))
        .await;
    database.texts(TERMINATE).await;
    let begin = Instant::now();
    let error = timeout(Duration::from_secs(20), source.page(Some(&page.last), None))
        .await
        .expect("bounded")
        .unwrap_err();
    let SourceError::Database(failure) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(begin.elapsed() > Duration::from_millis(200), "it was tried again");

    database
        .execute(&format!("alter role {guest} connection limit -1"))
        .await;
    let next = source.page(Some(&page.last), None).await.unwrap().unwrap();
    assert_eq!(keys(&next.tokens), ["4", "5", "6"]);
}

#[tokio::test]
async fn a_page_of_large_rows_is_cut_and_nothing_is_lost() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int primary key, token text); \
             insert into tokens select n, repeat(chr(97 + n % 26), 1 << 20) from generate_series(1, 30) n",
        )
        .await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"id\"");
    let pages = pages(&mut open(&settings).await.unwrap()).await.unwrap();
    assert!(pages.len() >= 4, "{} pages", pages.len());
    for page in &pages {
        assert!(page.tokens.len() <= 8, "{} rows of 1 MiB", page.tokens.len());
    }
    let tokens: Vec<_> = pages.into_iter().flat_map(|page| page.tokens).collect();
    let expected: Vec<_> = (1..=30).map(|id| id.to_string()).collect();
    assert_eq!(keys(&tokens), expected);
    for token in tokens {
        let value = token.access_token.as_ref().unwrap().reveal();
        let letter =
            char::from(b'a' + u8::try_from(token.key.as_str().parse::<u32>().unwrap() % 26).unwrap());
        assert_eq!(value.len(), 1 << 20);
        assert!(value.chars().all(|found| found == letter));
    }
}
