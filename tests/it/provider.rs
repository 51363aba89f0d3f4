//! Rows whose tokens Descope itself keeps.

use std::time::Duration;

use chrono::Utc;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::json;
use tokenferry::{
    secret::Secret,
    simulator::{Bucket, Fault, ProviderToken, RateLimit, Simulator, SimulatorHandle, StoredToken, User},
};
use tokio::time::timeout;

use crate::support::{
    bed::{Bed, TOKEN},
    listings::{FAST_LOOKUPS, failures, stored},
    settings::try_settings,
};

const FETCH: &str = "/v1/mgmt/user/provider/token";

/// Tokens of Google's where rows have none.
const SETTINGS: &str = "source.columns.login_id = \"email\"
    source.provider.provider = \"google\"";

fn kept(name: &str) -> ProviderToken {
    ProviderToken::new(format!("{TOKEN}-kept-{name}"))
        .with_refresh_token(format!("{TOKEN}-kept-refresh-{name}"))
        .expiring_at(Utc::now().timestamp() + 3600)
        .with_scopes(["calendar"])
}

/// U7, who signs in as user-7@example.com, without any token.
fn user(n: i64) -> User {
    User::from(format!("U{n}")).with_login_id(format!("user-{n}@example.com"))
}

/// Users `from..=to`, each with a token of Google's.
fn users(from: i64, to: i64) -> Vec<User> {
    (from..=to)
        .map(|n| user(n).with_provider_token("google", kept(&n.to_string())))
        .collect()
}

async fn bed(users: Vec<User>, settings: &str) -> Bed {
    let bed = Bed::with(Simulator::builder().users(users)).await;
    bed.sql("alter table legacy_tokens add column email text").await;
    bed.set(&format!("{SETTINGS}\n{FAST_LOOKUPS}\n{settings}"))
}

impl Bed {
    /// Rows that hold nothing but an app and a login ID.
    async fn bare_rows(&self, from: i64, to: i64) {
        self.sql(&format!(
            "insert into legacy_tokens (id, provider, email)
             select n, 'google-app', 'user-' || n || '@example.com' from generate_series({from}, {to}) n"
        ))
        .await;
    }

    async fn results(&self) -> Vec<String> {
        self.texts(
            "select concat_ws(' ', source_key, state, error_code, user_id) from tokenferry.tokens order by source_key::bigint",
        )
        .await
    }
}

/// How many tokens were asked for.
fn fetched(api: &SimulatorHandle) -> usize {
    let requests = api.requests();
    requests
        .all()
        .iter()
        .filter(|request| request.path == FETCH)
        .count()
}

#[tokio::test]
async fn rows_with_only_a_login_id_go_all_the_way_and_are_fetched_once() {
    let bed = bed(users(1, 120), "source.page_size = 70").await;
    bed.bare_rows(1, 120).await;
    let ran = bed.migrate().await.ended_with(0);
    assert_eq!(fetched(&bed.api), 120);
    assert_eq!(bed.api.stored_count(), 120);
    for token in bed.api.stored() {
        let user = token.destination.user_id.clone().unwrap();
        let n = user.trim_start_matches('U');
        assert_eq!(token.destination.app_id, "google-app");
        assert_eq!(
            token.exposed_access_token(),
            Some(format!("{TOKEN}-kept-{n}").as_str())
        );
        assert_eq!(
            token.exposed_refresh_token(),
            Some(format!("{TOKEN}-kept-refresh-{n}").as_str())
        );
        assert!(i64::from(token.access_token_expiry) > Utc::now().timestamp());
        assert_eq!(token.scopes, ["calendar"]);
    }
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains(TOKEN), "no token");
        assert!(!text.contains("example.com"), "no login ID, in no address");
    }
    let ran = ran.json();
    // Two searches, one for each page, and the licence.
    assert_eq!(
        (&ran["lookups"], &ran["tokens"]["committed"]),
        (&json!(123), &json!(120))
    );

    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&again["tokens"]["unchanged"], &again["lookups"]),
        (&json!(120), &json!(0))
    );

    // New rows and touched ones, and no others.
    bed.api
        .change_directory(|directory| directory.set_users(users(1, 123)));
    bed.bare_rows(121, 123).await;
    bed.sql("update legacy_tokens set updated_at = now() + interval '1 second' where id in (5, 80)")
        .await;
    let next = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&next["tokens"]["unchanged"], &next["tokens"]["committed"]),
        (&json!(118), &json!(5))
    );
    assert_eq!(fetched(&bed.api), 125);

    // What Descope keeps may have changed without a sign in the source.
    let bed = bed.set(&format!(
        "{SETTINGS}\n{FAST_LOOKUPS}\nsource.provider.revision = \"2\"\nsource.provider.force_refresh = true"
    ));
    bed.migrate().await.ended_with(0);
    assert_eq!(fetched(&bed.api), 248);
    assert!(
        stored(&bed.api).values().all(|token| token.ends_with("-renewed")),
        "a refresh was asked for"
    );
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(again["tokens"]["unchanged"], 123);
}

