//! The stand-in API over real sockets: as strict as the real one, and failing exactly as told.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers are test code, too, which clippy cannot see"
)]

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokenferry::{
    secret::Secret,
    simulator::{
        Barrier, Destination, Fault, FaultRates, OnRepeat, RateLimit, RetryAfter, Simulator, SimulatorHandle,
        TooLarge,
    },
};

use crate::support::http::client;

const USER_BATCH: &str = "/v1/mgmt/outbound/app/user/oauthtoken/batch/upload";
const TENANT_BATCH: &str = "/v1/mgmt/outbound/app/tenant/oauthtoken/batch/upload";
const USER: &str = "/v1/mgmt/outbound/app/user/oauthtoken/upload";
const TENANT: &str = "/v1/mgmt/outbound/app/tenant/oauthtoken/upload";
const USER_LATEST: &str = "/v1/mgmt/outbound/app/user/token/latest";
const USER_SCOPED: &str = "/v1/mgmt/outbound/app/user/token";
const TENANT_LATEST: &str = "/v1/mgmt/outbound/app/tenant/token/latest";
const LICENSE: &str = "/v1/mgmt/license";

pub(crate) fn bearer(simulator: &SimulatorHandle) -> String {
    format!(
        "{}:{}",
        simulator.project_id(),
        simulator.management_key().reveal()
    )
}

async fn try_post(simulator: &SimulatorHandle, path: &str, body: &Value) -> reqwest::Result<Response> {
    let request = client()
        .post(format!("{}{path}", simulator.base_url()))
        .bearer_auth(bearer(simulator));
    request.json(body).send().await
}

pub(crate) async fn post(simulator: &SimulatorHandle, path: &str, body: &Value) -> (u16, Value) {
    let response = try_post(simulator, path, body).await.unwrap();
    (
        response.status().as_u16(),
        response.json().await.unwrap_or(Value::Null),
    )
}

pub(crate) async fn start(simulator: Simulator) -> SimulatorHandle {
    simulator.start().await.unwrap()
}

fn token(user: &str) -> Value {
    json!({"appId": "crm", "userId": user, "accessToken": format!("at-{user}"), "refreshToken": "rt"})
}

fn batch(users: &[&str]) -> Value {
    json!({"tokens": users.iter().map(|user| token(user)).collect::<Vec<_>>()})
}

fn stored_users(simulator: &SimulatorHandle) -> Vec<String> {
    simulator
        .stored()
        .into_iter()
        .filter_map(|token| token.destination.user_id)
        .collect()
}

/// For commits that no answer tells of.
async fn wait_for_stored(simulator: &SimulatorHandle, count: usize) {
    let stored = async {
        while simulator.stored_count() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), stored)
        .await
        .unwrap();
}

#[tokio::test]
async fn keeps_every_field_and_reads_it_back() {
    let simulator = start(Simulator::builder()).await;
    let body = json!({"tokens": [{
        "appId": "crm", "userId": "u1", "tenantId": "t1", "refreshToken": "rt", "accessToken": "at",
        "accessTokenExpiry": 1_900_000_000, "accessTokenType": "bearer", "scopes": ["a", "b"],
        "externalIdentifier": "x", "idToken": "it", "grantedBy": "admin",
    }]});
    assert_eq!(
        post(&simulator, USER_BATCH, &body).await,
        (200, json!({"failures": []}))
    );

    let lookup = json!({"appId": "crm", "userId": "u1", "options": {"withRefreshToken": true}});
    let (status, found) = post(&simulator, USER_LATEST, &lookup).await;
    assert_eq!(status, 200);
    assert_eq!(
        found,
        json!({"token": {
            "id": "token-1", "appId": "crm", "userId": "u1", "tokenSub": "", "accessToken": "at",
            "accessTokenType": "bearer", "accessTokenExpiry": "1900000000", "hasRefreshToken": true,
            "refreshToken": "rt", "lastRefreshTime": "0", "lastRefreshError": "", "scopes": ["a", "b"],
            "tenantId": "t1", "grantedBy": "admin", "externalIdentifier": "x",
        }})
    );
    let stored = simulator.stored();
    assert_eq!(stored[0].exposed_id_token(), Some("it"));
    assert!(!format!("{stored:?}").contains("rt"), "tokens must not show");
}

