//! Who and what exists: the stand-in answers as strictly as the API, and the client understands it.

use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokenferry::{
    descope::{App, AppType, Client, LookupOutcome, ProviderTokenResult, UserStatus},
    metrics::Meter,
    simulator::{self, Bucket, Fault, ProviderToken, RateLimit, Simulator, SimulatorHandle, User},
};

use crate::support::{http, settings::try_settings};

fn client(simulator: &SimulatorHandle) -> Client {
    let text = format!(
        r#"
        migration = "tests"
        [source]
        url = "postgres://localhost/none"
        table = "t"
        key = "id"
        [source.columns]
        app = "a"
        user_id = "u"
        access_token = "t"
        [api]
        base_url = "{}"
        project_id = "{}"
        management_key = "{}"
        timeout = "1s"
        "#,
        simulator.base_url(),
        simulator.project_id(),
        simulator.management_key().reveal()
    );
    Client::new(&try_settings(&text).unwrap().api, Meter::default()).unwrap()
}

fn people() -> Vec<User> {
    vec![
        User::from("U1").with_login_id("alice@example.com"),
        User::from("U2")
            .with_login_id("bob@example.com")
            .with_login_id("+4912345")
            .with_status(simulator::UserStatus::Disabled),
        User::from("U3")
            .with_login_id("carol@example.com")
            .with_status(simulator::UserStatus::Invited),
    ]
}

/// The status and the body of a raw request.
async fn raw(simulator: &SimulatorHandle, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}{path}", simulator.base_url());
    let request = match body {
        Some(body) => http::client().post(url).json(&body),
        None => http::client().get(url),
    };
    let key = simulator.management_key().reveal();
    let response = request
        .bearer_auth(format!("{}:{key}", simulator.project_id()))
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_licence_comes_with_the_servers_clock() {
    let simulator = Simulator::builder().start().await.unwrap();
    let LookupOutcome::Found(license) = client(&simulator).license().await else {
        panic!("no licence")
    };
    assert_eq!(license.rate_limit_tier, "tier1");
    let ago = SystemTime::now().duration_since(license.server_time.unwrap());
    assert!(ago.unwrap() < Duration::from_secs(10));
}

#[tokio::test]
async fn apps_and_tenants_all_at_once_and_one_by_one() {
    let apps = [
        simulator::App::from("crm"),
        simulator::App::from("keys").with_type(Some("apikey")),
        simulator::App::from("untold").with_type(None),
    ];
    let builder = Simulator::builder().apps(apps).tenants(["t1", "t 2/ü"]);
    let simulator = builder.start().await.unwrap();
    let client = client(&simulator);
    let app = |id: &str, app_type| App {
        id: id.into(),
        app_type,
    };
    let all = vec![
        app("crm", AppType::OAuth),
        app("keys", AppType::Other("apikey".into())),
        app("untold", AppType::Unsaid),
    ];
    assert_eq!(client.apps().await, LookupOutcome::Found(all.clone()));
    assert_eq!(client.app("keys").await, LookupOutcome::Found(all[1].clone()));
    assert_eq!(client.app("none").await, LookupOutcome::Absent);
    assert_eq!(
        client.app("a/b?c").await,
        LookupOutcome::Absent,
        "one segment of the path"
    );
    assert_eq!(
        client.tenants().await,
        LookupOutcome::Found(vec!["t 2/ü".into(), "t1".into()])
    );
    assert_eq!(client.tenant("t 2/ü").await, LookupOutcome::Found(()));
    assert_eq!(client.tenant("t3").await, LookupOutcome::Absent);
}

#[tokio::test]
async fn a_stand_in_without_lists_finds_whatever_is_asked_for() {
    let simulator = Simulator::builder().start().await.unwrap();
    let client = client(&simulator);
    assert_eq!(client.apps().await, LookupOutcome::Found(Vec::new()));
    assert!(matches!(client.app("any").await, LookupOutcome::Found(_)));
    assert_eq!(client.tenants().await, LookupOutcome::Found(Vec::new()));
    assert_eq!(client.tenant("any").await, LookupOutcome::Found(()));
    let LookupOutcome::Found(user) = client.user_with_login_id("a@b").await else {
        panic!("no user")
    };
    assert_eq!(user.id, "a@b");
}

