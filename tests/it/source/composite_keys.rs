//! Keys of several columns, and of types that are ordered in ways of their own.

use tokenferry::{domain::KeyRange, reader::Source};

use crate::support::{
    bed::{Bed, TOKEN},
    database::TestDatabase,
    source::{keys, open, pages, plain, problem, read},
};

/// Reads a table three rows at a time, by pages, ranges and keys, and compares with what the database says.
async fn all_are_read_in_order(database: &TestDatabase, table: &str, columns: &[&str]) {
    let list = |each: &dyn Fn(&str) -> String| {
        columns
            .iter()
            .map(|&name| each(name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let key = list(&|name| format!("\"{name}\""));
    // An output column of the same name would come first.
    let order = list(&|name| format!("t.\"{name}\""));
    let settings = plain(
        database,
        &format!("table = \"{table}\"\nkey = [{key}]\npage_size = 3"),
    );
    let text = match columns {
        [_] => format!("{key}::text"),
        _ => format!(
            "json_build_array({})::text",
            list(&|name| format!("\"{name}\"::text"))
        ),
    };
    let expected = database
        .texts(&format!("select {text} from {table} t order by {order}"))
        .await;
    assert!(expected.len() > 6, "{expected:?}");
    let mut source = open(&settings).await.unwrap();
    let found = pages(&mut source).await.unwrap();
    assert_eq!(found.len(), expected.len().div_ceil(3));
    let tokens: Vec<_> = found.into_iter().flat_map(|page| page.tokens).collect();
    assert_eq!(keys(&tokens), expected);

    // A page between two keys, and rows by their keys.
    let key = |at: usize| expected[at].as_str().into();
    let between = source.page(Some(&key(1)), Some(&key(3))).await.unwrap().unwrap();
    assert_eq!(keys(&between.tokens), &expected[2..=3]);
    let wanted = [key(0), key(4)];
    let rows = source.rows(&wanted).await.unwrap().unwrap();
    assert_eq!(keys(&rows.tokens), [expected[0].clone(), expected[4].clone()]);
    digests_add_up(&mut source, &expected).await;
}

/// The digest of all rows is that of the first and of the rest.
async fn digests_add_up(source: &mut Source, expected: &[String]) {
    let range = |after: Option<usize>, until: usize| KeyRange {
        after: after.map(|at| expected[at].as_str().into()),
        until: expected[until].as_str().into(),
        digest: (),
    };
    let last = expected.len() - 1;
    let ranges = [range(None, 2), range(Some(2), last), range(None, last)];
    let digests = source.digests(&ranges, 7).await.unwrap();
    let [Some(mut parts), Some(rest), Some(whole)] = digests[..] else {
        panic!("{digests:?}");
    };
    parts += rest;
    assert_eq!(parts, whole);
    assert_eq!(usize::try_from(whole.rows).unwrap(), expected.len());
}

const PAIRS: &str = r#"values ('a', 'x'), ('a', 'X'), ('a', '1,2'), ('a,1', '2'), ('ab', ''), ('', 'ab'), ('it''s', '"q"'),
    ('[1]', '\'), ('ü', E'\n'), ('b', '10'), ('b', '9')"#;

#[tokio::test]
async fn keys_of_two_texts_are_read_in_the_order_of_both() {
    let database = TestDatabase::create().await;
    database
        .execute(&format!(
            "create table tokens (provider text, \"Account Id\" text, token text, primary key (provider, \"Account Id\")); \
             insert into tokens select a, b, 't' from ({PAIRS}) as pairs (a, b) order by random(); \
             create view seen as select * from tokens; \
             create table parted (provider text, \"Account Id\" text, token text, primary key (provider, \"Account Id\")) \
                 partition by hash (provider); \
             create table parted_0 partition of parted for values with (modulus 2, remainder 0); \
             create table parted_1 partition of parted for values with (modulus 2, remainder 1); \
             insert into parted select * from tokens"
        ))
        .await;
    for table in ["tokens", "seen", "parted"] {
        all_are_read_in_order(&database, table, &["provider", "Account Id"]).await;
    }
}

#[tokio::test]
async fn other_types_are_keys_alone_and_together() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create schema ext; create extension citext schema ext; \
             create type \"Kind.Of\" as enum ('zebra', 'ant', 'Bee'); \
             create domain code as varchar(20) check (value <> ''); \
             create domain amount as numeric; \
             create table tokens (number numeric, name ext.citext, padded char(8), kind \"Kind.Of\", code code, \
                                  amount amount, token text); \
             insert into tokens \
             select n, case when n % 2 = 0 then 'Name-' else 'nAME-' end || n, 'p' || n, \
                    (array['zebra', 'ant', 'Bee'])[n % 3 + 1]::\"Kind.Of\", 'c' || n, n * 10, 't' \
             from generate_series(1, 12) n order by random(); \
             update tokens set number = number + 99999999999999999999999 where number > 9",
        )
        .await;
    for columns in [
        &["number"][..],
        &["name"],
        &["padded"],
        &["code"],
        &["amount"],
        &["kind", "number"],
        &["name", "padded"],
        &["kind", "name", "amount"],
    ] {
        let list: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
        for index in ["", "create unique index by_key on tokens (COLUMNS)"] {
            database
                .execute(&index.replace("COLUMNS", &list.join(", ")))
                .await;
            all_are_read_in_order(&database, "tokens", columns).await;
        }
        database.execute("drop index by_key").await;
    }
    // Of an enum alone there are not enough values.
    database.execute("delete from tokens where number > 3").await;
    let settings = plain(&database, "table = \"tokens\"\nkey = \"kind\"\npage_size = 1");
    assert_eq!(keys(&read(&settings).await.unwrap()), ["zebra", "ant", "Bee"]);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (a text, b int, c numeric, made date, token text); \
             insert into tokens values ('x', 1, 1, now(), 't'), ('x', 2, 1.5, now(), 't'), ('y', 1, 2, now(), 't')",
        )
        .await;
    for (key, said) in [
        ("[\"a\", \"d\"]", "names the column \"d\", which does not exist"),
        (
            "[\"a\", \"made\"]",
            "must be of an integer, numeric, uuid, text or enum type, and \"made\" is DATE",
        ),
        ("[\"b\", \"a\"]", ""),
        ("\"a\"", "is not unique: at least two rows share a key"),
    ] {
        let settings = plain(&database, &format!("table = \"tokens\"\nkey = {key}"));
        if said.is_empty() {
            assert_eq!(read(&settings).await.unwrap().len(), 3);
            continue;
        }
        let (at, must) = problem(&settings).await;
        assert_eq!(at, "source.key");
        assert!(must.contains(said), "{must}");
    }
    let fraction = read(&plain(&database, "table = \"tokens\"\nkey = \"c\""))
        .await
        .unwrap_err();
    assert!(
        fraction.to_string().contains("does not come after it"),
        "{fraction}"
    );
    database.execute("insert into tokens values ('z', null)").await;
    let (_, must) = problem(&plain(&database, "table = \"tokens\"\nkey = [\"a\", \"b\"]")).await;
    assert!(must.contains("is null in at least one row"), "{must}");
}

#[tokio::test]
async fn a_table_without_an_id_is_migrated_listed_and_found_again() {
    let bed = Bed::new().await.set(
        "source.table = \"account\"\nsource.key = [\"provider\", \"providerAccountId\"]\nsource.page_size = 7\n\
         source.columns.user_id = \"userId\"",
    );
    bed.sql(&format!(
        "create table account (\"userId\" text, provider text, \"providerAccountId\" text, access_token text, refresh_token text, \
                               scope text, expires_at int, tenant_id text, token_type text, external_id text, id_token text, \
                               granted_by text, updated_at timestamptz, primary key (provider, \"providerAccountId\")); \
         insert into account (\"userId\", provider, \"providerAccountId\", access_token) \
         select 'user-' || n, case when n % 2 = 0 then 'google' else 'github' end, 'id ' || n, '{TOKEN}-' || n \
         from generate_series(1, 40) n; \
         insert into account (\"userId\", provider, \"providerAccountId\") values ('user-x', 'google', 'o''b\"x')"
    ))
    .await;
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["failed"]),
        (&40.into(), &1.into())
    );
    let listed = bed.run(&["failures"]).await.ended_with(0);
    let sql = listed
        .stdout
        .lines()
        .find_map(|line| line.find("select \"provider\"").map(|at| line[at..].to_owned()))
        .unwrap_or_else(|| panic!("{}", listed.stdout));
    assert!(
        sql.contains("where (\"provider\", \"providerAccountId\") in (('google', 'o''b\"x'))"),
        "{sql}"
    );
    assert_eq!(bed.texts(&sql).await, ["google"]);
    let key = "[\"google\", \"o'b\\\"x\"]";
    let shown = bed.run(&["show", key]).await.ended_with(0);
    assert!(shown.stdout.contains("no_token"), "{}", shown.stdout);
    // Nothing is sent again; one that was repaired is.
    bed.sql(&format!(
        "update account set access_token = '{TOKEN}-x' where \"userId\" = 'user-x'"
    ))
    .await;
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&again["tokens"]["committed"], &again["tokens"]["unchanged"]),
        (&1.into(), &40.into())
    );
    let doctor = bed.run(&["doctor", "-v"]).await;
    assert!(
        doctor
            .stdout
            .contains("account_pkey is unique and orders the pages"),
        "{}",
        doctor.stdout
    );
}