async fn delete(simulator: &SimulatorHandle, path: &str) -> (u16, Value) {
    let request = client().delete(format!("{}{path}", simulator.base_url()));
    let response = request.bearer_auth(bearer(simulator)).send().await.unwrap();
    (
        response.status().as_u16(),
        response.json().await.unwrap_or(Value::Null),
    )
}

#[tokio::test]
async fn deletes_a_token_by_its_id_and_strictly() {
    const TOKEN: &str = "/v1/mgmt/outbound/token";
    const TOKENS: &str = "/v1/mgmt/outbound/user/tokens";
    let simulator = start(Simulator::builder()).await;
    post(&simulator, USER_BATCH, &batch(&["u1", "u2", "u3", "u4"])).await;
    let tenant = json!({"tokens": [{"appId": "crm", "tenantId": "t1", "refreshToken": "rt"}]});
    post(&simulator, TENANT_BATCH, &tenant).await;

    for (query, status, code) in [
        ("?id=token-9", 404, "E111504"),
        ("", 400, "E011004"),
        ("?id=", 400, "E011004"),
        ("?id=token-2&userId=u2", 400, "E011001"),
        ("?appId=crm&userId=u2", 400, "E011001"),
    ] {
        let (answered, body) = delete(&simulator, &format!("{TOKEN}{query}")).await;
        assert_eq!((answered, &body["errorCode"]), (status, &json!(code)), "{query}");
    }
    assert_eq!(simulator.stored_count(), 5);
    let stranger = client().delete(format!("{}{TOKEN}?id=token-2", simulator.base_url()));
    assert_eq!(stranger.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        delete(&simulator, &format!("{TOKEN}?id=token-2")).await,
        (200, json!({}))
    );
    assert_eq!(stored_users(&simulator), ["u1", "u3", "u4"]);
    simulator.change_rules(|rules| rules.token_not_found_status = 400);
    assert_eq!(delete(&simulator, &format!("{TOKEN}?id=token-2")).await.0, 400);

    simulator.script_deletes([Fault::Status(503), Fault::StatusAfterCommit(500)]);
    assert_eq!(delete(&simulator, &format!("{TOKEN}?id=token-1")).await.0, 503);
    assert_eq!(simulator.stored_count(), 4);
    assert_eq!(delete(&simulator, &format!("{TOKEN}?id=token-1")).await.0, 500);
    assert_eq!(stored_users(&simulator), ["u3", "u4"]);

    // The call that takes all of them, which a rollback must never use.
    assert_eq!(delete(&simulator, TOKENS).await.0, 400);
    assert_eq!(
        delete(&simulator, &format!("{TOKENS}?appId=other&userId=u3"))
            .await
            .0,
        200
    );
    assert_eq!(
        delete(&simulator, &format!("{TOKENS}?appId=crm&userId=u3"))
            .await
            .0,
        200
    );
    assert_eq!(stored_users(&simulator), ["u4"]);
    assert_eq!(delete(&simulator, &format!("{TOKENS}?appId=crm")).await.0, 200);
    assert_eq!(simulator.stored_count(), 0);
}

