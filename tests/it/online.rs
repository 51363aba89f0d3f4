//! A dry run that asks the API whether what the tokens name exists.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tokenferry::simulator::{App, Bucket, Fault, RateLimit, Simulator, User, UserStatus};

use crate::support::{
    bed::{Bed, Ran},
    listings::FAST_LOOKUPS,
};

async fn online(bed: &Bed, arguments: &[&str]) -> Ran {
    let mut all = vec!["migrate", "--dry-run", "--online", "--json"];
    all.extend(arguments);
    bed.run(&all).await
}

fn users(from: i64, to: i64) -> Vec<User> {
    (from..=to).map(|n| User::from(format!("user-{n}"))).collect()
}

async fn findings(bed: &Bed, run: &Value) -> Vec<String> {
    bed.texts(&format!(
        "select concat_ws(' ', source_key, severity, error_code, app_id, user_id, tenant_id) from tokenferry.findings
         where run_id = {run} order by source_key::bigint, error_code"
    ))
    .await
}

fn asked(bed: &Bed) -> Vec<String> {
    let requests = bed.api.requests();
    let paths = requests.all().iter().map(|request| request.path.clone());
    paths.collect()
}

#[tokio::test]
async fn what_does_not_exist_is_named_row_by_row_and_nothing_is_sent() {
    let mut people = users(1, 9);
    people[4] = people[4].clone().with_status(UserStatus::Disabled);
    people[5] = people[5].clone().with_status(UserStatus::Invited);
    people.remove(3);
    let apps = [
        App::from("google"),
        App::from("keys").with_type(Some("apikey")),
        App::from("untold").with_type(None),
    ];
    let simulator = Simulator::builder().apps(apps).users(people).tenants(["acme"]);
    let bed = Bed::with(simulator).await.set(FAST_LOOKUPS);
    bed.user_rows(1, 9).await;
    bed.sql(
        "update legacy_tokens set provider = 'gogle' where id = 1;
         update legacy_tokens set provider = 'keys' where id = 2;
         update legacy_tokens set provider = 'untold', tenant_id = 'acme' where id = 3;
         update legacy_tokens set tenant_id = 'acne' where id = 7;
         update legacy_tokens set user_id = null, tenant_id = 'nobody' where id = 8;
         update legacy_tokens set user_id = 'user-77', access_token = null where id = 9;
         update legacy_tokens set scope = 'a,a' where id in (1, 6)",
    )
    .await;
    let ran = online(&bed, &["-vv"]).await.ended_with(3);
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains("simulated-client-secret"));
    }
    let ran = ran.json();
    assert_eq!(
        findings(&bed, &ran["run_id"]).await,
        [
            "1 error app_unknown gogle user-1",
            "2 error app_not_oauth keys user-2",
            "4 error user_unknown google user-4",
            "5 warning user_disabled google user-5",
            "6 warning scopes_duplicate google user-6",
            "7 error tenant_unknown google user-7 acne",
            "8 error tenant_unknown google nobody",
            "9 error no_token google user-77",
        ]
    );
    assert_eq!(
        ran["failures_by_code"],
        json!({"app_unknown": 1, "app_not_oauth": 1, "user_unknown": 1, "tenant_unknown": 2, "no_token": 1})
    );
    assert_eq!(
        (
            &ran["tokens"]["committed"],
            &ran["estimate"]["requests"],
            &ran["requests"]
        ),
        (&json!(3), &json!(1), &json!(0))
    );
    // The lists, what they lack, and all users at once.
    assert_eq!(
        asked(&bed),
        [
            "/v1/mgmt/outbound/apps",
            "/v1/mgmt/outbound/app/gogle",
            "/v1/mgmt/tenant/all",
            "/v1/mgmt/tenant",
            "/v1/mgmt/tenant",
            "/v1/mgmt/users/load",
        ]
    );
    assert_eq!(ran["lookups"], 6 + 1, "and the licence");
    let reasons = bed
        .texts("select reason from tokenferry.findings where error_code = 'app_not_oauth'")
        .await;
    assert!(
        reasons[0].contains("\"keys\" is not an OAuth app but \"apikey\""),
        "{reasons:?}"
    );

    let text = bed
        .run(&["migrate", "--dry-run", "--online", "--log-format", "text"])
        .await
        .ended_with(3)
        .stderr;
    assert!(
        text.contains("1 × user_unknown: the user does not exist"),
        "{text}"
    );
    assert!(
        text.contains("7 lookups of licence, users, apps and tenants"),
        "{text}"
    );
}

#[tokio::test]
async fn as_many_lookups_as_were_announced() {
    let bed = Bed::with(Simulator::builder().users(users(1, 950)))
        .await
        .set(&format!(
            "{FAST_LOOKUPS}\nsource.columns.tenant_id = {{ sql = \"nullif(tenant_id, '')\" }}"
        ));
    bed.user_rows(1, 950).await;
    // Each user twice, the second time far away: asked about once.
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token, external_id)
         select id + 950, provider, user_id, access_token, 'second' from legacy_tokens;
         update legacy_tokens set tenant_id = 'acme' where id = 7",
    )
    .await;
    let ran = online(&bed, &["--log-format", "json"]).await.ended_with(0);
    let announced: Value = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| {
            line["message"]
                .as_str()
                .unwrap_or_default()
                .contains("checking apps, tenants and users")
        })
        .unwrap();
    assert_eq!(announced["users"], 950);
    let loads = asked(&bed)
        .iter()
        .filter(|path| path.ends_with("/users/load"))
        .count();
    assert_eq!(loads, 10);
    // Four pages, of which two ask about users; the stand-in lists neither apps nor tenants, so both are
    // asked for by name.
    assert_eq!(ran.json()["lookups"], 10 + 4 + 1, "and the licence");
    let at_most = announced["lookups"].as_u64().unwrap();
    assert!((13..=16).contains(&at_most), "{announced}");
}

