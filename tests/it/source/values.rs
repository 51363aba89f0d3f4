//! Values: every form in which a field may be kept, read as what it means.

use tokenferry::{
    config::SourceSettings,
    domain::{Expiry, LegacyToken, Scopes, Version},
};

use crate::support::{database::TestDatabase, settings::settings, source::read};

/// A table with one column `v` of a type, the values numbered from 1.
async fn column(column_type: &str, values: &[&str]) -> TestDatabase {
    let database = TestDatabase::create().await;
    let rows: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(position, value)| format!("({}, {value})", position + 1))
        .collect();
    database
        .execute(&format!(
            "create type colour as enum ('red', 'deep blue'); \
             create domain epoch as bigint check (value >= 0); \
             create table tokens (id int primary key, v {column_type}); insert into tokens values {}",
            rows.join(", ")
        ))
        .await;
    database
}

fn mapped(database: &TestDatabase, field: &str) -> SourceSettings {
    let source = format!(
        r#"
        table = "tokens"
        key = "id"
        page_size = 4
        [source.columns]
        app = {{ sql = "'google'" }}
        user_id = {{ sql = "'u'" }}
        access_token = {{ sql = "'at'" }}
        {field} = "v"
        "#
    )
    // A field that is mapped here takes the place of the one above.
    .replace(
        if field == "access_token" {
            "access_token = { sql = \"'at'\" }"
        } else {
            "\0"
        },
        "",
    );
    settings(database.url(), &source).source
}

/// Reads the values from a column of that type, and what `pick` takes from the tokens.
async fn values<T>(
    field: &str,
    column_type: &str,
    values: &[&str],
    pick: impl Fn(LegacyToken) -> T,
) -> Vec<T> {
    let database = column(column_type, values).await;
    let tokens = read(&mapped(&database, field)).await.unwrap();
    tokens.into_iter().map(pick).collect()
}

async fn expiries(column_type: &str, of: &[&str]) -> Vec<Expiry> {
    values("access_token_expiry", column_type, of, |token| token.expiry).await
}

const AT: Expiry = Expiry::At(1_700_000_000);

#[tokio::test]
async fn an_expiry_may_be_a_time_with_a_zone() {
    let written = [
        "'2023-11-14 22:13:20+00'",
        "'2023-11-14 23:13:20.9+01'",
        "null",
        "'infinity'",
        "'-infinity'",
        "'9999-12-31 00:00:00+00'",
    ];
    let never = Expiry::Never;
    let expected = [AT, AT, Expiry::Unknown, never, Expiry::Unreadable, never];
    assert_eq!(expiries("timestamptz", &written).await, expected);
}

#[tokio::test]
async fn an_expiry_without_a_zone_is_utc_whatever_the_server_thinks() {
    let database = column("timestamp", &["'2023-11-14 22:13:20'", "'infinity'"]).await;
    database
        .execute(
            "do $$ begin execute format('alter database %I set timezone to ''Asia/Tokyo''', current_database()); end $$",
        )
        .await;
    // sqlx asks for UTC itself, so the setting is looked up where it is kept.
    let kept = "select unnest(setconfig) from pg_db_role_setting s join pg_database d on d.oid = setdatabase \
                where datname = current_database()";
    assert_eq!(database.texts(kept).await, ["TimeZone=Asia/Tokyo"]);
    let tokens = read(&mapped(&database, "access_token_expiry")).await.unwrap();
    let found: Vec<_> = tokens.iter().map(|token| token.expiry).collect();
    assert_eq!(found, [AT, Expiry::Never]);
}

#[tokio::test]
async fn an_expiry_may_be_a_number_of_seconds_or_milliseconds() {
    for column_type in [
        "bigint",
        "numeric",
        "double precision",
        "epoch",
        "text",
        "varchar",
    ] {
        let quoted = ["'1700000000'", "'1700000000123'", "'0'", "null"];
        let expected = [AT, AT, Expiry::Unknown, Expiry::Unknown];
        assert_eq!(expiries(column_type, &quoted).await, expected, "{column_type}");
    }
    assert_eq!(expiries("int", &["1700000000"]).await, [AT]);
    assert_eq!(expiries("numeric", &["1700000000.75"]).await, [AT]);
    let day = Expiry::At(1_699_920_000);
    assert_eq!(expiries("date", &["'2023-11-14'"]).await, [day]);
}