#[tokio::test]
async fn where_there_are_two_tokens_the_preferred_one_goes_up() {
    for (prefer, expected, asked) in [
        ("columns", ["own-1", "own-2", "kept-3", "kept-4"], 2),
        ("provider", ["kept-1", "own-2", "kept-3", "kept-4"], 4),
    ] {
        let mut people = users(1, 4);
        people[1] = user(2);
        let bed = bed(people, &format!("source.provider.prefer = \"{prefer}\"")).await;
        bed.bare_rows(1, 4).await;
        bed.sql(&format!(
            "update legacy_tokens set access_token = '{TOKEN}-own-' || id, scope = 'mail', expires_at = now() + interval '1 year'
             where id <= 2;
             update legacy_tokens set scope = 'mail', expires_at = now() - interval '1 year' where id = 4"
        ))
        .await;
        bed.migrate().await.ended_with(0);
        assert_eq!(fetched(&bed.api), asked, "{prefer}");
        let tokens = stored(&bed.api);
        for (n, expected) in (1..).zip(expected) {
            assert_eq!(
                tokens[&format!("U{n}")],
                format!("{TOKEN}-{expected}"),
                "{prefer}"
            );
        }
        let fourth = bed.api.stored().into_iter().find(|token| {
            let user = token.destination.user_id.as_deref();
            user == Some("U4")
        });
        let fourth = fourth.unwrap();
        assert_eq!(
            fourth.scopes,
            [if prefer == "columns" { "mail" } else { "calendar" }]
        );
        assert!(
            i64::from(fourth.access_token_expiry) > Utc::now().timestamp(),
            "the expiry belongs to the token"
        );
        let again = bed.migrate().await.ended_with(0).json();
        assert_eq!(again["tokens"]["unchanged"], 4, "{prefer}");
        assert_eq!(fetched(&bed.api), asked, "{prefer}");

        // A token that appears in the row is a change; with the provider preferred, it still is the kept one
        // that goes up.
        bed.sql(&format!(
            "update legacy_tokens set access_token = '{TOKEN}-late' where id = 3"
        ))
        .await;
        bed.migrate().await.ended_with(0);
        let third = if prefer == "columns" { "late" } else { "kept-3" };
        assert_eq!(stored(&bed.api)["U3"], format!("{TOKEN}-{third}"));
        assert_eq!(bed.api.writes().values().sum::<u64>(), 5, "{prefer}");
    }
}