#[tokio::test]
async fn a_sample_is_of_the_size_asked_for_even_and_the_same_each_time() {
    let bed = Bed::with(Simulator::builder().users(users(1, 1)))
        .await
        .set(FAST_LOOKUPS);
    bed.user_rows(1001, 2000).await;
    let mut samples = BTreeSet::new();
    for _ in 0..2 {
        let ran = online(&bed, &["--sample", "20"]).await.ended_with(3).json();
        assert_eq!(ran["failures_by_code"], json!({"user_unknown": 20}));
        let keys = bed
            .texts(&format!(
                "select source_key from tokenferry.findings where run_id = {} order by source_key::bigint",
                ran["run_id"]
            ))
            .await;
        let keys: Vec<i64> = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] == 50), "{keys:?}");
        samples.insert(keys);
    }
    assert_eq!(samples.len(), 1);
    assert_eq!(
        asked(&bed)
            .iter()
            .filter(|path| path.ends_with("/users/load"))
            .count(),
        4
    );
}

#[tokio::test]
async fn warnings_alone_stand_in_nobodys_way() {
    let people = users(1, 3)
        .into_iter()
        .map(|user| user.with_status(UserStatus::Disabled));
    let bed = Bed::with(Simulator::builder().users(people))
        .await
        .set(FAST_LOOKUPS);
    bed.user_rows(1, 3).await;
    let ran = online(&bed, &[]).await.ended_with(0).json();
    assert_eq!(ran["warnings_by_code"], json!({"user_disabled": 3}));
    // What is there already is not asked about.
    bed.migrate().await.ended_with(0);
    let ran = online(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&ran["warnings_by_code"], &ran["tokens"]["unchanged"]),
        (&json!({}), &json!(3))
    );
}

#[tokio::test]
async fn the_quota_of_users_is_kept_to_and_waited_out() {
    let limit = RateLimit::new(2, Duration::from_secs(1));
    let simulator = Simulator::builder()
        .users(users(1, 60))
        .limit(Bucket::Users, Some(limit));
    let bed = Bed::with(simulator)
        .await
        .set(&format!("{FAST_LOOKUPS}\napi.lookup.per_request = 10"));
    bed.user_rows(1, 60).await;
    let ran = online(&bed, &[]).await.ended_with(0).json();
    assert!(ran["rate_limited"].as_i64().unwrap() > 0, "{ran}");
    assert_eq!(ran["tokens"]["committed"], 60);
}

#[tokio::test]
async fn an_api_that_does_not_answer_ends_it_without_a_finding() {
    for fault in [Fault::Status(403), Fault::Status(503), Fault::Status(404)] {
        let bed = Bed::new()
            .await
            .set(&format!("{FAST_LOOKUPS}\napi.retry.max_attempts = 2"));
        bed.user_rows(1, 10).await;
        bed.api
            .script_lookups([Fault::None, fault.clone(), fault.clone()]);
        let ran = online(&bed, &[]).await.ended_with(4).json();
        assert_eq!(ran["failures_by_code"], json!({}), "{fault:?}");
        assert_eq!(ran["status"], "stopped");
    }
}

#[tokio::test]
async fn a_list_that_the_api_does_not_take_is_halved() {
    let bed = Bed::with(Simulator::builder().users(users(1, 79)))
        .await
        .set(FAST_LOOKUPS);
    bed.api.change_rules(|rules| rules.max_listed = 25);
    bed.user_rows(1, 80).await;
    let ran = online(&bed, &[]).await.ended_with(3).json();
    assert_eq!(ran["failures_by_code"], json!({"user_unknown": 1}));
    assert_eq!(
        asked(&bed)
            .iter()
            .filter(|path| path.ends_with("/users/load"))
            .count(),
        7
    );
}

#[tokio::test]
async fn users_of_login_ids_are_looked_at_too() {
    let people = (1..=4).map(|n| User::from(format!("U{n}")).with_login_id(format!("user-{n}@example.com")));
    let mut people: Vec<User> = people.collect();
    people[1] = people[1].clone().with_status(UserStatus::Disabled);
    let bed = Bed::with(Simulator::builder().users(people)).await;
    bed.user_rows(1, 5).await;
    let bed = bed.set(&format!(
        "{FAST_LOOKUPS}\nsource.columns.user_id = {{ sql = \"null::text\" }}\n\
         source.columns.login_id = {{ sql = \"user_id || '@example.com'\" }}"
    ));
    let ran = online(&bed, &[]).await.ended_with(3).json();
    assert_eq!(
        findings(&bed, &ran["run_id"]).await,
        [
            "2 warning user_disabled google U2",
            "5 error login_id_unknown google"
        ]
    );
}

#[tokio::test]
async fn only_a_dry_run_asks() {
    let bed = Bed::new().await;
    for wrong in [
        &["migrate", "--online"][..],
        &["migrate", "--dry-run", "--sample", "5"],
        &["migrate", "--dry-run", "--online", "--sample", "0"],
        &[
            "migrate",
            "--dry-run",
            "--online",
            "--only-failed",
            "--sample",
            "5",
        ],
    ] {
        bed.run(wrong).await.ended_with(2);
    }
}
