//! What was uploaded, read back and held against the source.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokenferry::{
    secret::Secret,
    simulator::{ExpiryFormat, Fault},
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    bed::{Bed, Ran, TOKEN},
    listings::{failures, of_row, verify},
};

/// What `failures --run` lists of a verification: severity, key and code.
async fn found(bed: &Bed, ran: &Value) -> BTreeSet<(String, String, String)> {
    let rows = failures(bed, ran, &[]).await.into_iter();
    rows.map(|(key, severity, code)| (severity, key, code)).collect()
}

fn listed(rows: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    rows.iter()
        .map(|(severity, key, code)| ((*severity).to_owned(), (*key).to_owned(), (*code).to_owned()))
        .collect()
}

#[tokio::test]
async fn what_arrived_equals_the_source_and_nothing_changes() {
    let bed = Bed::new().await;
    bed.rows(1, 450).await;
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, refresh_token) values (900, 'google', 'only-refresh', 'r-900');
         update legacy_tokens set external_id = 'work' where id in (11, 20);
         update legacy_tokens set tenant_id = 'acme' where id = 12;
         update legacy_tokens set expires_at = null, token_type = null, scope = null, granted_by = null where id = 13",
    )
    .await;
    bed.migrate().await.ended_with(0);
    let (before, stored) = (bed.ledger_without("verify").await, bed.api.stored_count());
    let ran = verify(&bed, &[]).await.ended_with(0);
    let summary = ran.json();
    assert_eq!(
        (&summary["mode"], &summary["status"], &summary["resumed"]),
        (&json!("verify"), &json!("completed"), &json!(false))
    );
    assert_eq!(
        summary["tokens"],
        json!({"selected": 451, "committed": 451, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    let verify = &summary["verify"];
    assert_eq!(
        (&verify["checked"], &verify["equal"], &verify["not_uploaded"]),
        (&json!(451), &json!(451), &json!(0))
    );
    assert_eq!(summary["requests"], 451);
    let requests = bed.api.requests();
    // By their scopes, where they have any.
    assert_eq!(
        (requests.to("/user/token"), requests.to("/user/token/latest")),
        (404, 2)
    );
    assert_eq!(requests.to("/tenant/token"), 45);
    assert_eq!(requests.fetches(), 451);
    assert_eq!(
        (bed.ledger_without("verify").await, bed.api.stored_count()),
        (before, stored)
    );
    // Where the migration stands is told by what uploads.
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["mode"], "migrate");
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn each_difference_is_named_by_row_and_field_and_never_by_value() {
    let bed = Bed::new().await;
    bed.rows(1, 40).await;
    bed.migrate().await.ended_with(0);
    bed.api.alter_stored(|tokens| {
        of_row(tokens, 1).access_token = Some(Secret::new(format!("{TOKEN}-forged")));
        of_row(tokens, 2).refresh_token = None;
        of_row(tokens, 3).access_token_expiry += 1;
        of_row(tokens, 4).scopes.push("files".to_owned());
        of_row(tokens, 5).access_token_type = Some("mac".to_owned());
        of_row(tokens, 6).granted_by = None;
        let several = of_row(tokens, 10);
        several.access_token_expiry = 0;
        several.scopes.clear();
        tokens.retain(|token| token.exposed_access_token() != Some(&format!("{TOKEN}-access-8")));
    });
    let ran = verify(&bed, &[]).await.ended_with(3);
    let summary = ran.json();
    assert_eq!(summary["status"], "completed_with_failures");
    assert_eq!(
        (
            &summary["verify"]["equal"],
            &summary["verify"]["different"],
            &summary["verify"]["missing"]
        ),
        (&json!(32), &json!(7), &json!(1))
    );
    assert_eq!(
        summary["tokens"],
        json!({"selected": 40, "committed": 32, "failed": 8, "superseded": 0, "unchanged": 0})
    );
    assert_eq!(
        found(&bed, &summary).await,
        listed(&[
            ("error", "1", "access_token_differs"),
            ("error", "2", "refresh_token_lost"),
            ("error", "3", "expiry_differs"),
            ("error", "4", "scopes_differ"),
            ("error", "5", "type_differs"),
            ("error", "6", "granted_by_differs"),
            ("error", "8", "token_missing"),
            ("error", "10", "expiry_differs"),
            ("error", "10", "scopes_differ"),
        ])
    );
    let run = summary["run_id"].to_string();
    let table = bed.run(&["failures", "--run", &run]).await.ended_with(0);
    assert!(
        table.stdout.contains("token_missing") && table.stdout.contains("select"),
        "{}",
        table.stdout
    );
    for text in [&ran.stdout, &ran.stderr, &table.stdout, &bed.ledger_dump().await] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    // A verification is no outcome of a token.
    assert_eq!(
        bed.migrate().await.ended_with(0).json()["tokens"]["unchanged"],
        40
    );
}

#[tokio::test]
async fn what_the_server_refreshed_since_is_no_difference() {
    let bed = Bed::new().await;
    bed.rows(1, 9).await;
    bed.migrate().await.ended_with(0);
    let now = chrono::Utc::now().timestamp();
    bed.api.alter_stored(|tokens| {
        for (row, refreshed) in [(1, now + 1), (2, now - 3600), (3, 0)] {
            let token = of_row(tokens, row);
            token.access_token = Some(Secret::new(format!("{TOKEN}-renewed-{row}")));
            token.access_token_expiry += 3600;
            token.last_refresh_time = refreshed;
        }
        let lost = of_row(tokens, 4);
        lost.refresh_token = None;
        lost.last_refresh_time = now + 1;
        // Refreshed, and the same all the same.
        of_row(tokens, 5).last_refresh_time = now + 1;
    });
    let summary = verify(&bed, &[]).await.ended_with(3).json();
    assert_eq!(
        (
            &summary["verify"]["refreshed"],
            &summary["verify"]["equal"],
            &summary["verify"]["different"]
        ),
        (&json!(1), &json!(5), &json!(3))
    );
    assert_eq!(
        found(&bed, &summary).await,
        listed(&[
            ("error", "2", "access_token_differs"),
            ("error", "2", "expiry_differs"),
            ("error", "3", "access_token_differs"),
            ("error", "3", "expiry_differs"),
            ("error", "4", "refresh_token_lost"),
        ])
    );
}

#[tokio::test]
async fn an_expiry_is_compared_in_whatever_form_it_is_shown() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    bed.migrate().await.ended_with(0);
    for (format, code) in [
        (ExpiryFormat::Text, 3),
        (ExpiryFormat::Number, 3),
        (ExpiryFormat::Rfc3339, 3),
        // What cannot be read is not shown, and no difference.
        (ExpiryFormat::Unknown, 0),
    ] {
        bed.api.change_rules(|rules| rules.expiry_format = format);
        let summary = verify(&bed, &[]).await.ended_with(0).json();
        assert_eq!(summary["verify"]["equal"], 20, "{format:?}");
        bed.api
            .alter_stored(|tokens| of_row(tokens, 3).access_token_expiry += 1);
        verify(&bed, &[]).await.ended_with(code);
        bed.api
            .alter_stored(|tokens| of_row(tokens, 3).access_token_expiry -= 1);
    }
}

#[tokio::test]
async fn a_token_that_could_not_be_refreshed_is_told_by_a_code_of_its_own() {
    let bed = Bed::new().await;
    bed.rows(1, 5).await;
    bed.migrate().await.ended_with(0);
    bed.api.alter_stored(|tokens| {
        let quoting = format!("invalid_grant: {TOKEN}-refresh-2 was used before");
        of_row(tokens, 2).last_refresh_error = quoting;
    });
    let ran = verify(&bed, &[]).await.ended_with(3);
    let summary = ran.json();
    assert_eq!(
        (&summary["verify"]["equal"], &summary["verify"]["different"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        found(&bed, &summary).await,
        listed(&[("error", "2", "last_refresh_failed")])
    );
    let run = summary["run_id"].to_string();
    let table = bed.run(&["failures", "--run", &run]).await.ended_with(0);
    for text in [&ran.stdout, &ran.stderr, &table.stdout, &bed.ledger_dump().await] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_there_is_missing_whatever_the_status_says() {
    let bed = Bed::new().await;
    bed.rows(1, 12).await;
    bed.migrate().await.ended_with(0);
    bed.api.alter_stored(|tokens| {
        tokens.retain(|token| token.exposed_access_token() != Some(&format!("{TOKEN}-access-8")));
    });
    for status in [404, 400] {
        bed.api
            .change_rules(|rules| rules.token_not_found_status = status);
        let summary = verify(&bed, &[]).await.ended_with(3).json();
        assert_eq!(
            found(&bed, &summary).await,
            listed(&[("error", "8", "token_missing")]),
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_speaks_of_no_token_is_asked_for_again() {
    let bed = Bed::new().await;
    bed.rows(1, 5).await;
    bed.migrate().await.ended_with(0);
    let bodies = ["{}", r#"{"token":null}"#, r#"{"token":{}}"#, r#"{"ok":true}"#];
    bed.api.script_reads(bodies.map(|body| Fault::Answer {
        status: 200,
        body: body.to_owned(),
        committed: true,
    }));
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&summary["verify"]["equal"], &summary["requests"]),
        (&json!(5), &json!(9))
    );
}

#[tokio::test]
async fn a_token_without_scopes_that_a_newer_one_with_scopes_hides_is_no_difference() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2).await;
    bed.migrate().await.ended_with(0);
    // Sent later, so the API shows it to whoever asks for the user's token without scopes.
    bed.user_rows(3, 3).await;
    bed.sql("update legacy_tokens set user_id = 'user-1', scope = 'calendar' where id = 3")
        .await;
    bed.migrate().await.ended_with(0);
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        found(&bed, &summary).await,
        listed(&[("warning", "1", "another_token_shown")])
    );
}

#[tokio::test]
async fn what_cannot_be_compared_is_counted_and_no_difference() {
    let bed = Bed::new().await;
    bed.rows(1, 30).await;
    bed.sql("update legacy_tokens set provider = null where id in (1, 2)")
        .await;
    bed.migrate().await.ended_with(3);
    bed.sql(
        "update legacy_tokens set access_token = access_token || '-new' where id = 3;
         update legacy_tokens set access_token = null, refresh_token = null where id = 4;
         delete from legacy_tokens where id in (5, 6, 7)",
    )
    .await;
    bed.rows(31, 33).await;
    // Another tenant's token of the same user, stored later, and an identifier nobody asked for.
    bed.api.alter_stored(|tokens| {
        let mut newer = of_row(tokens, 8).clone();
        newer.destination.tenant_id = Some("acme".to_owned());
        tokens.push(newer);
        let mut newer = of_row(tokens, 9).clone();
        newer.destination.external_identifier = Some("second".to_owned());
        tokens.push(newer);
    });
    let before = bed.api.requests().fetches();
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        summary["verify"],
        json!({"of_run": null, "sample": null, "seed": null, "include_expired": false, "checked": 21, "equal": 21, "refreshed": 0, "in_part": 0,
               "different": 0, "missing": 0, "changed_in_source": 2, "gone_from_source": 3, "inconclusive": 2, "not_read": 0, "not_uploaded": 5})
    );
    assert_eq!(
        summary["tokens"],
        json!({"selected": 28, "committed": 21, "failed": 0, "superseded": 5, "unchanged": 2})
    );
    assert_eq!(
        bed.api.requests().fetches() - before,
        23,
        "nobody is asked in vain"
    );
    assert_eq!(
        found(&bed, &summary).await,
        listed(&[
            ("warning", "3", "changed_in_source"),
            ("warning", "4", "changed_in_source"),
            ("warning", "5", "gone_from_source"),
            ("warning", "6", "gone_from_source"),
            ("warning", "7", "gone_from_source"),
            ("warning", "8", "another_token_shown"),
            ("warning", "9", "another_token_shown"),
        ])
    );
    let text = bed
        .run(&["verify", "--log-format", "text"])
        .await
        .ended_with(0)
        .stderr;
    assert!(
        text.contains("no difference found") && text.contains("tokenferry migrate"),
        "{text}"
    );
}

#[tokio::test]
async fn a_sample_is_even_and_comes_again_with_its_seed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2000).await;
    bed.migrate().await.ended_with(0);
    let asked = async |arguments: &[&str]| {
        // All are missing, so that the findings name whom it asked about.
        let summary = verify(&bed, arguments).await.ended_with(3).json();
        let keys: BTreeSet<i64> = found(&bed, &summary)
            .await
            .into_iter()
            .map(|(_, key, _)| key.parse().unwrap())
            .collect();
        (summary, keys)
    };
    bed.api.alter_stored(Vec::clear);
    let (first, keys) = asked(&["--sample", "200"]).await;
    assert_eq!(
        (first["verify"]["missing"].as_i64(), keys.len()),
        (Some(200), 200)
    );
    assert_eq!(first["verify"]["not_uploaded"], Value::Null);
    let seed = first["verify"]["seed"].to_string();
    let (_, again) = asked(&["--sample", "200", "--seed", &seed]).await;
    assert_eq!(keys, again);
    // A larger one with the same seed holds the smaller.
    let (_, larger) = asked(&["--sample", "300", "--seed", &seed]).await;
    assert!(keys.is_subset(&larger) && larger.len() == 300);
    let (_, other) = asked(&["--sample", "200", "--seed", "1"]).await;
    assert_ne!(keys, other);
    for fifth in 0..5 {
        let part = keys.iter().filter(|key| (*key - 1) / 400 == fifth).count();
        assert!(
            (20..=60).contains(&part),
            "{part} of the keys from {}",
            fifth * 400
        );
    }
    let (all, _) = asked(&["--sample", "5000"]).await;
    assert_eq!(all["verify"]["missing"], 2000);
    let text = bed
        .run(&["verify", "--sample", "3", "--seed", "7", "--log-format", "text"])
        .await
        .ended_with(3)
        .stderr;
    assert!(text.contains("--sample 3 --seed 7"), "{text}");
    bed.run(&["verify", "--seed", "7"]).await.ended_with(2);
}

