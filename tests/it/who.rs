//! Sources that know their users by login ID alone.

use std::time::Duration;

use serde_json::json;
use tokenferry::simulator::{
    Bucket, Destination, Fault, RateLimit, Simulator, SimulatorHandle, User, UserStatus,
};

use crate::support::{
    bed::{Bed, TOKEN},
    listings::{FAST_LOOKUPS, stored},
};

const SEARCH: &str = "/v2/mgmt/user/search";
const LOAD: &str = "/v1/mgmt/user";

/// Login IDs from a column beside the users' IDs.
const LOGIN_IDS: &str = "source.columns.login_id = \"email\"";

/// Users `from..=to`: U7 signs in as user-7@example.com.
fn users(from: i64, to: i64) -> Vec<User> {
    (from..=to)
        .map(|n| User::from(format!("U{n}")).with_login_id(format!("user-{n}@example.com")))
        .collect()
}

async fn bed(simulator: Simulator, settings: &str) -> Bed {
    let bed = Bed::with(simulator).await;
    bed.sql("alter table legacy_tokens add column email text").await;
    bed.set(&format!("{LOGIN_IDS}\n{FAST_LOOKUPS}\n{settings}"))
}

impl Bed {
    /// Rows of users whose IDs the source does not know.
    async fn login_rows(&self, from: i64, to: i64) {
        self.sql(&format!(
            "insert into legacy_tokens (id, provider, email, access_token)
             select n, 'google', 'user-' || n || '@example.com', '{TOKEN}-' || n from generate_series({from}, {to}) n"
        ))
        .await;
    }

    async fn outcomes(&self) -> Vec<String> {
        self.texts(
            "select concat_ws(' ', source_key, state, error_code, app_id, user_id, tenant_id) from tokenferry.tokens \
             order by source_key::bigint",
        )
        .await
    }
}

/// How many searches and how many questions about one login ID there were.
fn asked(api: &SimulatorHandle) -> (usize, usize) {
    let requests = api.requests();
    let to = |path: &str| {
        requests
            .all()
            .iter()
            .filter(|request| request.path == path)
            .count()
    };
    (to(SEARCH), to(LOAD))
}

#[tokio::test]
async fn many_are_found_at_once_and_asked_about_once() {
    let bed = bed(Simulator::builder().users(users(1, 950)), "").await;
    bed.login_rows(1, 950).await;
    let ran = bed.migrate().await.ended_with(0);
    // Pages of 500 and 450, a hundred in a search.
    assert_eq!(asked(&bed.api), (10, 0));
    let tokens = stored(&bed.api);
    assert_eq!(tokens.len(), 950);
    for n in 1..=950 {
        assert_eq!(tokens[&format!("U{n}")], format!("{TOKEN}-{n}"));
    }
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains("@example.com"), "a login ID is personal data");
    }
    let ran = ran.json();
    assert_eq!(
        (&ran["lookups"], &ran["requests"]),
        (&json!(10 + 1), &json!(10)),
        "and the licence"
    );

    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&again["tokens"]["unchanged"], &again["lookups"]),
        (&json!(950), &json!(0))
    );
    assert_eq!(asked(&bed.api), (10, 0), "remembered");

    let bed = bed.set(&format!(
        "{LOGIN_IDS}\n{FAST_LOOKUPS}\napi.lookup.remember = \"1ms\"\napi.lookup.per_request = 95"
    ));
    bed.migrate().await.ended_with(0);
    assert_eq!(asked(&bed.api), (10 + 6 + 5, 0), "not for ever");
}

