//! Fetching tokens from the stand-in: which one is found, and what a fetch does to it.

use serde_json::{Value, json};
use tokenferry::simulator::{App, Destination, Simulator, SimulatorHandle, WithoutTenant};

use crate::{
    simulator::{bearer, post, start},
    support::http::client,
};

const UPLOAD: &str = "/v1/mgmt/outbound/app/user/oauthtoken/upload";
const BATCH: &str = "/v1/mgmt/outbound/app/user/oauthtoken/batch/upload";
const LATEST: &str = "/v1/mgmt/outbound/app/user/token/latest";
const SCOPED: &str = "/v1/mgmt/outbound/app/user/token";
const TENANT_SCOPED: &str = "/v1/mgmt/outbound/app/tenant/token";

/// A token of one user for one app, with more in it.
fn token(more: &Value) -> Value {
    let mut token = json!({"appId": "crm", "userId": "u1"});
    for (name, value) in more.as_object().unwrap() {
        token[name] = value.clone();
    }
    token
}

async fn uploaded(simulator: &SimulatorHandle, more: &Value) {
    assert_eq!(post(simulator, UPLOAD, &token(more)).await.0, 200, "{more}");
}

/// The access token that a fetch finds, or the code of the answer.
async fn fetched(simulator: &SimulatorHandle, path: &str, more: &Value) -> String {
    let (status, body) = post(simulator, path, &token(more)).await;
    match status {
        200 => body["token"]["accessToken"].as_str().unwrap().to_owned(),
        _ => format!("{status} {}", body["errorCode"].as_str().unwrap_or_default()),
    }
}

fn seconds_from_now(seconds: i64) -> i64 {
    chrono::Utc::now().timestamp() + seconds
}

#[tokio::test]
async fn tokens_that_differ_in_scopes_are_separate_and_each_is_found_by_exactly_its_own() {
    let simulator = start(Simulator::builder()).await;
    for (access, scopes) in [
        ("none", json!(null)),
        ("one", json!(["a"])),
        ("two", json!(["b", "a"])),
        ("two again", json!(["a", "b", "a"])),
    ] {
        uploaded(&simulator, &json!({"accessToken": access, "scopes": scopes})).await;
    }
    assert_eq!(simulator.stored_count(), 3);
    let place = Destination::user("crm", "u1");
    let writes = |scopes: &[&str]| simulator.writes()[&place.clone().with_scopes(scopes.to_vec())];
    assert_eq!((writes(&[]), writes(&["a"]), writes(&["a", "b"])), (1, 1, 2));
    for (scopes, expected) in [
        (json!(["a"]), "one"),
        (json!(["a", "b"]), "two again"),
        (json!(["b", "a", "b"]), "two again"),
        (json!([]), "none"),
        (json!(null), "none"),
        (json!(["b"]), "404 E111504"),
        (json!(["a", "b", "c"]), "404 E111504"),
        (json!(["A"]), "404 E111504"),
    ] {
        let found = fetched(&simulator, SCOPED, &json!({ "scopes": scopes })).await;
        assert_eq!(found, expected, "{scopes}");
    }
    assert_eq!(fetched(&simulator, LATEST, &json!({})).await, "two again");
    simulator.change_rules(|rules| rules.token_not_found_status = 400);
    let unknown = json!({"scopes": ["c"]});
    assert_eq!(fetched(&simulator, SCOPED, &unknown).await, "400 E111504");
    simulator.change_rules(|rules| rules.token_not_found_status = 404);

    let tenants = json!({"appId": "crm", "tenantId": "t1", "accessToken": "at", "scopes": ["a"]});
    let path = UPLOAD.replace("/user/", "/tenant/");
    assert_eq!(post(&simulator, &path, &tenants).await.0, 200);
    for (scopes, status) in [(json!(["a"]), 200), (json!([]), 404)] {
        let wanted = json!({"appId": "crm", "tenantId": "t1", "scopes": scopes});
        assert_eq!(
            post(&simulator, TENANT_SCOPED, &wanted).await.0,
            status,
            "{scopes}"
        );
    }
}