#[tokio::test]
async fn a_run_is_verified_by_what_it_committed() {
    let bed = Bed::new().await;
    bed.user_rows(1, 120).await;
    let first = bed.migrate().await.ended_with(0).json()["run_id"].to_string();
    bed.user_rows(121, 150).await;
    bed.sql("update legacy_tokens set access_token = access_token || '-new' where id <= 20")
        .await;
    let second = bed.migrate().await.ended_with(0).json()["run_id"].to_string();
    for (run, count) in [(&first, 100), (&second, 50)] {
        let summary = verify(&bed, &["--run", run]).await.ended_with(0).json();
        assert_eq!(
            (
                &summary["verify"]["equal"],
                summary["verify"]["of_run"].to_string()
            ),
            (&json!(count), run.clone())
        );
    }
    let summary = verify(&bed, &["--run", &second, "--sample", "10"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(summary["verify"]["equal"], 10);
    let verification = summary["run_id"].to_string();
    let ran = verify(&bed, &["--run", &verification]).await.ended_with(2);
    assert!(ran.stderr.contains("uploads nothing"), "{}", ran.stderr);
    let ran = verify(&bed, &["--run", "999"]).await.ended_with(2);
    assert!(ran.stderr.contains("no run 999"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_killed_verification_goes_on_and_counts_every_token_once() {
    for nth in [1, 2, 3] {
        let bed = Bed::new().await;
        bed.user_rows(1, 700).await;
        bed.migrate().await.ended_with(0);
        bed.api
            .alter_stored(|tokens| tokens.retain(|token| !token.id.ends_with('7')));
        let before = bed.api.requests().fetches();
        let status = bed.killed_at(&["verify", "--json"], "verified", nth).await;
        if cfg!(feature = "failpoints") {
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        }
        let summary = verify(&bed, &[]).await.ended_with(3).json();
        if cfg!(feature = "failpoints") {
            assert_eq!(summary["resumed"], true);
            let asked = bed.api.requests().fetches() - before;
            assert!(
                asked < 700 + 210,
                "{asked}: only what was not written is asked for again"
            );
        }
        assert_eq!(
            (&summary["verify"]["equal"], &summary["verify"]["missing"]),
            (&json!(630), &json!(70))
        );
        assert_eq!(found(&bed, &summary).await.len(), 70);
    }
}

#[tokio::test]
async fn a_signal_ends_it_and_only_the_same_question_goes_on_with_it() {
    let bed = Bed::new().await;
    bed.user_rows(1, 400).await;
    bed.migrate().await.ended_with(0);
    let bed = bed.set("api.rate_limit.requests = 100\napi.rate_limit.per = \"1s\"");
    let before = bed.api.requests().fetches();
    let child = bed.command(&["verify", "--json"]).spawn().unwrap();
    timeout(Duration::from_secs(30), async {
        while bed.api.requests().fetches() < before + 50 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    // While one is at it, another is not; a migration may.
    let other = verify(&bed, &[]).await.ended_with(5);
    assert!(other.stderr.contains("another verification"), "{}", other.stderr);
    bed.migrate().await.ended_with(0);
    kill(
        Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).ended_with(130);
    let ended = ran.json();
    let equal = ended["verify"]["equal"].as_i64().unwrap();
    assert!((40..400).contains(&equal), "{ended}");
    assert_eq!(ended["status"], "interrupted");

    let bed = bed.set("");
    let other = verify(&bed, &["--sample", "5"]).await.ended_with(0).json();
    assert_eq!(
        (&other["resumed"], &other["verify"]["checked"]),
        (&json!(false), &json!(5))
    );
    let all = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&all["resumed"], &all["verify"]["equal"]),
        (&json!(true), &json!(400))
    );
    let anew = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (&anew["resumed"], &anew["verify"]["equal"]),
        (&json!(false), &json!(400))
    );
}

#[tokio::test]
async fn it_goes_on_where_a_signal_ended_it() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.migrate().await.ended_with(0);
    let bed = bed.set("batch.concurrency = 3");
    // Three in a row wait for the signal.
    let before = bed.api.requests().fetches();
    bed.api.script_reads(std::iter::repeat_n(Fault::None, 150));
    bed.api
        .script_reads(std::iter::repeat_n(Fault::Delay(Duration::from_secs(20)), 3));
    let bed = bed.set("batch.concurrency = 3\napi.timeout = \"30s\"");
    let child = bed.command(&["verify", "--json"]).spawn().unwrap();
    timeout(Duration::from_secs(30), async {
        while bed.api.requests().fetches() < before + 153 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    kill(
        Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let ended = Ran::from(child.wait_with_output().await.unwrap())
        .ended_with(143)
        .json();
    // Requests that leave together may arrive in another order, and verdicts are entered in that of the keys.
    let equal = ended["verify"]["equal"].as_u64().unwrap();
    assert!((100..=153).contains(&equal), "{equal}");
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (
            &summary["resumed"],
            &summary["run_id"],
            &summary["verify"]["equal"]
        ),
        (&json!(true), &ended["run_id"], &json!(300))
    );
    let asked = (bed.api.requests().fetches() - before) as u64;
    // What was not entered is asked for again, and nothing else.
    assert!((300..=300 + 153 - 100 + 3).contains(&asked), "{asked}");
}

#[tokio::test]
async fn trouble_is_waited_out_and_every_question_pays() {
    let bed = Bed::new().await;
    bed.user_rows(1, 60).await;
    bed.migrate().await.ended_with(0);
    let bed = bed.set("api.rate_limit.requests = 30\napi.rate_limit.per = \"1s\"\nbatch.concurrency = 8");
    bed.api.script_reads([
        Fault::Status(503),
        Fault::CutBeforeCommit,
        Fault::Unreadable,
        Fault::RateLimited(Duration::from_secs(1)),
    ]);
    let begin = Instant::now();
    let summary = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(summary["verify"]["equal"], 60);
    assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(
        (
            bed.api.rate_limited(),
            &summary["requests"],
            &summary["rate_limited"]
        ),
        (1, &json!(64), &json!(1))
    );
}

#[tokio::test]
async fn an_api_that_refuses_or_does_not_answer_stops_it_and_the_next_goes_on() {
    let bed = Bed::new().await;
    bed.user_rows(1, 50).await;
    bed.run(&["verify"]).await.ended_with(2);
    bed.migrate().await.ended_with(0);
    let mut command = bed.command(&["verify", "--json"]);
    let refused = command
        .env("DESCOPE_MANAGEMENT_KEY", "Kwrong")
        .output()
        .await
        .unwrap();
    let refused = Ran::from(refused).ended_with(4);
    assert_eq!(refused.json()["status"], "stopped");
    assert!(!refused.stdout.contains("Kwrong") && !refused.stderr.contains("Kwrong"));
    let bed = bed.set("api.retry.max_attempts = 2\nbatch.concurrency = 1");
    bed.api
        .script_reads([Fault::None, Fault::None, Fault::Status(500), Fault::Status(500)]);
    let ran = verify(&bed, &[]).await.ended_with(4).json();
    assert_eq!(
        (&ran["status"], &ran["verify"]["equal"]),
        (&json!("stopped"), &json!(2))
    );
    bed.api.script_reads([Fault::Status(403)]);
    let ran = verify(&bed, &[]).await.ended_with(4).json();
    assert!(
        ran["stop_reason"]
            .as_str()
            .unwrap()
            .contains("tokens could not be read back"),
        "{ran}"
    );
    // One token that the API does not want to be asked about.
    bed.api.script_reads([Fault::Answer {
        status: 400,
        body: r#"{"errorCode":"E011001","errorDescription":"bad request"}"#.to_owned(),
        committed: false,
    }]);
    let ran = verify(&bed, &[]).await.ended_with(0).json();
    assert_eq!(
        (
            &ran["resumed"],
            &ran["verify"]["equal"],
            &ran["verify"]["inconclusive"]
        ),
        (&json!(true), &json!(49), &json!(1))
    );
    let mut command = bed.command(&["verify"]);
    let gone = command
        .env("SOURCE_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("TOKENFERRY__STOP__AFTER_UNREACHABLE", "1s")
        .output()
        .await
        .unwrap();
    Ran::from(gone).ended_with(6);
}