#[tokio::test]
async fn nobody_and_several_are_failures_and_no_tenants_token() {
    let mut people = users(1, 3);
    people[1] = people[1].clone().with_status(UserStatus::Disabled);
    people.push(User::from("twin-1").with_login_id("twin@example.com"));
    people.push(User::from("twin-2").with_login_id("twin@example.com"));
    let bed = bed(Simulator::builder().users(people), "").await;
    bed.login_rows(1, 6).await;
    bed.sql(
        "update legacy_tokens set email = 'twin@example.com', tenant_id = 'acme' where id = 4;
         update legacy_tokens set tenant_id = 'acme' where id = 5;
         update legacy_tokens set email = '  ', tenant_id = 'acme' where id = 6;
         insert into legacy_tokens (id, provider, user_id, email, access_token)
                values (7, 'google', 'U3', 'user-1@example.com', 'x');
         insert into legacy_tokens (id, provider, access_token) values (8, 'google', 'x');
         insert into legacy_tokens (id, provider, email, access_token)
                values (9, 'google', repeat('x', 600), 'x'), (10, 'google', 'user-1@example.com ', 'x');
         update legacy_tokens set external_id = id::text",
    )
    .await;
    let ran = bed.migrate().await.ended_with(3);
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains("example.com"), "not in an address either: {text}");
    }
    assert_eq!(
        bed.outcomes().await,
        [
            "1 committed google U1",
            "2 committed google U2",
            "3 committed google U3",
            "4 failed login_id_ambiguous google",
            "5 failed login_id_unknown google",
            "6 failed user_blank google",
            "7 committed google U3",
            "8 failed no_subject google",
            "9 failed id_too_long google",
            "10 failed id_padded google",
        ]
    );
    assert_eq!(
        asked(&bed.api),
        (1, 2),
        "only the unknown ones are asked for by themselves"
    );
    let failures = bed
        .run(&["failures", "--format", "csv"])
        .await
        .ended_with(0)
        .stdout;
    let unknown = failures.lines().find(|line| line.starts_with("5,")).unwrap();
    assert!(
        unknown.starts_with("5,google,,,validation,login_id_unknown,"),
        "{unknown}"
    );

    // The one is created, the others become one; whatever was found stays remembered.
    bed.api.change_directory(|directory| {
        let mut people = users(1, 5);
        people.push(User::from("twin-2").with_login_id("twin@example.com"));
        directory.set_users(people);
    });
    bed.migrate().await.ended_with(3);
    assert_eq!(
        bed.outcomes().await[3..5],
        ["4 committed google twin-2 acme", "5 committed google U5 acme"]
    );
    assert_eq!(asked(&bed.api), (2, 3));
}

#[tokio::test]
async fn letter_case_is_the_apis_business() {
    for any_case in [true, false] {
        let bed = bed(Simulator::builder().users(users(1, 2)), "").await;
        bed.api
            .change_rules(|rules| rules.login_ids_in_any_case = any_case);
        bed.login_rows(1, 2).await;
        bed.sql("update legacy_tokens set email = 'User-2@Example.COM' where id = 2")
            .await;
        let code = if any_case { 0 } else { 3 };
        bed.migrate().await.ended_with(code);
        let second = if any_case {
            "2 committed google U2"
        } else {
            "2 failed login_id_unknown google"
        };
        assert_eq!(bed.outcomes().await, ["1 committed google U1", second]);
        assert_eq!(asked(&bed.api), (1, usize::from(!any_case)));
    }
}

#[tokio::test]
async fn somebody_else_is_not_taken_for_whom_was_asked_for() {
    let shows = |user: serde_json::Value| Fault::Answer {
        status: 200,
        body: json!({ "user": user }).to_string(),
        committed: false,
    };
    let nobody = shows(json!({"userId": "UX", "loginIds": ["other@x.org"], "status": "enabled"}));
    let unsaid = shows(json!({"userId": "UX", "status": "enabled"}));
    let found = shows(json!({"userId": "U3", "loginIds": ["x", " User-3@example.com"], "status": "enabled"}));
    let none = Fault::Answer {
        status: 200,
        body: json!({"users": [], "total": 0}).to_string(),
        committed: false,
    };
    let bed = bed(
        Simulator::builder().users(users(3, 3)),
        "api.lookup.concurrency = 1",
    )
    .await;
    bed.login_rows(1, 3).await;
    bed.api.script_lookups([
        none,
        nobody.clone(),
        nobody.clone(),
        unsaid.clone(),
        unsaid,
        nobody,
        found,
    ]);
    bed.migrate().await.ended_with(3);
    assert_eq!(
        bed.outcomes().await,
        [
            "1 failed login_id_unknown google",
            "2 failed login_id_unknown google",
            "3 committed google U3",
        ]
    );
    assert_eq!(asked(&bed.api), (1, 6));
}

#[tokio::test]
async fn whom_no_search_finds_is_asked_for_alone_and_pages_are_followed() {
    let bed = bed(Simulator::builder().users(users(1, 30)), "").await;
    bed.login_rows(1, 30).await;
    let page = |from: i64, to: i64, total: &str| {
        let users: Vec<_> = (from..=to)
            .map(|n| json!({"userId": format!("U{n}"), "loginIds": [format!("user-{n}@example.com")], "status": "enabled"}))
            .collect();
        Fault::Answer {
            status: 200,
            body: format!("{{\"users\":{}{total}}}", json!(users)),
            committed: false,
        }
    };
    // Three pages, the second of which repeats some; the third is missing one, and says that there are more.
    let total = ",\"total\":\"31\"";
    bed.api.script_lookups([
        page(1, 10, total),
        page(8, 20, total),
        page(21, 29, total),
        page(1, 3, total),
    ]);
    bed.migrate().await.ended_with(0);
    assert_eq!(asked(&bed.api), (4, 1));
    assert_eq!(stored(&bed.api).len(), 30);
}