#[tokio::test]
async fn takes_tenant_tokens_and_single_tokens() {
    let simulator =
        start(Simulator::builder().rule(|rules| rules.bad_token_prefix = Some("bad-".into()))).await;
    let tenant = json!({"appId": "crm", "tenantId": "t1", "refreshToken": "rt"});
    assert_eq!(
        post(&simulator, TENANT_BATCH, &json!({"tokens": [tenant]})).await,
        (200, json!({"failures": []}))
    );
    assert_eq!(post(&simulator, TENANT, &tenant).await, (200, json!({})));
    assert_eq!(post(&simulator, USER, &token("u1")).await, (200, json!({})));

    let mut verified = token("u2");
    verified["verifyRefresh"] = json!(true);
    verified["refreshToken"] = json!("bad-rt");
    let (status, body) = post(&simulator, USER, &verified).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("E152110")));
    verified["refreshToken"] = json!("rt");
    assert_eq!(post(&simulator, USER, &verified).await.0, 200);

    // What the provider does not know any more is found out only when somebody asks it, and is not stored
    // then.
    simulator.change_rules(|rules| rules.dead_refresh_prefix = Some("dead-".to_owned()));
    verified["refreshToken"] = json!("dead-rt");
    let (status, body) = post(&simulator, USER, &verified).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("E152110")));
    let user = Destination::user("crm", "u2");
    assert_eq!((simulator.writes()[&user], simulator.verifies()[&user]), (1, 2));
    verified["verifyRefresh"] = json!(false);
    assert_eq!(post(&simulator, USER, &verified).await.0, 200);
    assert_eq!((simulator.writes()[&user], simulator.verifies()[&user]), (2, 2));

    assert_eq!(simulator.writes()[&Destination::tenant("crm", "t1")], 2);
    assert_eq!(
        simulator.stored_count(),
        3,
        "the second upload replaced the tenant's token"
    );
    let (_, found) = post(
        &simulator,
        TENANT_LATEST,
        &json!({"appId": "crm", "tenantId": "t1"}),
    )
    .await;
    assert_eq!(found["token"]["userId"], "");
    assert_eq!(found["token"]["hasRefreshToken"], true);
    assert_eq!(found["token"].get("refreshToken"), None, "only on request");
}

/// A refusal of the whole request, whose text quotes no value.
async fn assert_refused(simulator: &SimulatorHandle, path: &str, body: &Value, code: &str, message: &str) {
    let (status, answer) = post(simulator, path, body).await;
    assert_eq!(
        (status, &answer["errorCode"]),
        (400, &json!(code)),
        "{body} {answer}"
    );
    assert!(
        answer["errorMessage"].as_str().unwrap().contains(message),
        "{body} {answer}"
    );
    assert!(!answer.to_string().contains("hush"), "{answer}");
}

#[tokio::test]
async fn a_token_of_the_wrong_form_spoils_the_whole_request() {
    let simulator = start(Simulator::builder()).await;
    let rows = [
        ("secret", json!("hush"), "unknown field tokens[1].secret"),
        (
            "verifyRefresh",
            json!(true),
            "unknown field tokens[1].verifyRefresh",
        ),
        (
            "verifyRefresh",
            json!(null),
            "unknown field tokens[1].verifyRefresh",
        ),
        ("accessTokenExpiry", json!("hush"), "wrong type"),
        (
            "accessTokenExpiry",
            json!("1900000000"),
            "tokens[1].accessTokenExpiry",
        ),
        ("accessTokenExpiry", json!(1.5), "tokens[1].accessTokenExpiry"),
        (
            "accessTokenExpiry",
            json!(3_000_000_000_i64),
            "tokens[1].accessTokenExpiry",
        ),
        ("scopes", json!("hush hush"), "tokens[1].scopes"),
        ("scopes", json!(["a", null]), "tokens[1].scopes[1]"),
        ("accessToken", json!({"hush": 1}), "tokens[1].accessToken"),
        ("userId", json!(17), "tokens[1].userId"),
    ];
    for (field, value, message) in rows {
        let mut item = token("u1");
        item[field] = value;
        let body = json!({"tokens": [token("u0"), item]});
        assert_refused(&simulator, USER_BATCH, &body, "E011001", message).await;
    }
    assert_eq!(simulator.stored_count(), 0);
}

#[tokio::test]
async fn a_field_of_another_call_is_unknown() {
    let simulator = start(Simulator::builder()).await;
    let mut lookup = json!({"appId": "crm", "userId": "u1"});
    let batch_of_users = batch(&["u1"]);
    let refused = async |path, body: &Value, message| {
        assert_refused(&simulator, path, body, "E011001", message).await;
    };
    refused(TENANT_BATCH, &batch_of_users, "unknown field tokens[0].userId").await;
    refused(TENANT, &token("u1"), "unknown field userId").await;
    refused(TENANT_LATEST, &lookup, "unknown field userId").await;
    lookup["scopes"] = json!([]);
    refused(USER_LATEST, &lookup, "unknown field scopes").await;
    refused(
        USER_SCOPED,
        &json!({"appId": "crm", "app": "hush"}),
        "unknown field app",
    )
    .await;
    let options = json!({"appId": "crm", "userId": "u1", "options": {"refresh": true}});
    refused(USER_LATEST, &options, "unknown field options.refresh").await;
    refused(
        USER_BATCH,
        &json!({"tokens": [], "dryRun": true}),
        "unknown field dryRun",
    )
    .await;
    assert_refused(
        &simulator,
        USER_LATEST,
        &json!({"appId": "crm"}),
        "E011004",
        "userId",
    )
    .await;
}