#[tokio::test]
async fn users_by_login_id_by_search_and_in_bulk() {
    for not_found in [400, 404] {
        let simulator = Simulator::builder().users(people()).start().await.unwrap();
        simulator.change_rules(|rules| rules.user_not_found_status = not_found);
        let client = client(&simulator);
        let LookupOutcome::Found(user) = client.user_with_login_id("+4912345").await else {
            panic!("no user")
        };
        assert_eq!((user.id.as_str(), user.status), ("U2", UserStatus::Disabled));
        assert_eq!(client.user_with_login_id("nobody").await, LookupOutcome::Absent);
        assert_eq!(
            client.user_with_login_id("ALICE@example.com").await,
            LookupOutcome::Absent
        );

        let LookupOutcome::Found(users) = client.users(&["U3", "U9", "U2"]).await else {
            panic!("no users")
        };
        let found: Vec<_> = users.iter().map(|user| (user.id.as_str(), user.status)).collect();
        assert_eq!(found, [("U3", UserStatus::Active), ("U2", UserStatus::Disabled)]);

        let asked = ["alice@example.com", "bob@example.com", "+4912345", "nobody"];
        let LookupOutcome::Found(page) = client.search_users(&asked, 0).await else {
            panic!("no page")
        };
        let found: Vec<_> = page.users.iter().map(|user| user.id.as_str()).collect();
        assert_eq!((found, page.total), (vec!["U1", "U2"], Some(2)));
        let LookupOutcome::Found(beyond) = client.search_users(&asked, 1).await else {
            panic!("no page")
        };
        assert!(beyond.users.is_empty());
    }
}

#[tokio::test]
async fn the_stand_in_is_strict() {
    let simulator = Simulator::builder().users(people()).start().await.unwrap();
    let many: Vec<String> = (0..101).map(|number| format!("U{number}")).collect();
    for (path, body) in [
        ("/v1/mgmt/users/load", json!({"userIds": ["U1"], "loginIds": []})),
        ("/v1/mgmt/users/load", json!({"userIds": []})),
        ("/v1/mgmt/users/load", json!({"userIds": many})),
        ("/v2/mgmt/user/search", json!({"loginIDs": ["x"]})),
        ("/v2/mgmt/user/search", json!({"loginIds": "x"})),
        ("/v2/mgmt/user/search", json!({"loginIds": many})),
        ("/v2/mgmt/user/search", json!({"limit": 101})),
        ("/v2/mgmt/user/search", json!({"page": -1})),
        ("/v2/mgmt/user/search", json!({"tenantIds": ["t1"]})),
    ] {
        let (status, answer) = raw(&simulator, path, Some(body.clone())).await;
        assert_eq!(status, 400, "{path} {body}");
        assert!(answer["errorCode"].is_string(), "{path} {body}: {answer}");
    }
    for path in [
        "/v1/mgmt/user",
        "/v1/mgmt/user?loginId=",
        "/v1/mgmt/user?loginId=a&more=b",
        "/v1/mgmt/tenant",
        "/v1/mgmt/tenant?ID=t",
    ] {
        assert_eq!(raw(&simulator, path, None).await.0, 400, "{path}");
    }
    let (_, answer) = raw(
        &simulator,
        "/v1/mgmt/users/load",
        Some(json!({"userIds": ["U1", "U2"]})),
    )
    .await;
    assert_eq!(answer["total"], 1, "a disabled user is not valid");
    let unauthorized = http::client()
        .get(format!("{}/v1/mgmt/tenant/all", simulator.base_url()))
        .send()
        .await;
    assert_eq!(unauthorized.unwrap().status(), 401);
}