#[tokio::test]
async fn a_list_that_the_api_does_not_take_is_halved() {
    let bed = bed(Simulator::builder().users(users(1, 80)), "").await;
    bed.api.change_rules(|rules| rules.max_listed = 25);
    bed.login_rows(1, 80).await;
    bed.migrate().await.ended_with(0);
    // 80, 40 and 20 and 20, 40 and 20 and 20.
    assert_eq!(asked(&bed.api), (7, 0));

    let refuses = Fault::Answer {
        status: 400,
        body: json!({"errorCode": "E011003"}).to_string(),
        committed: false,
    };
    bed.login_rows(81, 81).await;
    bed.api.script_lookups([refuses.clone(), refuses]);
    let ran = bed.migrate().await.ended_with(3).json();
    assert_eq!(ran["failures_by_code"], json!({"login_id_refused": 1}));
    let reason = bed
        .texts("select reason from tokenferry.tokens where source_key = '81'")
        .await;
    assert!(reason[0].contains("E011003"), "{reason:?}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_out() {
    let limit = RateLimit::new(2, Duration::from_secs(1));
    let simulator = Simulator::builder()
        .users(users(1, 60))
        .limit(Bucket::Search, Some(limit));
    let bed = bed(simulator, "api.lookup.per_request = 10").await;
    bed.login_rows(1, 60).await;
    let ran = bed.migrate().await.ended_with(0).json();
    assert!(ran["rate_limited"].as_i64().unwrap() > 0, "{ran}");
    assert_eq!(stored(&bed.api).len(), 60);
}

#[tokio::test]
async fn the_lookups_keep_to_their_own_quota() {
    let settings =
        "api.lookup.per_request = 10\napi.lookup.search.requests = 10\napi.lookup.search.per = \"1s\"";
    let bed = bed(Simulator::builder().users(users(1, 100)), settings).await;
    bed.login_rows(1, 100).await;
    bed.migrate().await.ended_with(0);
    let requests = bed.api.requests();
    let searches: Vec<_> = requests
        .all()
        .iter()
        .filter(|request| request.path == SEARCH)
        .collect();
    assert_eq!(searches.len(), 10);
    let took = searches[9].at - searches[0].at;
    assert!(took >= Duration::from_millis(850), "{took:?}");
}

#[tokio::test]
async fn an_api_that_does_not_answer_stops_the_run_and_blames_no_token() {
    for (fault, code, reason) in [
        (Fault::Status(503), 4, "3 attempts"),
        (Fault::CutAfterCommit, 4, "connection_lost"),
        (Fault::Status(403), 4, "credentials"),
        (Fault::Status(404), 4, "http_404"),
        (
            Fault::RateLimited(Duration::from_secs(3600)),
            4,
            "max_retry_after",
        ),
    ] {
        let settings = "api.lookup.per_request = 10\napi.lookup.concurrency = 1\napi.retry.max_attempts = 3";
        let bed = bed(Simulator::builder().users(users(1, 100)), settings).await;
        bed.login_rows(1, 100).await;
        let mut faults = vec![Fault::None; 4];
        faults.extend(vec![fault.clone(); 3]);
        bed.api.script_lookups(faults);
        let ran = bed.migrate().await.ended_with(code);
        assert!(
            ran.json()["stop_reason"].as_str().unwrap().contains(reason),
            "{}",
            ran.stdout
        );
        assert_eq!(
            bed.number("select count(*) from tokenferry.tokens").await,
            0,
            "{fault:?}"
        );
        let (before, _) = asked(&bed.api);

        bed.api.clear_scripts();
        let resumed = bed.migrate().await.ended_with(0).json();
        assert_eq!(
            (&resumed["resumed"], &resumed["tokens"]["committed"]),
            (&json!(true), &json!(100))
        );
        assert_eq!(
            asked(&bed.api).0 - before,
            6,
            "what was found before is remembered: {fault:?}"
        );
    }
}

#[tokio::test]
async fn two_login_ids_of_one_user_are_one_destination() {
    for (newer, older) in [(1, 900), (900, 1), (1, 2), (2, 1)] {
        let mut people = users(1, 900);
        people[0].login_ids.push("other@example.com".to_owned());
        let bed = bed(Simulator::builder().users(people), "source.page_size = 100").await;
        bed.login_rows(1, 900).await;
        bed.sql(&format!(
            "update legacy_tokens set email = 'other@example.com' where id = {older};
             update legacy_tokens set email = 'user-1@example.com' where id = {newer};
             update legacy_tokens set updated_at = now() - interval '1 day' where id = {older}"
        ))
        .await;
        let dry = bed
            .run(&["migrate", "--dry-run", "--json"])
            .await
            .ended_with(0)
            .json();
        let real = bed.migrate().await.ended_with(0).json();
        assert_eq!(dry["tokens"]["selected"], real["tokens"]["selected"]);
        assert_eq!(
            stored(&bed.api)["U1"],
            format!("{TOKEN}-{newer}"),
            "{newer} {older}"
        );
        for _ in 0..2 {
            let states = bed
                .texts(&format!(
                    "select state from tokenferry.tokens where source_key in ('{newer}', '{older}') order by source_key = '{older}'"
                ))
                .await;
            assert_eq!(states, ["committed", "superseded"], "{newer} {older}");
            let writes = bed.api.writes();
            bed.migrate().await.ended_with(0);
            assert_eq!(bed.api.writes(), writes, "nothing is sent again");
        }
    }
}

#[tokio::test]
async fn outdated_rows_of_one_login_id_are_left_out_without_being_sent() {
    let bed = bed(
        Simulator::builder().users(users(1, 900)),
        "source.page_size = 100",
    )
    .await;
    bed.login_rows(1, 900).await;
    bed.sql(
        "update legacy_tokens set email = 'user-' || (901 - id) || '@example.com',
                updated_at = now() - interval '1 day' where id <= 300",
    )
    .await;
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(0)
        .json();
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (
            &ran["tokens"]["superseded"],
            &ran["tokens"]["committed"],
            &ran["requests"]
        ),
        (&json!(300), &json!(600), &json!(6))
    );
    assert_eq!(
        (&dry["tokens"], &dry["estimate"]["requests"]),
        (&ran["tokens"], &json!(6))
    );
    assert!(bed.api.writes().values().all(|&count| count == 1));
    assert_eq!(
        ran["lookups"], 1,
        "the dry run has asked: only the licence is left"
    );
}

