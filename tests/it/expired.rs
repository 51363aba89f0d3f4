//! Tokens that a fetch would refresh: nothing reads them back unasked.

use serde_json::{Value, json};
use tokenferry::{
    secret::Secret,
    simulator::{Destination, WithoutTenant},
};

use crate::support::{
    bed::{Bed, TOKEN},
    listings::{failures, verify},
};

/// Rows 1 to 5 are alive, 11 to 15 have expired, 21 expires in five minutes, 31 has expired and has no
/// refresh token, 32 has a refresh token alone, 33 has no expiry.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.api.change_rules(|rules| rules.rotates_refresh_tokens = true);
    bed.sql(&format!(
        "insert into legacy_tokens (id, provider, user_id, access_token, refresh_token, expires_at, scope)
         select n, 'google', 'user-' || n, '{TOKEN}-access-' || n, '{TOKEN}-refresh-' || n,
                case when n < 10 then now() + interval '1 day'
                     when n < 20 then now() - interval '1 hour'
                     when n = 21 then now() + interval '5 minutes'
                     when n = 31 then now() - interval '1 hour' end,
                case when n % 2 = 0 then 'calendar email' end
         from unnest(array[1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 21, 31, 32, 33]) n;
         update legacy_tokens set refresh_token = null where id = 31;
         update legacy_tokens set access_token = null where id = 32"
    ))
    .await;
    bed
}

fn refreshes(bed: &Bed) -> u64 {
    bed.api.refreshes().values().sum()
}

/// What `failures --run` lists: severity, key and code.
async fn found(bed: &Bed, summary: &Value) -> Vec<(String, i64, String)> {
    let rows = failures(bed, summary, &["--warnings"]).await.into_iter();
    let mut rows: Vec<_> = rows
        .map(|(key, severity, code)| (severity, key.parse().unwrap(), code))
        .collect();
    rows.sort();
    rows
}

fn expired(severity: &str, keys: &[i64]) -> Vec<(String, i64, String)> {
    let code = "access_token_expired";
    keys.iter()
        .map(|key| (severity.to_owned(), *key, code.to_owned()))
        .collect()
}

#[tokio::test]
async fn verify_leaves_them_alone_counts_them_and_never_calls_them_equal() {
    let bed = bed().await;
    bed.migrate().await.ended_with(0);
    let before = bed.api.requests().fetches();
    let ran = verify(&bed, &[]).await.ended_with(0);
    let summary = ran.json();
    let counted = |name: &str| summary["verify"][name].as_i64().unwrap();
    assert_eq!(
        (counted("equal"), counted("not_read"), counted("checked")),
        (8, 6, 8)
    );
    assert_eq!(
        summary["tokens"],
        json!({"selected": 14, "committed": 8, "failed": 0, "superseded": 0, "unchanged": 6})
    );
    assert_eq!((bed.api.requests().fetches() - before, refreshes(&bed)), (8, 0));
    assert_eq!(
        found(&bed, &summary).await,
        expired("warning", &[11, 12, 13, 14, 15, 21])
    );
    let text = bed
        .run(&["verify", "--log-format", "text"])
        .await
        .ended_with(0)
        .stderr;
    assert!(
        text.contains("some were not read") && text.contains("--include-expired"),
        "{text}"
    );
    let run = summary["run_id"].to_string();
    let status = bed.run(&["status", "--run", &run, "--json"]).await.ended_with(0);
    assert_eq!(status.json()["verify"], summary["verify"]);
    assert_eq!(
        bed.number(&format!(
            "select not_read from tokenferry.verifications where run_id = {run}"
        ))
        .await,
        6
    );
    let page = bed
        .run(&["report", "--run", &run, "--output", "-"])
        .await
        .ended_with(0)
        .stdout;
    assert!(page.contains("6 tokens were not read"));
    // The old system's copies are as they were.
    assert_eq!(bed.api.stored().len(), 14);
    bed.assert_arrived_once().await;
}