#[tokio::test]
async fn each_way_to_have_no_token_has_its_code() {
    for status in [400, 404] {
        let mut people = users(1, 8);
        people[1] = user(2);
        people[2] = user(3).with_provider_token("github", kept("3"));
        let expired = ProviderToken::new("x").expiring_at(Utc::now().timestamp() - 1);
        people[3] = user(4).with_provider_token("google", expired);
        let over_but_renewable = kept("5").expiring_at(1_600_000_000);
        people[4] = user(5).with_provider_token("google", over_but_renewable);
        let bed = bed(
            people,
            "source.provider.provider = { column = \"token_type\" }\nsource.columns.access_token_type = { sql = \"null::text\" }",
        )
        .await;
        bed.api.change_rules(|rules| {
            rules.user_not_found_status = status;
            rules.unmanaged_providers = ["facebook".to_owned()].into();
        });
        bed.bare_rows(1, 10).await;
        bed.sql(
            "update legacy_tokens set token_type = 'google';
             update legacy_tokens set token_type = 'facebook' where id = 3;
             update legacy_tokens set user_id = 'U6', email = 'nobody@example.com' where id = 6;
             update legacy_tokens set user_id = 'U7', email = ' ' where id = 7;
             update legacy_tokens set token_type = null where id = 8;
             update legacy_tokens set user_id = 'U9 ', email = 'user-1@example.com' where id = 9;
             update legacy_tokens set tenant_id = 'acme', email = null where id = 10;
             insert into legacy_tokens (id, provider, email, token_type, scope, external_id)
                    values (11, 'google-app', 'user-1@example.com', 'google', '{mail}', 'other')",
        )
        .await;
        let ran = bed.migrate().await.ended_with(3);
        assert_eq!(
            bed.results().await,
            [
                "1 committed U1",
                "2 failed provider_no_token U2",
                "3 failed provider_refused U3",
                "4 failed provider_token_expired U4",
                "5 committed U5",
                "6 failed provider_user_unknown U6",
                "7 failed provider_no_login_id U7",
                "8 failed provider_not_named U8",
                "9 failed id_padded U9 ",
                "10 failed provider_no_login_id",
                "11 failed scopes_unreadable U1",
            ]
        );
        assert_eq!(fetched(&bed.api), 6, "not for rows that go nowhere");
        for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
            assert!(!text.contains("example.com") && !text.contains(TOKEN), "{text}");
        }
        let refused = bed
            .texts("select reason from tokenferry.tokens where source_key = '3'")
            .await;
        assert!(
            refused[0].contains("(E062403)"),
            "the API's own code: {refused:?}"
        );

        // The switch is turned on, and the user signs in again.
        bed.api.change_rules(|rules| rules.unmanaged_providers.clear());
        bed.api.change_directory(|directory| {
            let mut people = users(1, 8);
            people[2] = user(3).with_provider_token("facebook", kept("3"));
            directory.set_users(people);
        });
        let ran = bed
            .run(&["migrate", "--only-failed", "--json"])
            .await
            .ended_with(3)
            .json();
        assert_eq!(ran["tokens"]["committed"], 3);
        assert_eq!(stored(&bed.api)["U3"], format!("{TOKEN}-kept-3"));
        assert_eq!(fetched(&bed.api), 10);
    }
}

#[tokio::test]
async fn of_two_rows_for_one_place_only_the_newer_is_fetched() {
    let bed = bed(users(1, 30), "source.page_size = 10").await;
    bed.bare_rows(1, 30).await;
    bed.sql(
        "update legacy_tokens set email = 'user-30@example.com', updated_at = now() - interval '1 day' where id in (1, 29)",
    )
    .await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&ran["tokens"]["committed"], &ran["tokens"]["superseded"]),
        (&json!(28), &json!(2))
    );
    assert_eq!(fetched(&bed.api), 28);
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(again["tokens"]["superseded"], 2);
    assert_eq!(fetched(&bed.api), 28);
}