#[tokio::test]
async fn an_empty_or_malformed_batch_is_refused() {
    let simulator = start(Simulator::builder()).await;
    for body in [json!({"tokens": []}), json!({"tokens": null}), json!({})] {
        assert_refused(
            &simulator,
            USER_BATCH,
            &body,
            "E011004",
            "tokens must not be empty",
        )
        .await;
    }
    let twice = r#"{"tokens": [{"appId": "hush", "appId": "hush"}]}"#;
    for malformed in ["", "{\"tokens\": [", "{}{}", "hush", "[]", "\"hush\"", twice] {
        let request = client().post(format!("{}{USER_BATCH}", simulator.base_url()));
        let response = request
            .bearer_auth(bearer(&simulator))
            .body(malformed)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{malformed}");
        assert!(!response.text().await.unwrap().contains("hush"));
    }
}

#[tokio::test]
async fn null_counts_as_absent_for_a_field_that_exists() {
    let simulator = start(Simulator::builder()).await;
    let item = json!({
        "appId": "crm", "userId": "u1", "tenantId": null, "refreshToken": null, "accessToken": "at",
        "accessTokenExpiry": null, "scopes": null, "externalIdentifier": null, "verifyRefresh": null,
    });
    assert_eq!(post(&simulator, USER, &item).await, (200, json!({})));
    let lookup = json!({"appId": "crm", "userId": "u1", "tenantId": null, "options": null});
    let (status, found) = post(&simulator, USER_LATEST, &lookup).await;
    assert_eq!((status, &found["token"]["accessTokenExpiry"]), (200, &json!("0")));
}

#[tokio::test]
async fn one_bad_token_keeps_the_whole_batch_out_and_every_one_is_named() {
    let simulator = start(
        Simulator::builder()
            .apps(["crm"])
            .users(["good", "refused"])
            .tenants(["t1"])
            .refused_users(["refused"])
            .rule(|rules| rules.bad_token_prefix = Some("bad-".into())),
    )
    .await;
    let rows = [
        (json!({"appId": "crm", "accessToken": "at"}), "E011002"),
        (
            json!({"appId": "crm", "userId": "  ", "accessToken": "at"}),
            "E011002",
        ),
        (json!({"userId": "good", "accessToken": "at"}), "E011002"),
        (json!({"appId": "crm", "userId": "good"}), "E011002"),
        (
            json!({"appId": "crm", "userId": "good", "accessToken": "", "refreshToken": null}),
            "E011002",
        ),
        (
            json!({"appId": "crm", "userId": "good", "accessToken": "at", "accessTokenExpiry": -1}),
            "E011003",
        ),
        (
            json!({"appId": "erp", "userId": "good", "accessToken": "at"}),
            "E011004",
        ),
        (
            json!({"appId": "crm", "userId": "refused", "accessToken": "at"}),
            "E112102",
        ),
        (
            json!({"appId": "crm", "userId": "stranger", "accessToken": "at"}),
            "E112102",
        ),
        (
            json!({"appId": "crm", "userId": "good", "tenantId": "t2", "accessToken": "at"}),
            "E011004",
        ),
        (
            json!({"appId": "crm", "userId": "good", "accessToken": "bad-at"}),
            "E152110",
        ),
    ];
    for (item, code) in &rows {
        let (status, answer) = post(&simulator, USER_BATCH, &json!({"tokens": [token("good"), item]})).await;
        assert_eq!(
            (status, answer["failures"].as_array().unwrap().len()),
            (200, 1),
            "{item}"
        );
        let failure = &answer["failures"][0];
        assert_eq!(failure["errorCode"], *code, "{item}");
        assert_eq!(failure.get("tenantId"), None, "{item}");
        assert!(!failure["reason"].as_str().unwrap().is_empty());
    }
    assert_eq!(simulator.stored_count(), 0, "all or nothing");

    let tokens: Vec<_> = rows.iter().map(|(item, _)| item).collect();
    let (_, answer) = post(&simulator, USER_BATCH, &json!({"tokens": tokens})).await;
    assert_eq!(answer["failures"].as_array().unwrap().len(), rows.len());
    simulator.change_rules(|rules| rules.failures_at_once = Some(2));
    let (_, answer) = post(&simulator, USER_BATCH, &json!({"tokens": tokens})).await;
    assert_eq!(answer["failures"].as_array().unwrap().len(), 2);

    let tenant = json!({"tokens": [{"appId": "crm", "tenantId": "t2", "accessToken": "at"}]});
    simulator.change_rules(|rules| rules.failures_status = 400);
    let (status, answer) = post(&simulator, TENANT_BATCH, &tenant).await;
    assert_eq!(status, 400);
    assert_eq!(answer["failures"][0]["tenantId"], "t2");
    assert_eq!(answer["failures"][0].get("userId"), None);
}