#[tokio::test]
async fn the_margin_is_a_setting() {
    let bed = bed().await.set("api.refresh_margin = \"1m\"");
    bed.migrate().await.ended_with(0);
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&summary["verify"]["equal"], &summary["verify"]["not_read"]),
        (&json!(9), &json!(5))
    );
    let bed = bed.set("api.refresh_margin = \"2d\"");
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&summary["verify"]["equal"], &summary["verify"]["not_read"]),
        (&json!(3), &json!(11))
    );
    assert_eq!(refreshes(&bed), 0);
}

#[tokio::test]
async fn asked_to_verify_reads_them_after_a_warning_and_descope_refreshes_them() {
    let bed = bed().await;
    bed.migrate().await.ended_with(0);
    let ran = verify(&bed, &["--include-expired"]).await.ended_with(0);
    assert!(ran.stderr.contains("Descope refreshes them"), "{}", ran.stderr);
    let summary = ran.json();
    assert_eq!(
        (
            &summary["verify"]["equal"],
            &summary["verify"]["refreshed"],
            &summary["verify"]["not_read"],
            &summary["verify"]["include_expired"]
        ),
        (&json!(9), &json!(5), &json!(0), &json!(true))
    );
    assert_eq!(refreshes(&bed), 5);
    // What cannot be refreshed is told as what it is.
    bed.api
        .change_rules(|rules| rules.refresh_error = Some(format!("{TOKEN} is dead")));
    bed.api.alter_stored(|tokens| {
        for token in tokens {
            token.access_token_expiry = i32::from(token.refresh_token.is_some());
        }
    });
    let ran = verify(&bed, &["--include-expired", "--sample", "100"])
        .await
        .ended_with(3);
    let codes: Vec<String> = found(&bed, &ran.json())
        .await
        .into_iter()
        .filter(|(_, key, _)| *key == 13)
        .map(|(_, _, code)| code)
        .collect();
    assert!(codes.contains(&"last_refresh_failed".to_owned()), "{codes:?}");
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));
    assert!(!bed.ledger_dump().await.contains(TOKEN));
}