#[tokio::test]
async fn a_limit_counts_what_is_fetched() {
    let bed = bed(users(1, 30), "").await;
    bed.bare_rows(1, 30).await;
    bed.run(&["migrate", "--limit", "7"]).await.ended_with(0);
    assert_eq!((fetched(&bed.api), bed.api.stored_count()), (7, 7));
    bed.migrate().await.ended_with(0);
    assert_eq!((fetched(&bed.api), bed.api.stored_count()), (30, 30));
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_out_and_the_own_one_is_kept_to() {
    let bed_of = bed(users(1, 40), "").await;
    let limit = RateLimit::new(15, Duration::from_secs(1));
    bed_of.api.set_limit(Bucket::Users, Some(limit));
    bed_of.bare_rows(1, 40).await;
    let ran = bed_of.migrate().await.ended_with(0).json();
    assert!(ran["rate_limited"].as_i64().unwrap() > 0, "{ran}");
    assert_eq!(bed_of.api.stored_count(), 40);

    let slow = bed(users(1, 20), "api.lookup.users.requests = 20").await;
    slow.bare_rows(1, 20).await;
    slow.migrate().await.ended_with(0);
    let requests = slow.api.requests();
    let times: Vec<_> = requests
        .all()
        .iter()
        .filter(|request| request.path == FETCH)
        .map(|request| request.at)
        .collect();
    assert_eq!(times.len(), 20);
    let took = times[19] - times[0];
    assert!(took >= Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn an_api_that_does_not_answer_stops_the_run_and_blames_no_token() {
    for (fault, reason) in [
        (Fault::Status(503), "provider tokens could not be fetched"),
        (Fault::CutAfterCommit, "connection_lost"),
        (Fault::Status(401), "credentials"),
        (Fault::Status(404), "http_404"),
        (Fault::RateLimited(Duration::from_secs(3600)), "max_retry_after"),
    ] {
        let settings = "api.lookup.concurrency = 1\napi.retry.max_attempts = 3\nbatch.max_tokens = 20";
        let bed = bed(users(1, 130), settings).await;
        bed.bare_rows(1, 130).await;
        // Two searches, and more tokens than are fetched at once.
        let mut faults = vec![Fault::None; 72];
        faults.extend(vec![fault.clone(); 3]);
        bed.api.script_lookups(faults);
        let ran = bed.migrate().await.ended_with(4);
        let ran = ran.json();
        assert!(
            ran["stop_reason"].as_str().unwrap().contains(reason),
            "{fault:?} {ran}"
        );
        assert_eq!(ran["tokens"]["failed"], 0, "{fault:?}");
        let committed = bed.number("select count(*) from tokenferry.tokens").await;
        let before = fetched(&bed.api);

        bed.api.clear_scripts();
        let resumed = bed.migrate().await.ended_with(0).json();
        assert_eq!(resumed["resumed"], true);
        assert_eq!(bed.api.stored_count(), 130);
        assert!(bed.api.writes().values().all(|&count| count == 1));
        let again = i64::try_from(fetched(&bed.api) - before).unwrap();
        assert_eq!(again, 130 - committed, "{fault:?}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_killed_run_does_not_fetch_again_what_is_committed() {
    for (place, nth) in [("committed", 3), ("fetched", 4), ("answered", 2), ("cursor", 1)] {
        let bed = bed(
            users(1, 260),
            "batch.max_tokens = 30\nbatch.concurrency = 1\nsource.page_size = 100",
        )
        .await;
        bed.bare_rows(1, 260).await;
        let status = bed.killed_at(&["migrate", "--json"], place, nth).await;
        assert_eq!(status.code(), None, "killed at {place}");
        let committed = bed
            .number("select count(*) from tokenferry.tokens where state = 'committed'")
            .await;
        // What was in flight is settled by reading back, and may turn out to have arrived.
        let in_flight = bed
            .number("select coalesce(sum(token_count), 0)::bigint from tokenferry.batches where state = 'in_flight'")
            .await;
        let arrived = i64::try_from(bed.api.stored_count()).unwrap();
        assert!(
            place == "cursor" || arrived > 0,
            "killed at {place} before anything happened"
        );
        let before = fetched(&bed.api);
        let ran = bed.migrate().await.ended_with(0).json();
        assert_eq!(ran["tokens"]["committed"], 260, "{place}");
        assert!(bed.api.writes().values().all(|&count| count == 1), "{place}");
        assert_eq!(bed.api.stored_count(), 260);
        let again = i64::try_from(fetched(&bed.api) - before).unwrap();
        assert_eq!(
            again,
            260 - arrived,
            "{place}: {committed} and {in_flight} in flight"
        );
    }
}

#[tokio::test]
async fn a_signal_ends_a_run_that_fetches_and_the_next_goes_on() {
    let settings = "api.lookup.users.requests = 60\nbatch.max_tokens = 10\nsource.page_size = 100";
    let bed = bed(users(1, 200), settings).await;
    bed.bare_rows(1, 200).await;
    let mut child = bed.spawn_migrate();
    bed.arrived(20).await;
    signal::kill(
        Pid::from_raw(child.id().unwrap().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let status = timeout(Duration::from_secs(3), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(143));
    let committed = bed.number("select count(*) from tokenferry.tokens").await;
    assert!((20..150).contains(&committed), "{committed}");
    let before = fetched(&bed.api);
    bed.migrate().await.ended_with(0);
    let again = i64::try_from(fetched(&bed.api) - before).unwrap();
    assert_eq!(again, 200 - committed);
    assert!(bed.api.writes().values().all(|&count| count == 1));
}

#[tokio::test]
async fn a_dry_run_fetches_nothing_and_says_how_much_the_real_one_will() {
    let settings = "batch.max_tokens = 30\nsource.page_size = 40\napi.lookup.users.requests = 50";
    let bed = bed(users(1, 100), settings).await;
    bed.bare_rows(1, 100).await;
    bed.sql(&format!(
        "update legacy_tokens set access_token = '{TOKEN}-own' where id <= 10;
         update legacy_tokens set email = null, user_id = 'U11' where id = 11"
    ))
    .await;
    let dry = bed.run(&["migrate", "--dry-run", "--json"]).await.ended_with(3);
    let dry = dry.json();
    assert_eq!(fetched(&bed.api), 0);
    assert_eq!(dry["estimate"]["fetches"], 89);
    assert_eq!(dry["failures_by_code"], json!({"provider_no_login_id": 1}));
    let lasts = dry["estimate"]["duration_s"].as_f64().unwrap();
    assert!(
        (1.7..1.8).contains(&lasts),
        "88 waits of a 50th of a second: {lasts}"
    );
    let shown = bed
        .run(&["migrate", "--dry-run", "--log-format", "text"])
        .await
        .ended_with(3)
        .stderr;
    assert!(shown.contains("89 tokens would be fetched"), "{shown}");
    assert_eq!(
        bed.texts("select distinct estimated_fetches::text from tokenferry.runs")
            .await,
        ["89"]
    );

    let real = bed.migrate().await.ended_with(3).json();
    assert_eq!(fetched(&bed.api), 89);
    assert_eq!(dry["tokens"], real["tokens"]);
    assert_eq!(dry["estimate"]["requests"], real["requests"]);
    let dry = bed.run(&["migrate", "--dry-run", "--json"]).await.ended_with(3);
    assert_eq!(
        dry.json()["estimate"]["fetches"],
        0,
        "nothing would be fetched again"
    );
}

#[tokio::test]
async fn a_dry_run_that_asks_knows_the_users_of_rows_without_tokens() {
    let bed = bed(users(1, 3), "").await;
    bed.bare_rows(1, 3).await;
    bed.sql("update legacy_tokens set user_id = 'U99' where id = 2")
        .await;
    let dry = bed
        .run(&["migrate", "--dry-run", "--online", "--json"])
        .await
        .ended_with(3);
    assert_eq!(dry.json()["failures_by_code"], json!({"user_unknown": 1}));
    assert_eq!(fetched(&bed.api), 0);
}

#[test]
fn a_configuration_that_cannot_work_is_turned_down() {
    let settings = |columns: &str, provider: &str| {
        let text = format!(
            "migration = \"m\"\n[source]\nurl = \"postgres://localhost/x\"\ntable = \"t\"\nkey = \"id\"\n[source.columns]\napp = \"a\"\n{columns}\n\
             [source.provider]\n{provider}\n[api]\nproject_id = \"P\"\nmanagement_key = \"K\""
        );
        match try_settings(&text) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let login = "login_id = \"email\"";
    for (columns, provider, expected) in [
        (login, "provider = \"google\"", ""),
        (login, "provider = { column = \"idp\" }\nforce_refresh = true", ""),
        (login, "provider = { sql = \"lower(idp)\" }\nrevision = \"2\"", ""),
        (login, "provider = \" \"", "source.provider.provider"),
        (
            login,
            "provider = { column = \"a\", sql = \"b\" }",
            "either `column`",
        ),
        (
            login,
            "prefer = \"provider\"",
            "`source.provider.provider` is missing",
        ),
        (
            login,
            "provider = \"google\"\nprefer = \"both\"",
            "\"columns\" or \"provider\"",
        ),
        (
            login,
            "provider = \"google\"\nforce_refresh = \"maybe\"",
            "must be \"false\" or \"true\"",
        ),
        (
            "user_id = \"u\"",
            "provider = \"google\"",
            "source.columns.login_id",
        ),
        (login, "", "source.columns.access_token"),
        (
            login,
            "provider = \"google\"\nforce_refesh = true",
            "did you mean `source.provider.force_refresh`",
        ),
    ] {
        let error = settings(columns, provider);
        assert!(
            error.contains(expected) && (expected.is_empty() == error.is_empty()),
            "{columns} {provider}: {error}"
        );
    }
}

#[tokio::test]
async fn a_canary_proves_fetched_tokens_too() {
    let bed = bed(users(1, 40), "batch.max_tokens = 10").await;
    bed.bare_rows(1, 40).await;
    let ran = bed
        .run(&["migrate", "--canary", "5", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(ran["tokens"]["committed"], 40);
    let requests = bed.api.requests();
    let single = requests
        .all()
        .iter()
        .filter(|request| request.path == "/v1/mgmt/outbound/app/user/oauthtoken/upload");
    assert_eq!(single.count(), 5);
    assert_eq!(fetched(&bed.api), 40);
}

/// What `failures --run` lists of a verification: key and code.
async fn found(bed: &Bed, run: &serde_json::Value) -> Vec<String> {
    let rows = failures(bed, run, &[]).await.into_iter();
    let mut found: Vec<String> = rows
        .map(|(key, severity, code)| format!("{key} {severity} {code}"))
        .collect();
    found.sort();
    found
}

fn of(tokens: &mut [StoredToken], user: &str, change: fn(&mut StoredToken)) {
    let mut tokens = tokens.iter_mut();
    change(
        tokens
            .find(|token| token.destination.user_id.as_deref() == Some(user))
            .unwrap(),
    );
}

#[tokio::test]
async fn fetched_tokens_are_verified_as_far_as_the_source_knows_them() {
    for (prefer, of_scopes) in [
        ("columns", "6 error scopes_differ"),
        ("provider", "6 warning not_in_source"),
    ] {
        let bed = bed(users(1, 8), &format!("source.provider.prefer = \"{prefer}\"")).await;
        bed.bare_rows(1, 8).await;
        bed.sql(&format!(
            "update legacy_tokens set token_type = 'Bearer', granted_by = 'admin', scope = 'calendar';
             update legacy_tokens set access_token = '{TOKEN}-own' where id = 8"
        ))
        .await;
        bed.migrate().await.ended_with(0);
        let asked = fetched(&bed.api);
        let calm = bed.run(&["verify", "--json"]).await.ended_with(0).json();
        let own = i64::from(prefer == "columns");
        assert_eq!(
            (
                &calm["verify"]["in_part"],
                &calm["verify"]["equal"],
                &calm["verify"]["checked"]
            ),
            (&json!(8 - own), &json!(own), &json!(8)),
            "{prefer}"
        );
        assert_eq!(calm["verify"]["changed_in_source"], 0);
        let text = bed
            .run(&["verify", "--log-format", "text"])
            .await
            .ended_with(0)
            .stderr;
        assert!(
            text.contains("in part") && text.contains("not_in_source"),
            "{text}"
        );

        bed.api.alter_stored(|tokens| {
            of(tokens, "U2", |token| {
                token.access_token = Some(Secret::new("another"));
            });
            of(tokens, "U4", |token| {
                token.granted_by = Some("somebody".to_owned());
            });
            of(tokens, "U5", |token| {
                token.access_token_type = Some("mac".to_owned());
            });
            of(tokens, "U6", |token| token.scopes = vec!["files".to_owned()]);
            tokens.retain(|token| token.destination.user_id.as_deref() != Some("U3"));
        });
        bed.sql("update legacy_tokens set updated_at = now() + interval '1 second' where id = 7")
            .await;
        let summary = bed.run(&["verify", "--json"]).await.ended_with(3).json();
        let mut expected = vec![
            "1 warning not_in_source",
            "2 warning not_in_source",
            "3 error token_missing",
            "4 error granted_by_differs",
            "5 error type_differs",
            of_scopes,
            "7 warning changed_in_source",
        ];
        if prefer == "provider" {
            expected.push("8 warning not_in_source");
        }
        assert_eq!(found(&bed, &summary).await, expected, "{prefer}");
        assert_eq!(fetched(&bed.api), asked, "nothing is fetched to verify");
    }
}

#[tokio::test]
async fn show_tells_whether_a_row_is_unchanged_whose_token_was_fetched() {
    let bed = bed(users(1, 3), "").await;
    bed.bare_rows(1, 3).await;
    bed.sql(&format!(
        "update legacy_tokens set access_token = '{TOKEN}-own' where id = 3"
    ))
    .await;
    bed.migrate().await.ended_with(0);
    let asked = bed.api.requests().all().len();
    bed.sql("update legacy_tokens set updated_at = now() + interval '1 second' where id = 2")
        .await;
    for (row, expected) in [
        ("1", "unchanged_but_fetched"),
        ("2", "changed"),
        ("3", "unchanged"),
    ] {
        let shown = bed.run(&["show", row, "--json"]).await.ended_with(0).json();
        assert_eq!(shown["tokens"][0]["source"]["row"], expected, "{row}");
    }
    let text = bed.run(&["show", "1"]).await.ended_with(0).stdout;
    assert!(
        text.contains("the row is unchanged; its token was fetched"),
        "{text}"
    );
    assert_eq!(bed.api.requests().all().len(), asked, "the API is not asked");
}