#[tokio::test]
async fn users_can_be_refused_and_admitted_while_it_runs() {
    let simulator = start(Simulator::builder()).await;
    simulator.set_refused_users(["u2"]);
    let (_, answer) = post(&simulator, USER_BATCH, &batch(&["u1", "u2", "u3"])).await;
    let failure = json!({"appId": "crm", "userId": "u2", "errorCode": "E112102", "reason": "user not found"});
    assert_eq!(answer, json!({"failures": [failure]}));
    simulator.set_refused_users::<String>([]);
    assert_eq!(
        post(&simulator, USER_BATCH, &batch(&["u1", "u2", "u3"])).await.0,
        200
    );
    assert_eq!(stored_users(&simulator), ["u1", "u2", "u3"]);
}

#[tokio::test]
async fn latest_is_the_last_created_of_those_asked_for() {
    for (on_repeat, kept) in [(OnRepeat::Replace, 3), (OnRepeat::Add, 4)] {
        let simulator = start(Simulator::builder().rule(|rules| rules.on_repeat = on_repeat)).await;
        let upload = async |access: &str, tenant: Option<&str>, external: Option<&str>| {
            let body = json!({
                "appId": "crm", "userId": "u1", "accessToken": access,
                "tenantId": tenant, "externalIdentifier": external,
            });
            assert_eq!(post(&simulator, USER, &body).await.0, 200);
        };
        upload("first", None, None).await;
        upload("in-tenant", Some("t1"), None).await;
        upload("external", None, Some("x")).await;
        upload("again", None, None).await;
        assert_eq!(simulator.stored_count(), kept, "{on_repeat:?}");
        assert_eq!(simulator.writes()[&Destination::user("crm", "u1")], 2);

        let rows = [
            (USER_LATEST, json!({}), "again"),
            (USER_LATEST, json!({"tenantId": "t1"}), "in-tenant"),
            (USER_LATEST, json!({"externalIdentifier": "x"}), "external"),
        ];
        for (path, mut lookup, expected) in rows {
            lookup["appId"] = json!("crm");
            lookup["userId"] = json!("u1");
            let (status, found) = post(&simulator, path, &lookup).await;
            assert_eq!(
                (status, &found["token"]["accessToken"]),
                (200, &json!(expected)),
                "{lookup}"
            );
        }
        let in_tenant = simulator
            .latest(&Destination::user("crm", "u1").in_tenant("t1"))
            .unwrap();
        assert_eq!(in_tenant.exposed_access_token(), Some("in-tenant"));
    }
}