#[tokio::test]
async fn a_user_who_was_deleted_and_made_again_is_asked_for_again() {
    let bed = bed(Simulator::builder().users(users(1, 3)), "").await;
    bed.login_rows(1, 3).await;
    bed.migrate().await.ended_with(0);
    bed.api.change_directory(|directory| {
        let mut people = users(1, 3);
        people[1].user_id = "U2-again".to_owned();
        directory.set_users(people);
    });
    bed.sql("update legacy_tokens set access_token = access_token || '-new'")
        .await;
    bed.migrate().await.ended_with(3);
    assert_eq!(
        bed.outcomes().await[1],
        "2 failed E112102 google U2",
        "from memory"
    );
    bed.migrate().await.ended_with(0);
    assert_eq!(bed.outcomes().await[1], "2 committed google U2-again");
    assert_eq!(asked(&bed.api), (2, 0));
    assert!(bed.api.latest(&Destination::user("google", "U2-again")).is_some());
}

#[tokio::test]
async fn a_dry_run_names_who_is_not_there_and_only_failed_finds_them_later() {
    let bed = bed(Simulator::builder().users(users(1, 8)), "").await;
    bed.login_rows(1, 10).await;
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(dry["failures_by_code"], json!({"login_id_unknown": 2}));
    assert_eq!((&dry["lookups"], &dry["requests"]), (&json!(3 + 1), &json!(0)));
    assert_eq!(bed.api.stored_count(), 0);
    bed.migrate().await.ended_with(3);
    bed.api
        .change_directory(|directory| directory.set_users(users(1, 10)));
    let ran = bed
        .run(&["migrate", "--only-failed", "--code", "login_id_unknown", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&ran["tokens"]["selected"], &ran["tokens"]["committed"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(bed.api.stored_count(), 10);
}

#[tokio::test]
async fn a_token_is_shown_by_the_login_id_of_its_user() {
    let bed = bed(Simulator::builder().users(users(1, 5)), "").await;
    bed.login_rows(1, 5).await;
    bed.migrate().await.ended_with(0);
    let shown = bed
        .run(&["show", "user-3@example.com", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&shown["user_of_login"], &shown["tokens"][0]["source_key"]),
        (&json!("U3"), &json!("3"))
    );
    assert_eq!(shown["tokens"].as_array().unwrap().len(), 1);
    let text = bed
        .run(&["show", "user-3@example.com"])
        .await
        .ended_with(0)
        .stdout;
    assert!(
        text.contains("login ID of user U3") && text.contains("Row 3 of \"test\": committed"),
        "{text}"
    );
    // The ledger does not hold the login ID itself.
    assert!(!bed.ledger_dump().await.contains("user-3@example.com"));
    let unknown = bed
        .run(&["show", "user-9@example.com"])
        .await
        .ended_with(2)
        .stderr;
    assert!(
        unknown.contains("nor a login ID that a run has looked up"),
        "{unknown}"
    );
}
