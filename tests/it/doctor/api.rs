//! The API: out of reach, not the API, closed to us, out of step, or without the apps.

use std::time::Duration;

use tokenferry::simulator::{App, Fault, Simulator};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Checks, doctor};
use crate::support::bed::Bed;

#[tokio::test]
async fn all_is_well() {
    let api = Simulator::builder().apps(["google", "slack"]);
    let bed = Bed::with(api)
        .await
        .set("apps.google = \"google\"\napps.chat = \"slack\"");
    bed.rows(1, 20).await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
    checks.assert("api", "connection", "ok", bed.api.base_url());
    checks.assert("api", "clock", "ok", "in sync");
    checks.assert("api", "credentials", "ok", "accepted");
    checks.assert("api", "rate_tier", "ok", "tier1, which every request names");
    checks.assert("api", "apps", "ok", "google, slack");
    assert_eq!(bed.api.stored_count(), 0);
}

#[tokio::test]
async fn apps_that_are_not_there_or_of_another_kind_are_a_wrong_configuration() {
    let keys = App::from("keys").with_type(Some("apikey"));
    let bed = Bed::with(Simulator::builder().apps([App::from("google"), keys])).await;
    bed.rows(1, 20).await;
    // Without [apps], the rows' own names are IDs.
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
    checks.assert("api", "apps", "ok", "google");
    bed.sql(
        "update legacy_tokens set provider = case when id < 5 then 'gogle' else 'keys' end where id < 10",
    )
    .await;
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(2));
    checks.assert(
        "api",
        "apps",
        "failed",
        "missing: gogle; not OAuth apps: keys (apikey)",
    );

    let bed = bed.set("apps.google = \"google-calendar\"");
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(2));
    checks.assert("api", "apps", "failed", "missing: google-calendar");
}

#[tokio::test]
async fn refused_credentials_end_with_4() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let variables = [("DESCOPE_MANAGEMENT_KEY", "wr0ng-key")];
    let ran = doctor(&bed, &variables).await.ended_with(4);
    assert!(!ran.stdout.contains("wr0ng-key") && !ran.stderr.contains("wr0ng-key"));
    let checks = Checks::of(&ran);
    checks.assert("api", "connection", "ok", "http");
    checks.assert("api", "credentials", "failed", "`api.management_key`");
    checks.assert("api", "rate_tier", "skipped", "credentials");
    checks.assert("api", "apps", "skipped", "credentials");
    // Databases come before the API.
    let all = [
        variables[0],
        ("TOKENFERRY__LEDGER__URL", "postgres://u:p@127.0.0.1:1/db"),
    ];
    doctor(&bed, &all).await.ended_with(6);
}

#[tokio::test]
async fn what_is_not_the_api_or_not_there_ends_with_4() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let elsewhere = format!("{}/elsewhere", bed.api.base_url());
    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__API__BASE_URL", &elsewhere)])
            .await
            .ended_with(4),
    );
    checks.assert("api", "connection", "failed", "not like the API");
    let nowhere = [("TOKENFERRY__API__BASE_URL", "http://127.0.0.1:1")];
    let checks = Checks::of(&doctor(&bed, &nowhere).await.ended_with(4));
    checks.assert(
        "api",
        "connection",
        "failed",
        "nothing accepts connections at 127.0.0.1:1",
    );
    for name in ["clock", "credentials", "rate_tier", "apps"] {
        checks.assert("api", name, "skipped", "a connection");
    }
    let broken = canned("503 Service Unavailable", "Sun, 06 Nov 1994 08:49:37 GMT", "").await;
    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__API__BASE_URL", &broken)])
            .await
            .ended_with(4),
    );
    checks.assert("api", "connection", "failed", "HTTP 503");
}

#[tokio::test]
async fn a_clock_that_is_off_is_warned_of() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let app = r#"{"rateLimitTier":"tier2","app":{"id":"google"},"apps":[{"id":"google","appType":"oauth"}]}"#;
    let late = canned("200 OK", "Sun, 06 Nov 1994 08:49:37 GMT", app).await;
    let checks = Checks::of(
        &doctor(&bed, &[("TOKENFERRY__API__BASE_URL", &late)])
            .await
            .ended_with(0),
    );
    checks.assert("api", "clock", "warning", "s ahead of the API");
    checks.assert("api", "rate_tier", "ok", "tier2");
    checks.assert("api", "apps", "ok", "google");
}

#[tokio::test]
async fn what_the_api_does_not_tell_is_a_warning() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let quota = Duration::from_secs(60);
    bed.api
        .script_lookups([Fault::RateLimited(quota), Fault::RateLimited(quota)]);
    let checks = Checks::of(&doctor(&bed, &[]).await.ended_with(0));
    checks.assert("api", "credentials", "ok", "accepted");
    checks.assert("api", "apps", "warning", "no usable response for google");
}

/// An API that answers everything alike.
async fn canned(status: &str, date: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}