#[tokio::test]
async fn without_a_tenant_a_gateway_shows_the_newest_of_all_or_the_tenantless_one() {
    for (rule, alone, both) in [
        (WithoutTenant::NewestOfAll, "in t1", "in t1"),
        (WithoutTenant::TenantlessOnly, "404 E111504", "plain"),
    ] {
        let simulator = start(Simulator::builder()).await;
        simulator.change_rules(|rules| rules.without_tenant = rule);
        let in_tenant = json!({"accessToken": "in t1", "tenantId": "t1"});
        uploaded(&simulator, &in_tenant).await;
        assert_eq!(fetched(&simulator, LATEST, &json!({})).await, alone, "{rule:?}");
        uploaded(&simulator, &json!({"accessToken": "plain"})).await;
        uploaded(&simulator, &in_tenant).await;
        for path in [LATEST, SCOPED] {
            assert_eq!(fetched(&simulator, path, &json!({})).await, both, "{rule:?}");
            let named = fetched(&simulator, path, &json!({"tenantId": "t1"})).await;
            assert_eq!(named, "in t1", "{rule:?}");
        }
    }
}

#[tokio::test]
async fn a_fetch_refreshes_what_has_expired_or_is_told_to_and_counts_it() {
    let simulator =
        start(Simulator::builder().rule(|rules| rules.dead_refresh_prefix = Some("dead-".into()))).await;
    let fetch = async |user: &str, force: bool| {
        let options = json!({"withRefreshToken": true, "forceRefresh": force});
        let wanted = json!({"appId": "crm", "userId": user, "options": options});
        post(&simulator, LATEST, &wanted).await.1["token"].clone()
    };
    let upload = async |user: &str, refresh: Option<&str>, access: Option<&str>, expiry: i64| {
        let body = json!({"appId": "crm", "userId": user, "refreshToken": refresh, "accessToken": access,
                          "accessTokenExpiry": expiry});
        assert_eq!(post(&simulator, UPLOAD, &body).await.0, 200);
    };
    let (past, soon) = (seconds_from_now(-5), seconds_from_now(60));
    upload("expired", Some("rt"), Some("at"), past).await;
    upload("alive", Some("rt"), Some("at"), soon).await;
    upload("no-expiry", Some("rt"), Some("at"), 0).await;
    upload("no-refresh", None, Some("at"), past).await;
    upload("no-access", Some("rt"), None, 0).await;
    upload("dead", Some("dead-rt"), Some("at"), past).await;
    for (user, access) in [
        ("alive", "at"),
        ("no-expiry", "at"),
        ("no-refresh", "at"),
        ("no-access", ""),
    ] {
        let found = fetch(user, false).await;
        assert_eq!(
            (&found["accessToken"], &found["lastRefreshTime"]),
            (&json!(access), &json!("0")),
            "{user}"
        );
    }
    assert_eq!(simulator.refreshes().len(), 0);

    let found = fetch("expired", false).await;
    assert_eq!(
        (&found["accessToken"], &found["refreshToken"]),
        (&json!("at-refreshed-1"), &json!("rt"))
    );
    let number = |value: &Value| value.as_str().unwrap().parse::<i64>().unwrap();
    assert!(number(&found["accessTokenExpiry"]) > seconds_from_now(3000));
    assert!((seconds_from_now(-5)..=seconds_from_now(1)).contains(&number(&found["lastRefreshTime"])));
    // It is alive now.
    assert_eq!(fetch("expired", false).await["accessToken"], "at-refreshed-1");
    simulator.change_rules(|rules| rules.rotates_refresh_tokens = true);
    let found = fetch("expired", true).await;
    assert_eq!(
        (&found["accessToken"], &found["refreshToken"]),
        (&json!("at-refreshed-1-refreshed-2"), &json!("rt-refreshed-2"))
    );

    let found = fetch("dead", false).await;
    assert_eq!(
        (
            &found["accessToken"],
            &found["lastRefreshError"],
            &found["lastRefreshTime"]
        ),
        (&json!("at"), &json!("invalid_grant"), &json!("0"))
    );
    simulator.change_rules(|rules| {
        rules.refreshes_without_access_token = true;
        rules.refresh_error = Some("the provider is away".to_owned());
    });
    assert_eq!(
        fetch("no-access", false).await["lastRefreshError"],
        "the provider is away"
    );
    simulator.change_rules(|rules| rules.refresh_error = None);
    let found = fetch("no-access", false).await;
    assert_eq!(
        (&found["accessToken"], &found["lastRefreshError"]),
        (&json!("access-refreshed-2"), &json!(""))
    );
    let refreshes = simulator.refreshes();
    let of = |user| refreshes[&Destination::user("crm", user)];
    assert_eq!(
        (of("expired"), of("dead"), of("no-access"), refreshes.len()),
        (2, 1, 2, 3)
    );
}

