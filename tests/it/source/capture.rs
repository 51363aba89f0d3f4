//! Whoever may create objects in a schema of the search path puts nothing of his own in the place of what the
//! program means.

use tokenferry::{config::AppMap, reader::SourceDiagnostics};

use crate::support::{
    database::TestDatabase,
    settings::settings,
    source::{keys, open, read},
};

/// Operators and functions that fit the types of what is read better than the catalog's. Each of them says
/// no, or nothing, and that it was called.
const ATTACK: &str = "create sequence called; grant usage on called to public;
    create function public.never(varchar, text) returns bool language sql volatile as $$ select nextval('public.called') < 0 $$;
    create function public.never(varchar, varchar) returns bool language sql volatile as $$ select nextval('public.called') < 0 $$;
    create function public.never(int, bigint) returns bool language sql volatile as $$ select nextval('public.called') < 0 $$;
    create operator public.> (leftarg = varchar, rightarg = text, function = public.never);
    create operator public.= (leftarg = varchar, rightarg = text, function = public.never);
    create operator public.<> (leftarg = varchar, rightarg = text, function = public.never);
    create operator public.= (leftarg = varchar, rightarg = varchar, function = public.never);
    create operator public.<> (leftarg = varchar, rightarg = varchar, function = public.never);
    create function public.array_to_json(text[]) returns json language sql volatile
        as $$ select json_build_array(nextval('public.called')::text) $$;
    create function public.encode(bytea, varchar) returns text language sql volatile as $$ select nextval('public.called')::text $$;
    create function public.btrim(varchar, text) returns text language sql volatile as $$ select nextval('public.called')::text $$;
    create function public.btrim(varchar) returns text language sql volatile as $$ select nextval('public.called')::text $$;
    create function public.hashtextextended(varchar, int) returns bigint language sql volatile
        as $$ select nextval('public.called') $$;
    create function public.hashtextextended(text, int) returns bigint language sql volatile as $$ select nextval('public.called') $$;
    create function public.octet_length(varchar) returns bigint language sql volatile as $$ select nextval('public.called') $$;
    create function public.\"left\"(varchar, int) returns text language sql volatile as $$ select nextval('public.called')::text $$;
    create function public.quote_ident(name) returns text language sql volatile as $$ select nextval('public.called')::text $$;
    create function public.has_table_privilege(regclass, text) returns bool language sql volatile
        as $$ select nextval('public.called') > 0 $$;
    create function public.format(text, name, name) returns text language sql volatile as $$ select nextval('public.called')::text $$;";

const SOURCE: &str = r#"
    table = "tokens"
    key = "id"
    page_size = 7
    [source.columns]
    app = "app"
    user_id = "owner"
    tenant_id = "tenant"
    access_token = "token"
    scopes = "scopes"
    updated_at = "changed"
"#;

/// Forty rows, every one twice at its destination, with a key and columns that are of no type the catalog's
/// own functions are made for.
async fn attacked() -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table tokens (id varchar primary key, app varchar, owner varchar, tenant varchar, token varchar, scopes text[], \
                                  changed timestamptz);
             insert into tokens select 'k' || n, 'google', 'u' || n % 20, null, 'at-' || n, array['a', 'b'], now() \
             from generate_series(1, 40) n",
        )
        .await;
    database.execute(ATTACK).await;
    database
}

async fn calls(database: &TestDatabase) -> Vec<String> {
    database
        .texts("select case when is_called then last_value else 0 end::text from called")
        .await
}

#[tokio::test]
async fn every_row_arrives_and_no_operator_or_function_of_others_is_called() {
    let database = attacked().await;
    let settings = settings(database.url(), SOURCE).source;
    let tokens = read(&settings).await.unwrap();
    let mut read = keys(&tokens);
    read.sort_unstable();
    let mut all: Vec<String> = (1..=40).map(|n| format!("k{n}")).collect();
    all.sort_unstable();
    assert_eq!(read, all);
    for token in &tokens {
        assert_eq!(token.user_id.as_deref().map(|user| &user[..1]), Some("u"));
    }

    let mut source = open(&settings).await.unwrap();
    let wanted = [tokens[3].key.clone(), tokens[30].key.clone()];
    assert_eq!(source.rows(&wanted).await.unwrap().unwrap().tokens.len(), 2);
    let census = source.count_rows_and_users().await.unwrap().unwrap();
    assert_eq!((census.rows, census.users), (40, 20));
    let apps = AppMap::default();
    let duplicates = source.duplicates(&apps, Some(&tokens[3].key)).await.unwrap();
    let duplicates: Vec<_> = futures_util::TryStreamExt::try_collect(duplicates).await.unwrap();
    assert_eq!(duplicates.len(), 40);
    assert_eq!(calls(&database).await, ["0"]);
}

#[tokio::test]
async fn whoever_looks_around_calls_none_either() {
    let database = attacked().await;
    let settings = settings(database.url(), SOURCE).source;
    let mut diagnostics = SourceDiagnostics::open(&settings, "tokenferry tests")
        .await
        .unwrap();
    diagnostics.apply_session_settings().await.unwrap();
    diagnostics.inspect().await.unwrap();
    diagnostics.key_index().await.unwrap();
    diagnostics.writable().await.unwrap();
    assert_eq!(diagnostics.app_names(9).await.unwrap().unwrap(), ["google"]);
    diagnostics.close().await;
    assert_eq!(calls(&database).await, ["0"]);
}

#[tokio::test]
async fn what_a_user_writes_keeps_the_path_of_the_role() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create schema crm; create table crm.tokens (id int primary key, token text); \
             insert into crm.tokens values (1, 'at'); create table tokens (id int primary key, token text); \
             create function crm.opened(text) returns text language sql stable as $$ select $1 || '!' $$",
        )
        .await;
    let columns = "[source.columns]\napp = { sql = \"'google'\" }\nuser_id = { sql = \"'u'\" }\n\
                   access_token = { sql = \"opened(token)\" }";
    let separator = if database.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}schema=crm", database.url());
    let settings = settings(&url, &format!("table = \"tokens\"\nkey = \"id\"\n{columns}")).source;
    let tokens = read(&settings).await.unwrap();
    assert_eq!(tokens[0].access_token.as_ref().unwrap().reveal(), "at!");
}
