//! The stages that keep a core busy, each alone: screening (rules, encoding, fingerprints), the rules by
//! themselves, chunking, request bodies.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::distr::{Alphanumeric, SampleString};
use tokenferry::{
    chunker::{Chunker, Limits, Singly},
    config::AppMap,
    descope::{BODY_OVERHEAD, RequestBody, SINGLE_OVERHEAD},
    domain::{
        Batch, Call, Expiry, Item, LedgerState, LegacyToken, OlderVersions, RuleSet, Scopes, SourceKey,
        Subject, Version,
    },
    secret::{FingerprintKey, Secret},
    validation::Validator,
};

const PAGE: usize = 5_000;
const BATCH: usize = 500;
const NOW: i64 = 1_790_000_000;

/// Rows of about 1.4 KB with tokens that do not repeat.
fn rows(count: usize) -> Vec<LegacyToken> {
    let mut random = rand::rng();
    let mut text = |length| Alphanumeric.sample_string(&mut random, length);
    (0..count)
        .map(|number| LegacyToken {
            app: Some("google".into()),
            user_id: Some(format!("U2{number:025}")),
            tenant_id: Some(format!("T{:03}", number % 500)),
            access_token: Some(Secret::new(text(1024))),
            refresh_token: Some(Secret::new(text(200))),
            expiry: Expiry::At(NOW + 3_600),
            access_token_type: Some("Bearer".into()),
            scopes: Scopes::Listed(
                ["https://www.googleapis.com/auth/calendar", "openid", "email"]
                    .map(str::to_owned)
                    .into(),
            ),
            version: Version::new(Some(NOW)),
            ..LegacyToken::empty(SourceKey::from(number.to_string()))
        })
        .collect()
}

fn validator() -> Validator {
    let apps = [("google".to_owned(), "google-calendar".to_owned())];
    Validator::new(
        AppMap::new(Some(apps.into_iter().collect())),
        FingerprintKey::new(&[7; 32], None),
    )
}

fn items(count: usize) -> Vec<Item> {
    validator()
        .examine(0, rows(count))
        .resolve(&LedgerState::default(), 1, OlderVersions::Refused)
        .items
}

fn screening(criterion: &mut Criterion) {
    let validator = validator();
    let rows = rows(PAGE);
    let mut group = criterion.benchmark_group("screen");
    group
        .throughput(Throughput::Elements(PAGE as u64))
        .sample_size(30);
    group.bench_function("examine and judge a page of 5,000 rows", |bencher| {
        bencher.iter_batched(
            || rows.clone(),
            |rows| {
                validator
                    .examine(0, rows)
                    .resolve(&LedgerState::default(), 1, OlderVersions::Refused)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The local rules alone, over rows that break none of them, and over rows whose access token is a JWT to be
/// looked into.
fn rules(criterion: &mut Criterion) {
    let validator = validator();
    // {"iss":"https://issuer.example","sub":…,"aud":…,"scope":…,"iat":1790000000,"exp":1790003600}
    let claims = "eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiMDEyMzQ1Njc4OWFiY2RlZiIsImF1ZCI6ImNhbGVuZGFyIiwic2NvcGUiOiJj\
                  YWxlbmRhci5yZWFkIGVtYWlsIiwiaWF0IjoxNzkwMDAwMDAwLCJleHAiOjE3OTAwMDM2MDB9";
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.{}", "s".repeat(342));
    let of_jwts = |mut rows: Vec<LegacyToken>| {
        for row in &mut rows {
            row.access_token = Some(Secret::new(jwt.as_str()));
        }
        rows
    };
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(PAGE as u64));
    for (name, rows) in [("opaque tokens", rows(PAGE)), ("JWTs", of_jwts(rows(PAGE)))] {
        assert!(
            rows.iter()
                .all(|row| validator.check(row, NOW).is_ok_and(RuleSet::is_empty))
        );
        group.bench_function(format!("5,000 rows with {name}"), |bencher| {
            bencher.iter(|| {
                black_box(&rows)
                    .iter()
                    .filter(|row| validator.check(row, NOW).is_ok())
                    .count()
            });
        });
    }
    group.finish();
}

fn chunking(criterion: &mut Criterion) {
    let items = items(2 * PAGE);
    let limits = Limits {
        max_tokens: BATCH,
        max_bytes: 1 << 20,
        overhead: BODY_OVERHEAD,
        single_overhead: SINGLE_OVERHEAD,
    };
    let mut group = criterion.benchmark_group("chunk");
    group
        .throughput(Throughput::Elements(items.len() as u64))
        .sample_size(30);
    group.bench_function("10,000 tokens into batches of 500", |bencher| {
        bencher.iter_batched(
            || items.clone(),
            |items| {
                let mut chunker = Chunker::new(limits, Singly::First(0));
                let mut full = Vec::new();
                for item in items {
                    // None of them is too large.
                    chunker.push(item, &mut full);
                }
                chunker.flush(&mut full);
                full
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let batch = Batch {
        subject: Subject::User,
        call: Call::Batch,
        items: items(BATCH),
        parent: None,
    };
    let mut group = criterion.benchmark_group("body");
    group.throughput(Throughput::Elements(BATCH as u64));
    let buffers = Arc::default();
    group.bench_function("of 500 tokens", |bencher| {
        bencher.iter(|| RequestBody::new(black_box(&batch), &buffers));
    });
    group.finish();
}

criterion_group!(stages, screening, rules, chunking, bodies);
criterion_main!(stages);