#[tokio::test]
async fn each_kind_of_request_has_its_own_rate_limit() {
    let one = RateLimit::new(1, Duration::from_secs(60));
    let simulator = Simulator::builder()
        .users(people())
        .limit(Bucket::Users, Some(one))
        .limit(Bucket::Search, Some(one))
        .rate_limit(one)
        .start()
        .await
        .unwrap();
    let client = client(&simulator);
    assert!(matches!(
        client.search_users(&["x"], 0).await,
        LookupOutcome::Found(_)
    ));
    assert!(matches!(client.users(&["U1"]).await, LookupOutcome::Found(_)));
    assert!(matches!(client.apps().await, LookupOutcome::Found(_)));
    let limited = LookupOutcome::RateLimited {
        retry_after: Some(Duration::from_secs(60)),
    };
    assert_eq!(client.user_with_login_id("x").await.map(drop), limited);
    assert_eq!(client.search_users(&["x"], 0).await.map(drop), limited);
    assert_eq!(client.tenants().await.map(drop), limited);
    assert_eq!(
        client.license().await.map(drop),
        limited,
        "whether it costs quota is not published"
    );
    assert_eq!(simulator.rate_limited(), 4);
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let simulator = Simulator::builder().start().await.unwrap();
    let client = client(&simulator);
    // Who names no tier and is refused asks for it, and tries again.
    client.handshake().await;
    simulator.script_lookups([
        Fault::Status(503),
        Fault::CutAfterCommit,
        Fault::Unreadable,
        Fault::Status(403),
        Fault::Status(404),
    ]);
    let mut words = Vec::new();
    while simulator.scripted() > 0 {
        words.push(match client.apps().await {
            LookupOutcome::TryAgain { refusal, .. } => refusal.code.into_owned(),
            LookupOutcome::Credentials(_) => "credentials".to_owned(),
            LookupOutcome::Endpoint(_) => "endpoint".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        words,
        [
            "http_503",
            "connection_lost",
            "http_200",
            "credentials",
            "endpoint"
        ]
    );
}

#[tokio::test]
async fn provider_tokens_are_handed_out_as_strictly_as_the_api_does() {
    let path = "/v1/mgmt/user/provider/token";
    let token = ProviderToken::new("kept")
        .with_refresh_token("kept-refresh")
        .expiring_at(1_900_000_000)
        .with_scopes(["a", "b"]);
    let people = vec![
        User::from("U1")
            .with_login_id("alice@example.com")
            .with_provider_token("google", token),
        User::from("U2").with_login_id("bob@example.com"),
    ];
    let simulator = Simulator::builder().users(people).start().await.unwrap();
    let get = async |query: &str| raw(&simulator, &format!("{path}?{query}"), None).await;
    for (query, status, code) in [
        ("provider=google", 400, "E011004"),
        ("loginId=alice@example.com", 400, "E011004"),
        (
            "loginId=alice@example.com&provider=google&userId=U1",
            400,
            "E011001",
        ),
        (
            "loginId=alice@example.com&provider=google&forceRefresh=yes",
            400,
            "E011001",
        ),
        ("loginId=zoe@example.com&provider=google", 400, "E112102"),
        ("loginId=bob@example.com&provider=google", 404, "E062404"),
        ("loginId=alice@example.com&provider=github", 404, "E062404"),
    ] {
        let (found, body) = get(query).await;
        assert_eq!(
            (found, body["errorCode"].as_str()),
            (status, Some(code)),
            "{query}"
        );
    }
    let (_, found) = get("loginId=alice@example.com&provider=google").await;
    assert_eq!(
        found,
        json!({"provider": "google", "providerUserId": "", "accessToken": "kept", "expiration": 1_900_000_000,
               "scopes": ["a", "b"]}),
        "the refresh token is for who asks for it"
    );
    let (_, found) =
        get("loginId=alice@example.com&provider=google&withRefreshToken=true&forceRefresh=True").await;
    assert_eq!(
        (&found["accessToken"], &found["refreshToken"]),
        (&json!("kept-renewed"), &json!("kept-refresh"))
    );

    let client = client(&simulator);
    let LookupOutcome::Found(ProviderTokenResult::Token(token)) =
        client.provider_token("alice@example.com", "google", false).await
    else {
        panic!("no token")
    };
    assert_eq!(token.access_token.unwrap().reveal(), "kept");
    assert_eq!(token.refresh_token.unwrap().reveal(), "kept-refresh");
    assert_eq!(token.expires_at, Some(1_900_000_000));
    assert_eq!(token.scopes, ["a", "b"]);
    let asked = async |login_id: &str| client.provider_token(login_id, "google", false).await;
    assert!(matches!(
        asked("bob@example.com").await,
        LookupOutcome::Found(ProviderTokenResult::Nothing)
    ));
    for status in [400, 404] {
        simulator.change_rules(|rules| rules.user_not_found_status = status);
        assert!(matches!(
            asked("zoe@example.com").await,
            LookupOutcome::Found(ProviderTokenResult::NoUser)
        ));
    }
    simulator.change_rules(|rules| rules.unmanaged_providers = ["google".to_owned()].into());
    let LookupOutcome::Refused(refusal) = asked("alice@example.com").await else {
        panic!("it was switched off")
    };
    assert_eq!(refusal.code, "E062403");
    simulator.set_limit(Bucket::Users, Some(RateLimit::new(0, Duration::from_secs(60))));
    assert!(matches!(
        asked("alice@example.com").await,
        LookupOutcome::RateLimited { .. }
    ));
}