#[tokio::test]
async fn an_unknown_token_is_told_from_an_unknown_path() {
    let simulator = start(Simulator::builder()).await;
    let (status, body) = post(&simulator, USER_LATEST, &json!({"appId": "crm", "userId": "u1"})).await;
    assert_eq!(status, 404);
    assert!(body["errorCode"].is_string());

    let response = try_post(&simulator, "/v1/mgmt/outbound/app/user/nothing", &json!({}))
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let simulator = start(Simulator::builder()).await;
    let url = format!("{}{LICENSE}", simulator.base_url());
    let right = bearer(&simulator);
    for wrong in [
        None,
        Some("P:wrong".to_owned()),
        Some(format!("{right}x")),
        Some(right[..9].to_owned()),
    ] {
        let mut request = client().get(&url);
        if let Some(wrong) = wrong {
            request = request.bearer_auth(wrong);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.json::<Value>().await.unwrap()["errorCode"].is_string());
    }
    let response = client().get(&url).bearer_auth(right).send().await.unwrap();
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"rateLimitTier": "tier1"})
    );
    assert!(!format!("{simulator:?}").contains(simulator.management_key().reveal()));
}

#[tokio::test]
async fn the_rate_limit_answers_429_with_the_time_until_a_slot_frees() {
    let window = Duration::from_secs(30);
    let mut limit = RateLimit::new(2, window);
    let simulator = start(Simulator::builder().rate_limit(limit)).await;
    for user in ["u1", "u2"] {
        assert_eq!(post(&simulator, USER, &token(user)).await.0, 200);
    }
    let refused = async || {
        let response = try_post(&simulator, USER, &token("u3")).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let retry_after = response.headers()[header::RETRY_AFTER]
            .to_str()
            .unwrap()
            .to_owned();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["errorCode"], "E130429");
        retry_after
    };
    let seconds: u64 = refused().await.parse().unwrap();
    assert!((25..=30).contains(&seconds), "{seconds}");
    limit.retry_after = RetryAfter::Window;
    simulator.set_rate_limit(Some(limit));
    assert_eq!(refused().await, "30");
    limit.retry_after = RetryAfter::HttpDate;
    simulator.set_rate_limit(Some(limit));
    assert!(httpdate::parse_http_date(&refused().await).is_ok());

    let license = client().get(format!("{}{LICENSE}", simulator.base_url()));
    let license = license.bearer_auth(bearer(&simulator)).send().await.unwrap();
    assert_eq!(license.status(), 429, "whether it costs quota is not published");
    assert_eq!(simulator.rate_limited(), 4);
    assert_eq!(simulator.stored_count(), 2);
}

#[tokio::test]
async fn a_storm_refuses_uploads_and_reads() {
    let simulator = start(Simulator::builder()).await;
    simulator.script([Fault::Storm(Duration::from_mins(1))]);
    assert_eq!(post(&simulator, USER, &token("u1")).await.0, 429);
    let lookup = json!({"appId": "crm", "userId": "u1"});
    assert_eq!(post(&simulator, USER_LATEST, &lookup).await.0, 429);
    assert_eq!((simulator.rate_limited(), simulator.stored_count()), (2, 0));
}

#[tokio::test]
async fn a_cut_connection_is_no_answer_whether_committed_or_not() {
    let rows = [
        (Fault::CutBeforeCommit, 0),
        (Fault::CutAfterCommit, 2),
        (Fault::CommitLate(Duration::from_hours(1)), 0),
    ];
    for (fault, stored) in rows {
        let simulator = start(Simulator::builder()).await;
        // One client, whose second request would go over the connection of the first.
        let client = client();
        let send = async |users: &[&str]| {
            let request = client.post(format!("{}{USER_BATCH}", simulator.base_url()));
            request
                .bearer_auth(bearer(&simulator))
                .json(&batch(users))
                .send()
                .await
        };
        simulator.script([Fault::None, fault.clone()]);
        assert_eq!(send(&["u0"]).await.unwrap().status(), 200);
        let error = send(&["u1", "u2"]).await.unwrap_err();
        assert!(
            error.is_request() && error.status().is_none(),
            "{fault:?}: {error:?}"
        );
        assert_eq!(simulator.stored_count(), 1 + stored, "{fault:?}");
        assert_eq!(
            send(&["u3"]).await.unwrap().status(),
            200,
            "the next connection works"
        );

        let log = simulator.requests();
        let statuses: Vec<_> = log.all().iter().map(|request| request.status).collect();
        assert_eq!(
            statuses,
            [Some(200), None, Some(200)],
            "{fault:?}: sent once, not answered"
        );
        assert_eq!(log.batch_sizes(), [1, 2, 1]);
    }
}