#[tokio::test]
async fn a_date_is_never_taken_for_milliseconds() {
    let dates = [
        "'5138-11-16'",
        "'9000-01-01'",
        "'9999-12-31'",
        "'infinity'",
        "'-infinity'",
        "'1970-01-01'",
    ];
    let expected = [
        Expiry::At(99_999_964_800),
        Expiry::At(221_845_392_000),
        Expiry::Never,
        Expiry::Never,
        Expiry::Unreadable,
        Expiry::Unknown,
    ];
    for column_type in ["date", "timestamp", "timestamptz"] {
        assert_eq!(expiries(column_type, &dates).await, expected, "{column_type}");
    }
    let versions = values(
        "updated_at",
        "date",
        &["'2023-11-14'", "'9999-12-31'", "'infinity'"],
        |token| token.version.get(),
    );
    let expected = [1_699_920_000_000_000, 253_402_214_400_000_000, i64::MAX];
    assert_eq!(versions.await, expected.map(Some));
}

#[tokio::test]
async fn an_expiry_in_a_text_may_be_a_date_and_is_unreadable_otherwise() {
    let written = ["'2023-11-14T22:13:20Z'", "' 1700000000 '", "'soon'", "''"];
    let expected = [AT, AT, Expiry::Unreadable, Expiry::Unknown];
    assert_eq!(expiries("text", &written).await, expected);
}

async fn scopes(column_type: &str, of: &[&str]) -> Vec<Scopes> {
    values("scopes", column_type, of, |token| token.scopes).await
}

fn listed(scopes: &[&str]) -> Scopes {
    Scopes::Listed(scopes.iter().map(|&scope| scope.to_owned()).collect())
}

#[tokio::test]
async fn scopes_may_be_an_array() {
    for column_type in ["text[]", "varchar(40)[]"] {
        let written = ["'{a,\"b c\"}'", "'{}'", "null", "'{https://x/y.z,\"q\\\"uote\"}'"];
        let expected = [
            listed(&["a", "b c"]),
            Scopes::Absent,
            Scopes::Absent,
            listed(&["https://x/y.z", "q\"uote"]),
        ];
        assert_eq!(scopes(column_type, &written).await, expected, "{column_type}");
    }
    let padded = scopes("char(10)[]", &["'{read,write}'"]).await;
    assert_eq!(padded, [listed(&["read", "write"])]);
    let odd = ["'{a,null}'", "'{{a,b},{c,d}}'"];
    let unreadable = [Scopes::Unreadable, Scopes::Unreadable];
    assert_eq!(scopes("text[]", &odd).await, unreadable);
}

#[tokio::test]
async fn scopes_may_be_json() {
    for column_type in ["json", "jsonb"] {
        let written = [
            r#"'["a ", "b"]'"#,
            "'[]'",
            "'\"null\"'",
            "null",
            "'\"a b\"'",
            r#"'{"a": 1}'"#,
            "'[1]'",
        ];
        let expected = [
            listed(&["a", "b"]),
            Scopes::Absent,
            Scopes::Absent,
            Scopes::Absent,
            listed(&["a", "b"]),
            Scopes::Unreadable,
            Scopes::Unreadable,
        ];
        assert_eq!(scopes(column_type, &written).await, expected, "{column_type}");
    }
}

#[tokio::test]
async fn scopes_may_be_a_text_of_any_kind() {
    for column_type in ["text", "varchar(40)"] {
        let written = [
            "'a b'",
            "'a,b'",
            "' a,  b '",
            "''",
            "' '",
            "null",
            r#"'["a","b"]'"#,
            "'[]'",
            "E'a\\nb'",
        ];
        let both = || listed(&["a", "b"]);
        let none = Scopes::Absent;
        let expected = [
            both(),
            both(),
            both(),
            none.clone(),
            none.clone(),
            none.clone(),
            both(),
            none,
            both(),
        ];
        assert_eq!(scopes(column_type, &written).await, expected, "{column_type}");
    }
}

#[tokio::test]
async fn a_version_orders_rows_by_time_or_by_number() {
    let versions = |column_type: &'static str, of: &'static [&'static str]| {
        values("updated_at", column_type, of, |token| token.version.get())
    };
    let times = versions(
        "timestamptz",
        &[
            "'2023-11-14 22:13:20.123456+00'",
            "'infinity'",
            "'-infinity'",
            "null",
        ],
    );
    assert_eq!(
        times.await,
        [Some(1_700_000_000_123_456), Some(i64::MAX), Some(i64::MIN), None]
    );
    let plain = versions("timestamp", &["'2023-11-14 22:13:20'"]).await;
    assert_eq!(plain, [Some(1_700_000_000_000_000)]);
    let numbers = versions("bigint", &["9223372036854775807", "-5", "null"]).await;
    assert_eq!(numbers, [Some(i64::MAX), Some(-5), None]);
    assert!(Version::new(None) < Version::new(Some(i64::MIN)));
}