#[tokio::test]
async fn the_apps_a_user_has_tokens_for_are_those_that_are_valid_now() {
    let simulator = start(Simulator::builder()).await;
    for (app, user, tenant, access, expiry) in [
        ("alive", "u1", None, Some("at"), seconds_from_now(60)),
        ("unknown", "u1", Some("t1"), Some("at"), 0),
        ("expired", "u1", None, Some("at"), seconds_from_now(-60)),
        ("refresh", "u1", None, None, 0),
        ("other", "u2", None, Some("at"), 0),
    ] {
        let body = json!({"appId": app, "userId": user, "tenantId": tenant, "accessToken": access, "refreshToken": "rt",
                          "accessTokenExpiry": expiry});
        assert_eq!(post(&simulator, UPLOAD, &body).await.0, 200);
    }
    let get = async |query: &str| {
        let url = format!(
            "{}/v1/mgmt/outbound/apps-with-user-token{query}",
            simulator.base_url()
        );
        let response = client().get(url).bearer_auth(bearer(&simulator)).send().await;
        let response = response.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let apps = |ids: &[&str]| (200, json!({ "appIds": ids }));
    assert_eq!(get("?userId=u1").await, apps(&["alive", "unknown"]));
    assert_eq!(get("?userId=u1&tenantId=t1").await, apps(&["unknown"]));
    assert_eq!(get("?userId=nobody").await, apps(&[]));
    assert_eq!(get("?tenantId=t1").await.0, 400);
    assert_eq!(get("?userId=u1&appId=alive").await.0, 400);
    assert_eq!(simulator.refreshes().len(), 0);
}

#[tokio::test]
async fn an_app_for_api_keys_takes_keys_and_no_tokens() {
    let keys = App::from("keys").with_type(Some("apikey"));
    let simulator = start(Simulator::builder().apps([App::from("crm"), keys])).await;
    let oauth = json!({"appId": "keys", "userId": "u1", "accessToken": "at"});
    let (status, body) = post(&simulator, UPLOAD, &oauth).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("E011004")));
    let good = json!({"appId": "crm", "userId": "u1", "accessToken": "at"});
    let (_, body) = post(&simulator, BATCH, &json!({"tokens": [good, oauth]})).await;
    let failure = &body["failures"][0];
    assert_eq!(
        (&failure["appId"], &failure["errorCode"]),
        (&json!("keys"), &json!("E011004"))
    );
    assert_eq!(simulator.stored_count(), 0, "all or nothing");

    let user = "/v1/mgmt/outbound/app/user/apikey/upload";
    let tenant = "/v1/mgmt/outbound/app/tenant/apikey/upload";
    let key = json!({"appId": "keys", "userId": "u1", "apiKey": "k1"});
    for (path, change, status) in [
        (user, json!({}), 200),
        (user, json!({"tenantId": "t1"}), 200),
        (user, json!({"appId": "crm"}), 400),
        (user, json!({"appId": "nowhere"}), 400),
        (user, json!({"apiKey": ""}), 400),
        (user, json!({"userId": null}), 400),
        (user, json!({"scopes": ["a"]}), 400),
        (tenant, json!({"tenantId": "t1"}), 400),
    ] {
        let mut body = key.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(post(&simulator, path, &body).await.0, status, "{body}");
    }
    let of_tenant = json!({"appId": "keys", "tenantId": "t1", "apiKey": "k2"});
    assert_eq!(post(&simulator, tenant, &of_tenant).await, (200, json!({})));
    assert_eq!(simulator.stored_count(), 3);
    let stored = simulator.latest(&Destination::tenant("keys", "t1")).unwrap();
    assert_eq!(stored.exposed_access_token(), Some("k2"));
}
