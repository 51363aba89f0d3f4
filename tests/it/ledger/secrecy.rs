//! Secrecy: after a run with every kind of outcome, no table holds a token, in any form that gives it back.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use tokenferry::{
    domain::RunStatus,
    metrics::Meter,
    pipeline::{Request, migrate},
    rate::RunControl,
    report::View,
    secret::Secret,
    simulator::{Fault, Simulator},
};
use tokio::sync::watch;

use crate::support::{database::TestDatabase, settings::settings};

const SOURCE: &str = r#"
    table = "public.legacy"
    key = "id"
    page_size = 7
    [source.columns]
    app = "app"
    user_id = "user_id"
    access_token = "access_token"
    refresh_token = "refresh_token"
    id_token = "id_token"
    access_token_expiry = "expires_at"
    updated_at = "updated_at"
    [batch]
    max_tokens = 5
    concurrency = 1
    [api.rate_limit]
    requests = 100000
    per = "1s"
    burst = 1000
    [api.retry]
    initial_interval = "10ms"
    max_interval = "20ms"
"#;

/// Users' tokens, some of them broken, some refused, some twice for one user.
async fn legacy() -> TestDatabase {
    let database = TestDatabase::create().await;
    database
        .execute(
            "create table public.legacy (id bigint primary key, app text, user_id text, access_token text, \
                    refresh_token text, id_token text, expires_at text, updated_at timestamptz); \
             insert into public.legacy select n, 'google', 'user-' || n / 2, 'ya29.access-' || n || '-of-the-row', \
                    '1//refresh-' || n || '-of-the-row', 'eyJ.id-' || n || '-of-the-row', \
                    case when n % 7 = 0 then 'ya29.in-the-wrong-column-' || n else '2000000000' end, now() \
             from generate_series(1, 60) n; \
             update public.legacy set user_id = null where id = 31; \
             update public.legacy set access_token = access_token || chr(7) where id = 33",
        )
        .await;
    database
}

const HEX: fn(&[u8]) -> String = |bytes| {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
};

/// Standard base64 without padding, so that a longer text contains it whatever follows.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks_exact(3) {
        let bits = chunk
            .iter()
            .fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(LETTERS[bits >> shift & 63]));
        }
    }
    text
}

/// Every row of every table of the ledger, as text.
async fn dump(database: &TestDatabase) -> String {
    let tables = database
        .texts("select tablename::text from pg_tables where schemaname = 'tokenferry'")
        .await;
    assert!(tables.len() >= 4, "{tables:?}");
    let mut dump = String::new();
    for table in tables {
        for row in database
            .texts(&format!("select t::text from tokenferry.\"{table}\" t"))
            .await
        {
            dump += &row;
            dump.push('\n');
        }
    }
    dump
}

#[tokio::test]
async fn the_ledger_never_holds_a_token_in_any_form() {
    let database = legacy().await;
    let simulator = Simulator::builder()
        .refused_users(["user-8", "user-9"])
        .rule(|rules| rules.bad_token_prefix = Some("ya29.access-41-".into()))
        .start()
        .await
        .unwrap();
    let echoed = r#"{"errorCode":"E011001","errorDescription":"cannot take ya29.access-1-of-the-row","errorMessage":"1//refresh-1-of-the-row"}"#;
    // An API that repeats what it was sent, to the batch that sent it.
    let echo = Fault::Answer {
        status: 400,
        body: echoed.to_owned(),
        committed: false,
    };
    simulator.script([echo, Fault::CutAfterCommit, Fault::Status(503), Fault::Unreadable]);
    let mut settings = settings(database.url(), SOURCE);
    settings.api.base_url = simulator.base_url().parse().unwrap();
    simulator.project_id().clone_into(&mut settings.api.project_id);
    settings.api.management_key = Secret::new(simulator.management_key().reveal());

    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = migrate(
        &settings,
        &Request::default(),
        RunControl::new(settings.api.rate_limit, Meter::default()),
        &watch::channel(View::default()).0,
    )
    .await
    .unwrap();
    assert!(ended.error.is_none(), "{:?}", ended.error);
    assert_eq!(ended.status, RunStatus::CompletedWithFailures);
    let tally = ended.summary.tokens;
    assert!(
        tally.committed > 0 && tally.failed > 0 && tally.superseded > 0,
        "{tally:?}"
    );

    // A batch in flight holds the most, so one is left there.
    let access = crate::support::ledger::access(&database);
    let ledger = crate::support::ledger::open(&access).await.unwrap();
    crate::support::ledger::open_batch(
        &ledger,
        &crate::support::ledger::begin(&ledger).await,
        &["1", "2"],
    )
    .await;

    let dump = dump(&database).await;
    assert!(dump.contains("user-5") && dump.contains("committed") && dump.contains("failed"));
    let mut secrets = database
        .texts("select unnest(array[access_token, refresh_token, id_token]) from public.legacy")
        .await;
    secrets.extend(
        database
            .texts("select expires_at from public.legacy where expires_at like 'ya29%'")
            .await,
    );
    assert!(secrets.len() > 180);
    secrets.push(settings.api.management_key.reveal().to_owned());
    for secret in &secrets {
        let bytes = secret.as_bytes();
        let digest = Sha256::digest(bytes);
        for (form, text) in [
            ("plain", secret.clone()),
            ("hex", HEX(bytes)),
            ("base64", base64(bytes)),
            ("a bare digest", HEX(&digest)),
            ("a bare digest in base64", base64(&digest)),
            ("a bare digest, truncated", HEX(&digest[..16])),
        ] {
            assert!(!dump.contains(&text), "{secret} stands in the ledger as {form}");
        }
    }
    for marker in ["ya29", "1//", "eyJ", "-of-the-row"] {
        assert!(
            !dump.contains(marker),
            "a piece of a token stands in the ledger: {marker}"
        );
    }
    simulator.shutdown().await;
}