#[tokio::test]
async fn texts_come_from_many_types_and_empty_ones_are_absent() {
    let users = |column_type: &'static str, of: &'static [&'static str]| {
        values("external_identifier", column_type, of, |token| {
            token.external_identifier
        })
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        users("text", &["'x'", "''", "null", "' '"]).await,
        [some("x"), None, None, some(" ")]
    );
    assert_eq!(users("colour", &["'deep blue'"]).await, [some("deep blue")]);
    assert_eq!(users("epoch", &["7"]).await, [some("7")]);
    assert_eq!(users("char(4)", &["'ab'"]).await, [some("ab")]);
    assert_eq!(
        users("uuid", &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]).await,
        [some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]
    );
}

#[tokio::test]
async fn text_that_ignores_case_is_text_and_keeps_its_case() {
    let database = TestDatabase::create().await;
    let available = "select name::text from pg_available_extensions where name = 'citext'";
    if database.texts(available).await.is_empty() {
        // Some distributions ship it apart from the server.
        return;
    }
    database
        .execute(
            "create extension citext; create table tokens (id int primary key, v citext, token citext, scopes citext[]); \
             insert into tokens values (1, 'Xy', 'At', '{A,b}')",
        )
        .await;
    let source = r#"
        table = "tokens"
        key = "id"
        [source.columns]
        app = "v"
        user_id = "v"
        access_token = "token"
        scopes = "scopes"
    "#;
    let tokens = read(&settings(database.url(), source).source).await.unwrap();
    assert_eq!(tokens[0].app.as_deref(), Some("Xy"));
    assert_eq!(tokens[0].access_token.as_ref().unwrap().reveal(), "At");
    assert_eq!(tokens[0].scopes, listed(&["A", "b"]));
}

#[tokio::test]
async fn secrets_are_taken_as_they_are() {
    let written = ["'ya29.a0 \"b\" ü'", "''", "null", "'ends in a break' || chr(10)"];
    let tokens = values("access_token", "text", &written, |token| {
        token.access_token.map(|value| value.reveal().to_owned())
    });
    let some = |text: &str| Some(text.to_owned());
    let expected = [some("ya29.a0 \"b\" ü"), None, None, some("ends in a break\n")];
    assert_eq!(tokens.await, expected);
}

#[tokio::test]
async fn every_field_finds_its_place() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id int primary key, a text, b text, c text, d text, e text, f bigint, g text, h text, \
                                  i text, j text, k text, l bigint); \
             insert into tokens values (1, 'app', 'user', 'tenant', 'at', 'rt', 1700000000, 'Bearer', 's1 s2', 'ext', \
                                        'idt', 'admin', 9)",
        )
        .await;
    let source = r#"
        table = "tokens"
        key = "id"
        [source.columns]
        app = "a"
        user_id = "b"
        tenant_id = "c"
        access_token = "d"
        refresh_token = "e"
        access_token_expiry = "f"
        access_token_type = "g"
        scopes = "h"
        external_identifier = "i"
        id_token = "j"
        granted_by = "k"
        updated_at = "l"
    "#;
    let tokens = read(&settings(database.url(), source).source).await.unwrap();
    let token = &tokens[0];
    let texts = [
        token.app.as_deref(),
        token.user_id.as_deref(),
        token.tenant_id.as_deref(),
        token.access_token_type.as_deref(),
        token.external_identifier.as_deref(),
        token.granted_by.as_deref(),
    ]
    .map(Option::unwrap);
    assert_eq!(texts, ["app", "user", "tenant", "Bearer", "ext", "admin"]);
    let secrets =
        [&token.access_token, &token.refresh_token, &token.id_token].map(|it| it.as_ref().unwrap().reveal());
    assert_eq!(secrets, ["at", "rt", "idt"]);
    assert_eq!(token.expiry, AT);
    assert_eq!(token.scopes, listed(&["s1", "s2"]));
    assert_eq!(token.version, Version::new(Some(9)));
    let shown = format!("{token:?}");
    assert!(!shown.contains("\"at\"") && !shown.contains("\"rt\"") && !shown.contains("\"idt\""));
}