#[tokio::test]
async fn a_late_commit_lands_after_the_cut() {
    let simulator = start(Simulator::builder()).await;
    simulator.script([Fault::CommitLate(Duration::from_millis(200))]);
    assert!(try_post(&simulator, USER, &token("u1")).await.is_err());
    assert_eq!(simulator.stored_count(), 0);
    wait_for_stored(&simulator, 1).await;
}

#[tokio::test]
async fn errors_and_unreadable_answers_commit_as_told() {
    let answer = |committed| Fault::Answer {
        status: 418,
        body: "{\"tea\":true}".to_owned(),
        committed,
    };
    let rows = [
        (Fault::Status(503), 503, 0),
        (Fault::StatusAfterCommit(504), 504, 1),
        (Fault::Unreadable, 200, 1),
        (Fault::Truncated, 200, 1),
        (answer(false), 418, 0),
        (answer(true), 418, 1),
        (Fault::RateLimited(Duration::from_secs(7)), 429, 0),
        (Fault::Delay(Duration::from_millis(1)), 200, 1),
    ];
    for (fault, status, stored) in rows {
        let simulator = start(Simulator::builder()).await;
        simulator.script([fault.clone()]);
        let response = try_post(&simulator, USER_BATCH, &batch(&["u1"])).await.unwrap();
        assert_eq!(response.status(), status, "{fault:?}");
        let readable = response.json::<Value>().await.is_ok();
        let is_json = matches!(
            fault,
            Fault::Answer { .. } | Fault::RateLimited(_) | Fault::Delay(_)
        );
        assert_eq!(readable, is_json, "{fault:?}");
        assert_eq!(simulator.stored_count(), stored, "{fault:?}");
        assert_eq!(simulator.scripted(), 0);
    }
}

#[tokio::test]
async fn reads_have_a_script_of_their_own() {
    let simulator = start(Simulator::builder()).await;
    simulator.script_reads([Fault::Status(500), Fault::CutBeforeCommit]);
    assert_eq!(post(&simulator, USER, &token("u1")).await.0, 200);
    let lookup = json!({"appId": "crm", "userId": "u1"});
    assert_eq!(post(&simulator, USER_LATEST, &lookup).await.0, 500);
    assert!(try_post(&simulator, USER_LATEST, &lookup).await.is_err());
    assert_eq!(post(&simulator, USER_LATEST, &lookup).await.0, 200);
}

#[tokio::test]
async fn a_gate_holds_an_answer_or_a_commit() {
    let simulator = start(Simulator::builder()).await;
    let (answer, commit) = (Barrier::new(), Barrier::new());
    simulator.script([
        Fault::Hold(answer.clone()),
        Fault::HoldBeforeCommit(commit.clone()),
    ]);
    let watch = async {
        answer.reached().await;
        assert_eq!(simulator.stored_count(), 1, "committed, not answered");
        answer.release();
    };
    let body = token("u1");
    let ((status, _), ()) = tokio::join!(post(&simulator, USER, &body), watch);
    assert_eq!(status, 200);

    // The client leaves, and the commit still comes.
    let body = token("u2");
    tokio::select! {
        _ = post(&simulator, USER, &body) => panic!("the answer must wait"),
        () = commit.reached() => {}
    }
    assert_eq!(simulator.stored_count(), 1);
    commit.release();
    wait_for_stored(&simulator, 2).await;
}

#[tokio::test]
async fn chance_is_repeatable_and_close_to_its_shares() {
    let statuses = async || {
        let rates = FaultRates {
            error: 0.3,
            cut_after_commit: 0.2,
            statuses: vec![503],
            ..FaultRates::default()
        };
        let simulator = start(Simulator::builder().faults(rates).seed(7)).await;
        let client = client();
        for index in 0..100 {
            let request = client.post(format!("{}{USER}", simulator.base_url()));
            let body = token(&format!("u{index}"));
            let _ = request.bearer_auth(bearer(&simulator)).json(&body).send().await;
        }
        let log = simulator.requests();
        let statuses: Vec<_> = log.all().iter().map(|request| request.status).collect();
        let committed = statuses.iter().filter(|status| **status != Some(503)).count();
        assert_eq!(
            simulator.stored_count(),
            committed,
            "cut ones are committed, failed ones are not"
        );
        statuses
    };
    let first = statuses().await;
    assert_eq!(first, statuses().await);
    let share = |status| first.iter().filter(|found| **found == status).count();
    assert!((15..=45).contains(&share(Some(503))), "{first:?}");
    assert!((8..=35).contains(&share(None)), "{first:?}");
}