#[tokio::test]
async fn rollback_leaves_them_alone_and_says_what_to_do() {
    let bed = bed().await;
    let run = bed.migrate().await.ended_with(0).json()["run_id"].to_string();
    let ran = bed
        .run(&["rollback", "--run", &run, "--yes", "--json", "-vv"])
        .await
        .ended_with(3);
    let summary = ran.json();
    assert_eq!(
        (&summary["rollback"]["removed"], &summary["rollback"]["refused"]),
        (&json!(8), &json!(6))
    );
    assert_eq!(
        found(&bed, &summary).await,
        expired("error", &[11, 12, 13, 14, 15, 21])
    );
    assert_eq!((refreshes(&bed), bed.api.stored_count()), (0, 6));
    let id = summary["run_id"].to_string();
    let table = bed.run(&["failures", "--run", &id]).await.ended_with(0).stdout;
    assert!(
        table.contains(&format!("rollback --run {run} --include-expired")),
        "{table}"
    );

    // What Descope refreshes is in use, and stays; what it cannot refresh is as it was sent.
    bed.api
        .change_rules(|rules| rules.dead_refresh_prefix = Some(format!("{TOKEN}-refresh-14")));
    let asked = [
        "rollback",
        "--run",
        &run,
        "--yes",
        "--include-expired",
        "--json",
        "-vv",
    ];
    let ran = bed.run(&asked).await.ended_with(3);
    assert!(ran.stderr.contains("Descope refreshes them"), "{}", ran.stderr);
    let summary = ran.json();
    assert_eq!(
        (&summary["rollback"]["removed"], &summary["rollback"]["refused"]),
        (&json!(2), &json!(4))
    );
    let codes: Vec<String> = found(&bed, &summary)
        .await
        .into_iter()
        .map(|(_, key, code)| format!("{key} {code}"))
        .collect();
    assert_eq!(
        codes,
        [
            "11 refreshed_since",
            "12 refreshed_since",
            "13 refreshed_since",
            "15 refreshed_since"
        ]
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_deletion_in_doubt_is_not_looked_at_either_and_stays_on_record() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.rows(1, 3).await;
    let run = bed.migrate().await.ended_with(0).json()["run_id"].to_string();
    let asked = ["rollback", "--run", &run, "--yes", "--json", "-vv"];
    bed.killed_at(&asked, "intended", 1).await;
    let deleting = "select count(*) from tokenferry.rollbacks where state = 'deleting'";
    assert_eq!(bed.number(deleting).await, 1);

    // As if the access tokens had expired since.
    let bed = bed.set("api.refresh_margin = \"2d\"");
    let before = bed.api.requests().fetches();
    let ran = bed.run(&asked).await.ended_with(4);
    let summary = ran.json();
    assert_eq!(
        (&summary["status"], &summary["rollback"]["refused"]),
        (&json!("stopped"), &json!(2))
    );
    assert!(
        summary["stop_reason"]
            .as_str()
            .unwrap()
            .contains("--include-expired"),
        "{summary}"
    );
    assert_eq!(bed.api.requests().fetches(), before);
    assert_eq!(bed.number(deleting).await, 1);

    let mut asked = asked.to_vec();
    asked.push("--include-expired");
    let summary = bed.run(&asked).await.ended_with(3).json();
    assert_eq!(
        (
            &summary["resumed"],
            &summary["rollback"]["removed"],
            &summary["rollback"]["refused"]
        ),
        (&json!(true), &json!(1), &json!(2))
    );
    assert_eq!((bed.number(deleting).await, bed.api.stored_count()), (0, 2));
}

#[tokio::test]
async fn a_token_is_asked_for_by_its_scopes_and_absent_only_if_the_latest_is_absent_too() {
    for rule in [WithoutTenant::NewestOfAll, WithoutTenant::TenantlessOnly] {
        let bed = Bed::new().await;
        bed.api.change_rules(|rules| rules.without_tenant = rule);
        bed.rows(1, 30).await;
        bed.sql("update legacy_tokens set tenant_id = 'acme' where id = 7")
            .await;
        bed.migrate().await.ended_with(0);
        bed.api.alter_stored(|tokens| {
            let of_row = |row: i64| format!("{TOKEN}-access-{row}");
            // Another connection of the same user, newer: it hides nothing from who asks by scopes.
            let other = tokens
                .iter()
                .find(|token| token.exposed_access_token() == Some(&of_row(3)));
            let mut other = other.unwrap().clone();
            other.access_token = Some(Secret::new(format!("{TOKEN}-other")));
            other.scopes = vec!["files".to_owned()];
            tokens.push(other);
            // The API writes scopes in a form of its own.
            for token in tokens.iter_mut() {
                if token.exposed_access_token() == Some(&of_row(4)) {
                    token.scopes = vec!["https://provider.example/calendar".to_owned()];
                }
            }
            tokens.retain(|token| token.exposed_access_token() != Some(&of_row(5)));
        });
        let before = bed.api.requests();
        let summary = verify(&bed, &[]).await.ended_with(3).json();
        assert_eq!(
            (
                &summary["verify"]["equal"],
                &summary["verify"]["different"],
                &summary["verify"]["missing"]
            ),
            (&json!(28), &json!(1), &json!(1)),
            "{rule:?}"
        );
        let codes: Vec<String> = found(&bed, &summary)
            .await
            .into_iter()
            .map(|(_, key, code)| format!("{key} {code}"))
            .collect();
        assert_eq!(codes, ["4 scopes_differ", "5 token_missing"]);
        let latest = |log: &tokenferry::simulator::RequestLog| log.to("/token/latest");
        assert_eq!(latest(&bed.api.requests()) - latest(&before), 2, "{rule:?}");
        assert!(bed.api.latest(&Destination::user("google", "user-3")).is_some());
    }
}

#[tokio::test]
async fn the_second_of_two_questions_pays_too() {
    let bed = Bed::new().await.set(
        "api.rate_limit.requests = 20\napi.rate_limit.per = \"1s\"\napi.rate_limit.burst = 1\nbatch.concurrency = 8",
    );
    bed.rows(1, 40).await;
    bed.migrate().await.ended_with(0);
    bed.api.alter_stored(Vec::clear);
    bed.api.set_rate_limit(Some("30/1s".parse().unwrap()));
    let summary = verify(&bed, &[]).await.ended_with(3).json();
    assert_eq!(
        (&summary["verify"]["missing"], &summary["requests"]),
        (&json!(40), &json!(80))
    );
    assert_eq!(summary["rate_limited"], 0);
}