#[tokio::test]
async fn a_batch_above_a_size_limit_is_refused() {
    let simulator = start(Simulator::builder().rule(|rules| rules.max_tokens = Some(2))).await;
    let large = batch(&["u1", "u2", "u3"]);
    assert_eq!(post(&simulator, USER_BATCH, &large).await, (413, Value::Null));
    simulator.change_rules(|rules| rules.too_large = TooLarge::InvalidArguments);
    let (status, body) = post(&simulator, USER_BATCH, &large).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("E011004")));
    assert_eq!(post(&simulator, USER_BATCH, &batch(&["u1", "u2"])).await.0, 200);

    simulator.change_rules(|rules| (rules.max_tokens, rules.max_bytes) = (None, Some(100)));
    assert_eq!(post(&simulator, USER_BATCH, &batch(&["u3", "u4"])).await.0, 400);
    assert_eq!(simulator.stored_count(), 2);
}

#[tokio::test]
async fn a_large_batch_is_accepted_where_nothing_limits_it() {
    let simulator = start(Simulator::builder()).await;
    let mut item = token("u1");
    item["accessToken"] = json!("x".repeat(3 * 1024 * 1024));
    assert_eq!(
        post(&simulator, USER_BATCH, &json!({"tokens": [item]})).await.0,
        200
    );
}

#[tokio::test]
async fn the_log_tells_paths_sizes_and_ambiguous_batches() {
    let simulator = start(Simulator::builder()).await;
    post(&simulator, USER_BATCH, &batch(&["u1", "u1", "u2"])).await;
    post(&simulator, USER_BATCH, &json!({"tokens": []})).await;
    post(&simulator, USER_LATEST, &json!({"appId": "crm", "userId": "u1"})).await;
    let log = simulator.requests();
    assert_eq!(log.batch_sizes(), [3, 0]);
    assert_eq!(log.all()[0].ambiguous, 1);
    assert_eq!(log.counts()[&(USER_BATCH.to_owned(), Some(400))], 1);
    assert_eq!((log.to("/batch/upload"), log.with_status(200)), (2, 2));
}

#[tokio::test]
async fn what_is_stored_can_be_altered_behind_the_back() {
    let simulator = start(Simulator::builder()).await;
    post(&simulator, USER_BATCH, &batch(&["u1", "u2"])).await;
    simulator.alter_stored(|tokens| {
        tokens.remove(0);
        tokens[0].access_token = Some(Secret::new("other"));
    });
    let (status, _) = post(&simulator, USER_LATEST, &json!({"appId": "crm", "userId": "u1"})).await;
    assert_eq!(status, 404);
    let (_, found) = post(&simulator, USER_LATEST, &json!({"appId": "crm", "userId": "u2"})).await;
    assert_eq!(found["token"]["accessToken"], "other");
}

#[tokio::test]
async fn it_ends_with_held_requests_and_when_dropped() {
    let simulator = start(Simulator::builder()).await;
    let url = format!("{}{LICENSE}", simulator.base_url());
    let gate = Barrier::new();
    simulator.script([Fault::Hold(gate.clone())]);
    let held = client()
        .post(format!("{}{USER}", simulator.base_url()))
        .bearer_auth(bearer(&simulator));
    let held = tokio::spawn(held.json(&token("u1")).send());
    gate.reached().await;
    tokio::time::timeout(Duration::from_secs(2), simulator.shutdown())
        .await
        .unwrap();
    assert!(held.await.unwrap().is_err());
    assert!(client().get(&url).send().await.unwrap_err().is_connect());

    let simulator = start(Simulator::builder()).await;
    let url = format!("{}{LICENSE}", simulator.base_url());
    drop(simulator);
    let ended = async { while client().get(&url).send().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
}
