//! What a run uploaded is deleted again, and nothing else.

#[cfg(feature = "failpoints")]
use std::os::unix::process::ExitStatusExt;
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokenferry::{
    secret::Secret,
    simulator::{Barrier, ExpiryFormat, Fault, OnRepeat, ProviderToken, Simulator, StoredToken, User},
};
use tokio::time::{sleep, timeout};

use crate::support::{
    bed::{BATCHES, Bed, Ran, TOKEN, ended},
    listings::{failures, of_row},
};

async fn rollback(bed: &Bed, run: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["rollback", "--run", run, "--json", "-vv"];
    arguments.extend(more);
    let ran = bed.run(&arguments).await;
    // Whatever happens: never the call that takes all of an app's or a user's.
    assert_eq!(bed.api.requests().to("/outbound/user/tokens"), 0);
    ran
}

/// A run that uploads what there is; its ID.
async fn uploaded(bed: &Bed) -> String {
    bed.migrate().await.ended_with(0).json()["run_id"].to_string()
}

fn deletions(bed: &Bed) -> usize {
    bed.api.requests().to("/outbound/token")
}

/// What stays: key and code.
async fn stays(bed: &Bed, ran: &Value) -> BTreeSet<(i64, String)> {
    let rows = failures(bed, ran, &[]).await.into_iter();
    rows.map(|(key, severity, code)| {
        assert_eq!(severity, "error");
        (key.parse().unwrap(), code)
    })
    .collect()
}

fn listed(rows: &[(i64, &str)]) -> BTreeSet<(i64, String)> {
    rows.iter()
        .map(|(key, code)| (*key, (*code).to_owned()))
        .collect()
}

/// The keys of the rows whose access tokens are stored.
fn stored_rows(bed: &Bed) -> BTreeSet<i64> {
    let stored = bed.api.stored();
    let access = stored.iter().filter_map(StoredToken::exposed_access_token);
    access
        .filter_map(|access| access.strip_prefix(&format!("{TOKEN}-access-"))?.parse().ok())
        .collect()
}

async fn committed_keys(bed: &Bed) -> BTreeSet<i64> {
    let keys = bed
        .texts("select source_key from tokenferry.tokens where state = 'committed'")
        .await;
    keys.iter().map(|key| key.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_token_is_recognised_in_whatever_form_its_expiry_is_shown() {
    let bed = Bed::new().await;
    bed.rows(1, 12).await;
    for format in [
        ExpiryFormat::Text,
        ExpiryFormat::Number,
        ExpiryFormat::Rfc3339,
        ExpiryFormat::Unknown,
    ] {
        let run = uploaded(&bed).await;
        bed.api.change_rules(|rules| {
            rules.expiry_format = format;
            rules.token_not_found_status = 400;
        });
        bed.api.alter_stored(|tokens| {
            tokens.retain(|token| token.exposed_access_token() != Some(&format!("{TOKEN}-access-8")));
        });
        let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
        assert_eq!(
            (&summary["rollback"]["removed"], &summary["rollback"]["gone"]),
            (&json!(11), &json!(1)),
            "{format:?}"
        );
    }
}

#[tokio::test]
async fn what_a_run_uploaded_goes_and_the_next_run_sends_it_again() {
    let bed = Bed::new().await;
    bed.rows(1, 120).await;
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, refresh_token) values (900, 'google', 'only-refresh', 'r-900');
         update legacy_tokens set external_id = 'work' where id in (11, 20);
         update legacy_tokens set tenant_id = 'acme' where id = 12;
         update legacy_tokens set expires_at = null, token_type = null, scope = null, granted_by = null where id = 13",
    )
    .await;
    let first = uploaded(&bed).await;
    bed.rows(121, 140).await;
    uploaded(&bed).await;
    let history = bed.texts(BATCHES).await;

    let ran = rollback(&bed, &first, &["--yes"]).await.ended_with(0);
    let summary = ran.json();
    assert_eq!(
        (&summary["mode"], &summary["status"], &summary["resumed"]),
        (&json!("rollback"), &json!("completed"), &json!(false))
    );
    assert_eq!(
        summary["rollback"],
        json!({"of_run": first.parse::<i64>().unwrap(), "dry_run": false, "removed": 121, "gone": 0, "refused": 0})
    );
    assert_eq!(
        summary["tokens"],
        json!({"selected": 121, "committed": 121, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    assert_eq!((&summary["requests"], deletions(&bed)), (&json!(242), 121));
    let rest: BTreeSet<i64> = (121..=140).collect();
    assert_eq!((stored_rows(&bed), bed.api.stored_count()), (rest.clone(), 20));
    assert_eq!(committed_keys(&bed).await, rest);
    assert_eq!(bed.texts(BATCHES).await, history, "what was sent stays on record");
    for text in [&ran.stdout, &ran.stderr, &bed.ledger_dump().await] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    // Where the migration stands is told by the latest run that moved tokens, whichever way; a rollback by
    // its own ID, too.
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(status["mode"], "rollback");
    let id = summary["run_id"].to_string();
    let status = bed
        .run(&["status", "--run", &id, "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&status["mode"], &status["rollback"]["removed"]),
        (&json!("rollback"), &json!(121))
    );
    let shown = bed.run(&["show", "12", "--json"]).await.ended_with(0).json();
    let token = &shown["tokens"][0];
    assert_eq!(
        (
            &token["outcome"],
            &token["rollbacks"][0]["state"],
            &token["source"]["row"]
        ),
        (&Value::Null, &json!("removed"), &json!("sendable"))
    );
    let text = bed.run(&["show", "12"]).await.ended_with(0).stdout;
    assert!(text.contains("rolled back removed by run"), "{text}");

    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (&again["tokens"]["committed"], &again["tokens"]["unchanged"]),
        (&json!(121), &json!(20))
    );
    bed.assert_arrived().await;
    // And what was sent again is that run's to delete.
    let second = again["run_id"].to_string();
    let summary = rollback(&bed, &second, &["--yes"]).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 121);
    let nothing = rollback(&bed, &second, &["--yes"]).await.ended_with(0).json();
    assert_eq!(
        (&nothing["rollback"]["removed"], &nothing["requests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_stay_and_touches_nothing() {
    let bed = Bed::new().await;
    bed.rows(1, 30).await;
    let run = uploaded(&bed).await;
    bed.api.alter_stored(|tokens| {
        of_row(tokens, 3).scopes.push("files".to_owned());
        tokens.retain(|token| token.exposed_access_token() != Some(&format!("{TOKEN}-access-8")));
    });
    let before = bed.ledger_without("rollback").await;
    let summary = rollback(&bed, &run, &["--dry-run"]).await.ended_with(3).json();
    assert_eq!(
        summary["rollback"],
        json!({"of_run": 1, "dry_run": true, "removed": 28, "gone": 1, "refused": 1})
    );
    assert_eq!(stays(&bed, &summary).await, listed(&[(3, "changed_since")]));
    assert_eq!((deletions(&bed), bed.api.stored_count()), (0, 29));
    assert_eq!(bed.ledger_without("rollback").await, before);
    let text = bed
        .run(&["rollback", "--run", &run, "--dry-run", "--log-format", "text"])
        .await
        .ended_with(3)
        .stderr;
    assert!(
        text.contains("would be deleted") && text.contains("nothing was deleted"),
        "{text}"
    );
    // It was no beginning of the real one.
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(
        (&summary["resumed"], &summary["rollback"]),
        (
            &json!(false),
            &json!({"of_run": 1, "dry_run": false, "removed": 28, "gone": 1, "refused": 1})
        )
    );
    assert_eq!(deletions(&bed), 28);
    assert_eq!(committed_keys(&bed).await, [3].into());
}

#[tokio::test]
async fn what_has_changed_since_stays_with_a_reason() {
    let bed = Bed::new().await;
    bed.rows(1, 60).await;
    let run = uploaded(&bed).await;
    bed.sql(
        "update legacy_tokens set access_token = access_token || '-new' where id = 1;
         update legacy_tokens set provider = null where id = 2;
         delete from legacy_tokens where id = 3",
    )
    .await;
    let now = chrono::Utc::now().timestamp();
    bed.api.alter_stored(|tokens| {
        of_row(tokens, 4).access_token = Some(Secret::new(format!("{TOKEN}-reconnected")));
        // A part of it alone is enough.
        of_row(tokens, 5).refresh_token = Some(Secret::new(format!("{TOKEN}-rotated")));
        of_row(tokens, 6).refresh_token = None;
        of_row(tokens, 7).access_token_expiry += 1;
        of_row(tokens, 8).granted_by = None;
        // Refreshed, with a new token and with the same.
        let refreshed = of_row(tokens, 9);
        refreshed.access_token = Some(Secret::new(format!("{TOKEN}-renewed")));
        refreshed.last_refresh_time = now + 1;
        of_row(tokens, 11).last_refresh_time = now + 1;
        // Refreshed before it was uploaded, in a former life.
        of_row(tokens, 12).last_refresh_time = now - 3600;
        // A newer token of the same user, elsewhere and at the same place.
        for (row, tenant) in [(13, Some("acme")), (14, None)] {
            let mut newer = of_row(tokens, row).clone();
            newer.id = format!("newer-{row}");
            newer.destination.tenant_id = tenant.map(str::to_owned);
            newer.access_token = Some(Secret::new(format!("{TOKEN}-newer")));
            tokens.push(newer);
        }
        // The tenant's own.
        of_row(tokens, 20).scopes.clear();
        of_row(tokens, 15).id = String::new();
        tokens.retain(|token| token.exposed_access_token() != Some(&format!("{TOKEN}-access-16")));
    });
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(summary["status"], "completed_with_failures");
    let expected = [
        (1, "changed_in_source"),
        (2, "changed_in_source"),
        (3, "gone_from_source"),
        (4, "changed_since"),
        (5, "changed_since"),
        (6, "changed_since"),
        (7, "changed_since"),
        (8, "changed_since"),
        (9, "refreshed_since"),
        (11, "refreshed_since"),
        (13, "another_token_shown"),
        (14, "changed_since"),
        (15, "id_not_shown"),
        (20, "changed_since"),
    ];
    assert_eq!(stays(&bed, &summary).await, listed(&expected));
    assert_eq!(
        summary["rollback"],
        json!({"of_run": 1, "dry_run": false, "removed": 45, "gone": 1, "refused": 14})
    );
    let kept: BTreeSet<i64> = expected.iter().map(|(key, _)| *key).collect();
    assert_eq!(committed_keys(&bed).await, kept);
    // 14 that are refused and two newer ones.
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (16, 45));
    let id = summary["run_id"].to_string();
    let table = bed.run(&["failures", "--run", &id]).await.ended_with(0).stdout;
    assert!(
        table.contains("in use and no longer what was sent") && table.contains("Descope's console"),
        "{table}"
    );
    assert!(!table.contains(TOKEN) && !bed.ledger_dump().await.contains(TOKEN));
    // What can be corrected is: then it goes, too.
    bed.sql("update legacy_tokens set provider = 'google' where id = 2")
        .await;
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(
        (
            &summary["resumed"],
            &summary["rollback"]["removed"],
            &summary["rollback"]["refused"]
        ),
        (&json!(false), &json!(1), &json!(13))
    );
}

#[tokio::test]
async fn what_was_there_before_stays_however_it_was_replaced() {
    for on_repeat in [OnRepeat::Replace, OnRepeat::Add] {
        let bed = Bed::with(Simulator::builder()).await;
        bed.api.change_rules(|rules| rules.on_repeat = on_repeat);
        bed.user_rows(1, 20).await;
        let first = uploaded(&bed).await;
        // Row 1 has changed; row 21 takes the place of row 2, which stays in the source; row 3 goes
        // elsewhere.
        bed.sql(&format!(
            "update legacy_tokens set access_token = '{TOKEN}-access-1001' where id = 1;
             insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
                    values (21, 'google', 'user-2', '{TOKEN}-access-21', now() + interval '1 hour'),
                           (22, 'google', 'user-22', '{TOKEN}-access-22', now());
             update legacy_tokens set user_id = 'user-300' where id = 3;
             update legacy_tokens set provider = null where id = 4"
        ))
        .await;
        bed.migrate().await.ended_with(3);
        // Row 4 failed in between, and comes back to where it was.
        bed.sql("update legacy_tokens set provider = 'google', granted_by = 'x' where id = 4")
            .await;
        let third = uploaded(&bed).await;
        let second = (third.parse::<i64>().unwrap() - 1).to_string();
        let before = bed.api.stored_count();

        let summary = rollback(&bed, &second, &["--yes"]).await.ended_with(3).json();
        assert_eq!(
            stays(&bed, &summary).await,
            listed(&[(1, "replaced_another"), (21, "replaced_another")])
        );
        // Where nothing was before: rows 3 and 22.
        assert_eq!(
            (&summary["rollback"]["removed"], bed.api.stored_count()),
            (&json!(2), before - 2)
        );
        let summary = rollback(&bed, &third, &["--yes"]).await.ended_with(3).json();
        assert_eq!(stays(&bed, &summary).await, listed(&[(4, "replaced_another")]));
        assert_eq!(summary["rollback"]["removed"], 0);

        let summary = rollback(&bed, &first, &["--yes"]).await.ended_with(3).json();
        assert_eq!(
            stays(&bed, &summary).await,
            listed(&[
                (1, "outcome_since"),
                (2, "outcome_since"),
                (3, "outcome_since"),
                (4, "outcome_since")
            ])
        );
        assert_eq!(
            (&summary["rollback"]["removed"], bed.api.stored_count()),
            (&json!(16), before - 18)
        );
        let kept: BTreeSet<String> = bed
            .api
            .stored()
            .into_iter()
            .filter_map(|token| token.destination.user_id)
            .collect();
        assert_eq!(
            kept,
            ["user-1", "user-2", "user-3", "user-4"].map(str::to_owned).into()
        );
    }
}

#[tokio::test]
async fn of_two_tokens_at_one_place_only_the_one_that_was_sent_goes() {
    let bed = Bed::new().await;
    bed.api.change_rules(|rules| rules.on_repeat = OnRepeat::Add);
    bed.user_rows(1, 6).await;
    let run = uploaded(&bed).await;
    bed.api.alter_stored(|tokens| {
        let strangers: Vec<StoredToken> = (1..=3)
            .map(|row| {
                let mut stranger = of_row(tokens, row).clone();
                stranger.id = format!("stranger-{row}");
                stranger.access_token = Some(Secret::new(format!("{TOKEN}-strange")));
                stranger
            })
            .collect();
        // Older than what was uploaded.
        for stranger in strangers {
            tokens.insert(0, stranger);
        }
    });
    // Of the second token's deletion the answer is lost: what is shown then is the stranger's.
    let bed = bed.set("batch.concurrency = 1");
    bed.api.script_deletes([Fault::None, Fault::CutAfterCommit]);
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(
        (&summary["rollback"]["removed"], &summary["rollback"]["refused"]),
        (&json!(5), &json!(1))
    );
    assert_eq!(stays(&bed, &summary).await, listed(&[(2, "changed_since")]));
    let id = summary["run_id"].to_string();
    let table = bed.run(&["failures", "--run", &id]).await.ended_with(0).stdout;
    assert!(
        table.contains("An earlier deletion of it may have arrived"),
        "{table}"
    );
    let ids: BTreeSet<String> = bed.api.stored().into_iter().map(|token| token.id).collect();
    assert_eq!(
        ids,
        ["stranger-1", "stranger-2", "stranger-3"]
            .map(str::to_owned)
            .into()
    );
    assert_eq!(deletions(&bed), 6, "none of them for a stranger's");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_and_nothing_is_deleted_blindly() {
    let bed = Bed::new().await;
    bed.user_rows(1, 40).await;
    let run = uploaded(&bed).await;
    bed.user_rows(41, 45).await;
    uploaded(&bed).await;
    bed.api.script_deletes([
        Fault::CutBeforeCommit,
        Fault::CutAfterCommit,
        Fault::Status(503),
        Fault::StatusAfterCommit(500),
        Fault::Unreadable,
        Fault::Truncated,
        Fault::RateLimited(Duration::from_secs(1)),
        Fault::Delay(Duration::from_millis(1500)),
    ]);
    bed.api
        .script_reads([Fault::Status(502), Fault::CutBeforeCommit, Fault::Unreadable]);
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 40);
    assert_eq!(bed.api.scripted(), 0);
    assert_eq!(stored_rows(&bed), (41..=45).collect());
    // Three that were not carried out came again, and the one that came late may have; those carried out did
    // not.
    assert!((43..=44).contains(&deletions(&bed)), "{}", deletions(&bed));
    assert_eq!(bed.api.rate_limited(), 1);
}

#[tokio::test]
async fn what_changes_between_two_attempts_stays() {
    let bed = Bed::new().await;
    bed.user_rows(1, 1).await;
    let run = uploaded(&bed).await;
    let gate = Barrier::new();
    let bed = bed.set("api.timeout = \"20s\"");
    bed.api.script_deletes([Fault::Status(503)]);
    bed.api
        .script_reads([Fault::None, Fault::HoldBeforeCommit(gate.clone())]);
    let child = bed
        .command(&["rollback", "--run", &run, "--yes", "--json"])
        .spawn()
        .unwrap();
    gate.reached().await;
    // Connected anew under the same ID, while the program looks again.
    bed.api
        .alter_stored(|tokens| tokens[0].access_token = Some(Secret::new(format!("{TOKEN}-reconnected"))));
    gate.release();
    let summary = Ran::from(child.wait_with_output().await.unwrap())
        .ended_with(3)
        .json();
    assert_eq!(stays(&bed, &summary).await, listed(&[(1, "changed_since")]));
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (1, 1));
}

#[tokio::test]
async fn what_somebody_else_deletes_meanwhile_is_gone_whatever_the_api_calls_it() {
    for status in [404, 400] {
        let bed = Bed::new().await;
        bed.api
            .change_rules(|rules| rules.token_not_found_status = status);
        bed.user_rows(1, 1).await;
        let run = uploaded(&bed).await;
        let gate = Barrier::new();
        let bed = bed.set("api.timeout = \"20s\"");
        bed.api.script_deletes([Fault::HoldBeforeCommit(gate.clone())]);
        let child = bed
            .command(&["rollback", "--run", &run, "--yes", "--json"])
            .spawn()
            .unwrap();
        gate.reached().await;
        bed.api.alter_stored(Vec::clear);
        gate.release();
        let ended = Ran::from(child.wait_with_output().await.unwrap())
            .ended_with(0)
            .json();
        assert_eq!(ended["rollback"]["gone"], 1, "{status}");
        assert!(committed_keys(&bed).await.is_empty());
    }
    // One that is there and is not deleted is said to be so.
    let bed = Bed::new().await;
    bed.user_rows(1, 1).await;
    let run = uploaded(&bed).await;
    bed.api.script_deletes([Fault::Answer {
        status: 409,
        body: r#"{"errorCode":"E000409","errorDescription":"conflict"}"#.to_owned(),
        committed: false,
    }]);
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(stays(&bed, &summary).await, listed(&[(1, "E000409")]));
    assert_eq!(committed_keys(&bed).await, [1].into());
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn killed_anywhere_the_next_one_ends_right() {
    for place in ["intended", "undone", "undone_recorded"] {
        for nth in [1, 7] {
            let bed = Bed::new().await;
            bed.user_rows(1, 40).await;
            let run = uploaded(&bed).await;
            bed.user_rows(41, 45).await;
            uploaded(&bed).await;
            bed.api.script_deletes([Fault::None, Fault::CutAfterCommit]);
            let status = bed
                .killed_at(&["rollback", "--run", &run, "--yes", "--json"], place, nth)
                .await;
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{place}");
            // Nothing that the ledger calls committed may be missed by a run that comes in between, and
            // nothing sent twice: where a token may be gone, that is settled first.
            let pending = "select count(*) from tokenferry.rollbacks where state = 'deleting'";
            let back: i64 = if bed.number(pending).await > 0 {
                bed.migrate().await.ended_with(2);
                0
            } else {
                let between = bed.migrate().await.ended_with(0).json();
                between["tokens"]["committed"].as_i64().unwrap()
            };
            let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
            assert_eq!(summary["resumed"], true, "{place}");
            let (removed, gone) = (&summary["rollback"]["removed"], &summary["rollback"]["gone"]);
            assert_eq!(
                removed.as_i64().unwrap() + gone.as_i64().unwrap(),
                40,
                "{place} {nth}: {summary}"
            );
            assert_eq!(
                gone, 0,
                "{place} {nth}: what it deleted itself is not gone by somebody else's hand"
            );
            assert_eq!(bed.api.stored_count(), 5 + usize::try_from(back).unwrap());
            assert_eq!(bed.number(pending).await, 0);
            // Whatever the migration in between sent again is its own.
            bed.migrate().await.ended_with(0);
            assert_eq!(stored_rows(&bed), (1..=45).collect());
            assert!(bed.api.writes().values().all(|count| *count <= 2));
        }
    }
}

/// Deleted at Descope, and the ledger does not know yet: whatever counts on it has to wait.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn nothing_relies_on_tokens_that_a_killed_rollback_was_deleting() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.user_rows(1, 40).await;
    let run = uploaded(&bed).await;
    let status = bed
        .killed_at(&["rollback", "--run", &run, "--yes"], "undone", 5)
        .await;
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    assert_eq!(
        (bed.api.stored_count(), committed_keys(&bed).await.len()),
        (35, 36)
    );
    let runs = "select count(*) from tokenferry.runs";
    let before = bed.number(runs).await;
    let advice = format!("`tokenferry rollback --run {run}` resumes it");
    for arguments in [
        &["migrate"][..],
        &["migrate", "--dry-run"],
        &["migrate", "--only-failed"],
        &["verify"],
    ] {
        let refused = bed.run(arguments).await.ended_with(2);
        for part in [
            "run 2, a rollback of run 1, ended while 1 token was being deleted",
            &advice,
        ] {
            assert!(refused.stderr.contains(part), "{arguments:?}: {}", refused.stderr);
        }
    }
    assert_eq!(bed.number(runs).await, before, "none of them began");
    let doctor = bed.run(&["doctor", "--json"]).await.ended_with(2).json();
    let check = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "rollbacks")
        .unwrap();
    assert_eq!(check["status"], "failed", "{check}");
    assert!(bed.run(&["status"]).await.ended_with(0).stdout.contains(&advice));
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        status["pending_deletions"],
        json!({"rollback": 2, "of_run": 1, "tokens": 1})
    );

    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 40);
    bed.run(&["doctor"]).await.ended_with(0);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert!(status.get("pending_deletions").is_none(), "{status}");
    let again = bed.migrate().await.ended_with(0).json();
    assert_eq!(again["tokens"]["committed"], 40);
    bed.assert_arrived().await;
}

/// A rollback that is at work is no reason to take one up.
#[tokio::test]
async fn while_a_rollback_runs_others_are_told_that_it_does() {
    let bed = Bed::new()
        .await
        .set("batch.concurrency = 1\napi.timeout = \"60s\"");
    bed.user_rows(1, 10).await;
    let run = uploaded(&bed).await;
    let gate = Barrier::new();
    bed.api.script_deletes([Fault::Hold(gate.clone())]);
    let child = bed
        .command(&["rollback", "--run", &run, "--yes", "--json"])
        .spawn()
        .unwrap();
    timeout(Duration::from_secs(60), gate.reached()).await.unwrap();
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"], &["verify"]] {
        let other = bed.run(arguments).await.ended_with(5);
        assert!(other.stderr.contains("another run"), "{}", other.stderr);
    }
    bed.run(&["doctor"]).await.ended_with(0);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert!(status.get("pending_deletions").is_none(), "{status}");
    gate.release();
    Ran::from(child.wait_with_output().await.unwrap()).ended_with(0);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_changes_while_nobody_is_at_it_is_looked_at_again() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let run = uploaded(&bed).await;
    let bed = bed.set("batch.concurrency = 1");
    for (place, nth) in [("intended", 1), ("undone", 2)] {
        let status = bed
            .killed_at(&["rollback", "--run", &run, "--yes"], place, nth)
            .await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        let id = bed
            .texts("select app_id || ' ' || user_id || ' ' || token_id from tokenferry.rollbacks where state = 'deleting'")
            .await;
        assert_eq!(id.len(), 1, "{id:?}");
        if place == "intended" {
            // Nothing was deleted yet, and now somebody connects again: under the same ID.
            bed.api.alter_stored(|tokens| {
                of_row(tokens, 1).access_token = Some(Secret::new(format!("{TOKEN}-reconnected")));
            });
        }
    }
    // The row of another one in question has changed. Nothing is sent before it is known what became of the
    // token.
    bed.killed_at(&["rollback", "--run", &run, "--yes"], "intended", 1)
        .await;
    let key = bed
        .texts("select source_key from tokenferry.rollbacks where state = 'deleting'")
        .await
        .remove(0);
    bed.sql(&format!(
        "update legacy_tokens set access_token = '{TOKEN}-access-1000' where id = {key}"
    ))
    .await;
    bed.migrate().await.ended_with(2);

    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    let key: i64 = key.parse().unwrap();
    assert_eq!(
        stays(&bed, &summary).await,
        listed(&[(1, "changed_since"), (key, "changed_in_source")])
    );
    assert_eq!(summary["rollback"]["removed"], 8);
    assert_eq!(bed.api.stored_count(), 2);
    let pending = "select count(*) from tokenferry.rollbacks where state = 'deleting'";
    assert_eq!(bed.number(pending).await, 0);
}

/// Deleted at Descope and not recorded, and then nothing of the source says any more what was sent.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_it_deleted_is_not_committed_whatever_its_row_says_when_it_goes_on() {
    for change in [
        format!("update legacy_tokens set access_token = '{TOKEN}-renewed', updated_at = now()"),
        "update legacy_tokens set user_id = 'somebody-else'".to_owned(),
        "update legacy_tokens set scope = 'mail'".to_owned(),
        "delete from legacy_tokens".to_owned(),
    ] {
        let bed = Bed::new().await.set("batch.concurrency = 1");
        bed.rows(1, 3).await;
        let run = uploaded(&bed).await;
        bed.killed_at(&["rollback", "--run", &run, "--yes"], "undone", 1)
            .await;
        assert_eq!((bed.api.stored_count(), committed_keys(&bed).await.len()), (2, 3));
        bed.sql(&format!("{change} where id = 1")).await;
        let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
        assert_eq!(summary["rollback"]["removed"], 3, "{change}");
        assert!(committed_keys(&bed).await.is_empty(), "{change}");
        bed.migrate().await.ended_with(0);
        bed.assert_arrived().await;
    }
}

/// The same, and what Descope shows now tells nothing of the token that was deleted.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn where_nobody_can_tell_whether_it_was_deleted_it_is_not_committed_and_that_is_said() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.rows(1, 3).await;
    let run = uploaded(&bed).await;
    bed.killed_at(&["rollback", "--run", &run, "--yes"], "undone", 1)
        .await;
    // Somebody connects anew, under another ID.
    bed.api.alter_stored(|tokens| {
        let mut anew = of_row(tokens, 2).clone();
        anew.id = "anew".to_owned();
        anew.destination.user_id = Some("user-1".to_owned());
        tokens.push(anew);
    });
    let before = bed
        .texts("select access_token from legacy_tokens where id = 1")
        .await
        .remove(0);
    bed.sql("update legacy_tokens set access_token = 'other', updated_at = now() where id = 1")
        .await;
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(stays(&bed, &summary).await, listed(&[(1, "changed_in_source")]));
    let table = bed
        .run(&[
            "failures",
            "--run",
            &summary["run_id"].to_string(),
            "--format",
            "csv",
        ])
        .await
        .ended_with(0)
        .stdout;
    assert!(
        table.contains("An earlier deletion of it may have arrived"),
        "{table}"
    );
    assert!(committed_keys(&bed).await.is_empty());
    // Changed back: it is not called unchanged.
    bed.sql(&format!(
        "update legacy_tokens set access_token = '{before}', updated_at = now() where id = 1"
    ))
    .await;
    let dry = bed
        .run(&["migrate", "--dry-run", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&dry["tokens"]["committed"], &dry["tokens"]["unchanged"]),
        (&json!(3), &json!(0))
    );
    let ran = bed.migrate().await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 3);
    bed.assert_arrived().await;
}

/// Recognised and about to be deleted, and then killed: it is there, whatever its row says.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_it_was_about_to_delete_and_is_there_still_stays_committed() {
    let bed = Bed::new().await.set("batch.concurrency = 1");
    bed.rows(1, 1).await;
    let run = uploaded(&bed).await;
    bed.killed_at(&["rollback", "--run", &run, "--yes"], "intended", 1)
        .await;
    bed.sql("delete from legacy_tokens").await;
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(stays(&bed, &summary).await, listed(&[(1, "gone_from_source")]));
    assert_eq!(committed_keys(&bed).await, [1].into());
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (1, 0));
}

/// The deletion of a killed process may arrive after the next one has looked.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_is_there_while_its_deletion_may_be_under_way_is_looked_at_again() {
    let bed = Bed::new()
        .await
        .set("batch.concurrency = 1\napi.timeout = \"2s\"\napi.settle_grace = \"2s\"");
    bed.rows(1, 1).await;
    let run = uploaded(&bed).await;
    bed.killed_at(&["rollback", "--run", &run, "--yes"], "intended", 1)
        .await;
    bed.sql("delete from legacy_tokens").await;
    let looked = bed.api.requests().fetches();
    let child = bed
        .command(&["rollback", "--run", &run, "--yes", "--json"])
        .spawn()
        .unwrap();
    timeout(Duration::from_secs(30), async {
        while bed.api.requests().fetches() == looked {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    bed.api.alter_stored(Vec::clear);
    let summary = ended(child.wait_with_output()).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 1);
    assert!(committed_keys(&bed).await.is_empty());
}

#[tokio::test]
async fn a_signal_ends_it_and_the_next_one_goes_on() {
    let bed = Bed::new().await;
    bed.user_rows(1, 200).await;
    let run = uploaded(&bed).await;
    let bed = bed.set("api.rate_limit.requests = 40\napi.rate_limit.per = \"1s\"");
    let child = bed
        .command(&["rollback", "--run", &run, "--yes", "--json"])
        .spawn()
        .unwrap();
    timeout(Duration::from_secs(30), async {
        while deletions(&bed) < 20 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    // Neither an upload nor another rollback beside it; a verification may.
    for arguments in [&["migrate"][..], &["rollback", "--run", &run, "--yes"]] {
        let other = bed.run(arguments).await.ended_with(5);
        assert!(other.stderr.contains("another run"), "{}", other.stderr);
    }
    kill(
        Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let ended = Ran::from(child.wait_with_output().await.unwrap())
        .ended_with(143)
        .json();
    assert_eq!(ended["status"], "interrupted");
    let removed = usize::try_from(ended["rollback"]["removed"].as_i64().unwrap()).unwrap();
    // What had left was waited for: the books and the API agree.
    assert_eq!(bed.api.stored_count(), 200 - removed);
    assert_eq!(committed_keys(&bed).await.len(), 200 - removed);
    let bed = bed.set("");
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
    assert_eq!(
        (
            &summary["resumed"],
            &summary["run_id"],
            &summary["rollback"]["removed"]
        ),
        (&json!(true), &ended["run_id"], &json!(200))
    );
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (0, 200));
}

#[tokio::test]
async fn an_unfinished_run_does_not_pass_over_what_was_deleted() {
    let bed = Bed::new().await.set("source.page_size = 10");
    bed.user_rows(1, 100).await;
    bed.run(&["migrate", "--limit", "60"]).await.ended_with(0);
    let cursor = "select coalesce(cursor, 'none') from tokenferry.runs where id = 1";
    assert_ne!(bed.texts(cursor).await, ["none"], "it has come a way");
    let first = rollback(&bed, "1", &["--yes"]).await.ended_with(0).json();
    assert_eq!(first["rollback"]["removed"], 60);
    assert_eq!(bed.texts(cursor).await, ["none"]);
    let rest = bed.migrate().await.ended_with(0).json();
    assert_eq!((&rest["run_id"], &rest["resumed"]), (&json!(1), &json!(true)));
    assert_eq!(
        rest["tokens"],
        json!({"selected": 100, "committed": 100, "failed": 0, "superseded": 0, "unchanged": 0})
    );
    bed.assert_arrived().await;

    // The same of a run's tokens while a later one is unfinished.
    bed.user_rows(101, 150).await;
    bed.run(&["migrate", "--limit", "20"]).await.ended_with(0);
    let unfinished = "select coalesce(cursor, 'none') from tokenferry.runs where mode = 'migrate' order by id desc limit 1";
    assert_ne!(bed.texts(unfinished).await, ["none"], "it has come a way");
    rollback(&bed, "1", &["--yes"]).await.ended_with(0);
    assert_eq!(bed.api.stored_count(), 20);
    let rest = bed.migrate().await.ended_with(0).json();
    assert_eq!(
        (
            &rest["resumed"],
            &rest["tokens"]["committed"],
            &rest["tokens"]["selected"]
        ),
        (&json!(true), &json!(150), &json!(150))
    );
    bed.assert_arrived().await;
}

/// The run is gone on with while its rollback is unfinished, and sends again under its own number what was
/// taken out.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_the_run_itself_sent_again_in_between_goes_as_well() {
    let bed = Bed::new()
        .await
        .set("source.page_size = 10\nbatch.concurrency = 1");
    bed.user_rows(1, 60).await;
    bed.run(&["migrate", "--limit", "30"]).await.ended_with(0);
    bed.killed_at(&["rollback", "--run", "1", "--yes"], "undone_recorded", 11)
        .await;
    assert_eq!(bed.api.stored_count(), 19);
    let rest = bed.migrate().await.ended_with(0).json();
    assert_eq!((&rest["run_id"], &rest["resumed"]), (&json!(1), &json!(true)));
    assert_eq!(bed.api.stored_count(), 60);
    let summary = rollback(&bed, "1", &["--yes"]).await.ended_with(0).json();
    assert_eq!(
        (&summary["resumed"], &summary["rollback"]["removed"]),
        (&json!(true), &json!(60))
    );
    assert_eq!(bed.api.stored_count(), 0);
    assert!(committed_keys(&bed).await.is_empty());
    // A rehearsal moves nothing.
    rollback(&bed, "1", &["--dry-run"]).await.ended_with(0);
    let status = bed.run(&["status", "--json"]).await.ended_with(0).json();
    assert_eq!(
        (&status["mode"], &status["status"]),
        (&json!("rollback"), &json!("completed"))
    );
    assert_eq!(status["rollback"]["dry_run"], false);
}

/// Taken out, sent again by the same run, and after that to another place: what is left at the first one is
/// said to stay.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_the_run_itself_sent_elsewhere_in_between_is_listed() {
    let bed = Bed::new()
        .await
        .set("source.page_size = 10\nbatch.concurrency = 1");
    bed.user_rows(1, 60).await;
    bed.run(&["migrate", "--limit", "30"]).await.ended_with(0);
    let back = ["rollback", "--run", "1", "--yes"];
    // In the order of the keys as text: 1, 10, 11 and so on.
    bed.killed_at(&back, "undone_recorded", 4).await;
    bed.run(&["migrate", "--limit", "30"]).await.ended_with(0);
    bed.killed_at(&back, "undone_recorded", 1).await;
    bed.sql("update legacy_tokens set user_id = 'elsewhere' where id = 10")
        .await;
    bed.migrate().await.ended_with(0);
    let summary = rollback(&bed, "1", &["--yes"]).await.ended_with(3).json();
    assert_eq!(summary["rollback"]["refused"], 1, "{summary}");
    assert_eq!(
        stays(&bed, &summary).await,
        [(10, "outcome_since".to_owned())].into()
    );
    let left: BTreeSet<String> = bed
        .api
        .stored()
        .into_iter()
        .filter_map(|token| token.destination.user_id)
        .collect();
    assert_eq!(left, ["user-10".to_owned(), "elsewhere".to_owned()].into());
}

/// Another row of the run took a row's place. Once that is emptied, nothing of the run is there, whoever goes
/// on.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_place_that_it_emptied_itself_is_not_listed_when_it_goes_on() {
    let bed = Bed::new()
        .await
        .set("source.page_size = 10\nbatch.concurrency = 1");
    bed.user_rows(1, 40).await;
    bed.run(&["migrate", "--limit", "20"]).await.ended_with(0);
    bed.sql(
        "insert into legacy_tokens (id, provider, user_id, access_token) values (100, 'google', 'user-1', 'newer')",
    )
    .await;
    bed.migrate().await.ended_with(0);
    let state = "select state from tokenferry.tokens where source_key = '1'";
    assert_eq!(bed.texts(state).await, ["superseded"]);
    // In the order of the keys as text: 10, 100, 11 and so on.
    bed.killed_at(&["rollback", "--run", "1", "--yes"], "undone_recorded", 3)
        .await;
    let summary = rollback(&bed, "1", &["--yes"]).await.ended_with(0).json();
    assert_eq!(
        (&summary["rollback"]["removed"], &summary["rollback"]["refused"]),
        (&json!(40), &json!(0))
    );
    assert_eq!(bed.api.stored_count(), 0);
}

/// A migration that would simply send the batch again must not have its rollback forget what may be stored.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_batch_left_in_flight_is_asked_about_even_where_a_migration_would_not() {
    let bed = Bed::new().await.set("batch.on_unknown = \"resend\"");
    bed.user_rows(1, 20).await;
    if bed
        .killed_at(&["migrate"], "answered", 1)
        .await
        .signal()
        .is_none()
    {
        return;
    }
    assert_eq!(
        (committed_keys(&bed).await.len(), bed.api.stored_count()),
        (0, 20)
    );
    let summary = rollback(&bed, "1", &["--yes"]).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 20);
    assert_eq!(bed.api.stored_count(), 0);
}

#[tokio::test]
async fn a_batch_that_was_left_in_flight_is_found_out_first() {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    let bed = bed.set("batch.max_tokens = 10\nbatch.concurrency = 1\napi.timeout = \"20s\"");
    let gate = Barrier::new();
    bed.api.script([Fault::None, Fault::Hold(gate.clone())]);
    let mut child = bed.spawn_migrate();
    gate.reached().await;
    child.kill().await.unwrap();
    gate.release();
    assert_eq!(
        (committed_keys(&bed).await.len(), bed.api.stored_count()),
        (10, 20)
    );
    let bed = bed.set("api.timeout = \"1s\"");
    let summary = rollback(&bed, "1", &["--yes"]).await.ended_with(0).json();
    assert_eq!(summary["rollback"]["removed"], 20);
    assert_eq!(bed.api.stored_count(), 0);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived().await;
}

#[tokio::test]
async fn nothing_is_deleted_unless_somebody_said_yes_to_what_it_is() {
    let bed = Bed::new().await;
    bed.run(&["rollback", "--run", "1", "--yes"]).await.ended_with(2);
    bed.rows(1, 20).await;
    let run = uploaded(&bed).await;
    let ran = bed.run(&["rollback", "--run", &run]).await.ended_with(2);
    assert!(
        ran.stderr
            .contains("20 tokens that run 1 uploaded (20 of google)")
            && ran.stderr.contains("--yes"),
        "{}",
        ran.stderr
    );
    bed.run(&["rollback", "--yes"]).await.ended_with(2);
    let dry = bed.run(&["migrate", "--dry-run", "--json"]).await.json()["run_id"].to_string();
    for arguments in [&["--yes"][..], &["--dry-run"], &[]] {
        let mut all = vec!["rollback", "--run", &dry];
        all.extend(arguments);
        let ran = bed.run(&all).await.ended_with(2);
        assert!(ran.stderr.contains("uploads nothing"), "{}", ran.stderr);
    }
    let ran = rollback(&bed, "99", &["--yes"]).await.ended_with(2);
    assert!(ran.stderr.contains("no run 99"), "{}", ran.stderr);
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (20, 0));
    let help = bed.run(&["rollback", "--help"]).await.ended_with(0).stdout;
    assert!(help.contains("tokenferry rollback --run 7 --dry-run"), "{help}");
}

/// What a command prints at a terminal where somebody types `answer`, and its exit code.
async fn at_a_terminal(bed: &Bed, arguments: &[&str], answer: &str) -> (String, i32) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut typing = std::fs::File::from(terminal.master);
    let mut command = bed.command(arguments);
    command
        .stdin(terminal.slave.try_clone().unwrap())
        .stderr(terminal.slave);
    let mut child = command.spawn().unwrap();
    // The command's copies are all that is left of the other end: what is printed ends with it.
    drop(command);
    typing.write_all(answer.as_bytes()).unwrap();
    let printed = tokio::task::spawn_blocking(move || {
        let mut printed = Vec::new();
        // It ends with an error, not with an end.
        let _ = typing.read_to_end(&mut printed);
        String::from_utf8_lossy(&printed).into_owned()
    });
    let code = child.wait().await.unwrap().code().unwrap();
    (printed.await.unwrap(), code)
}

#[tokio::test]
async fn at_a_terminal_it_asks_and_takes_a_yes_only() {
    let bed = Bed::new().await;
    bed.rows(1, 20).await;
    let run = uploaded(&bed).await;
    for answer in ["no\n", "\n", "\u{4}"] {
        let (printed, code) = at_a_terminal(&bed, &["rollback", "--run", &run], answer).await;
        assert_eq!(code, 2, "{printed}");
        assert!(
            printed.contains("the 20 tokens that run 1 uploaded (20 of google)")
                && printed.contains("nothing was deleted"),
            "{printed}"
        );
    }
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (20, 0));
    let (printed, code) = at_a_terminal(&bed, &["rollback", "--run", &run], "yes\n").await;
    assert_eq!((code, bed.api.stored_count()), (0, 0), "{printed}");
}

#[tokio::test]
async fn tokens_of_one_project_are_not_looked_for_in_another() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let run = uploaded(&bed).await;
    // As a rehearsal's stand-in would be: everything would seem to be gone.
    let mut other = bed.command(&["rollback", "--run", &run, "--yes"]);
    let output = other.env("DESCOPE_PROJECT_ID", "Pother").output().await.unwrap();
    let ran = Ran::from(output).ended_with(2);
    assert!(
        ran.stderr.contains("run 1 went to project") && ran.stderr.contains("project Pother at"),
        "{}",
        ran.stderr
    );
    let mut elsewhere = bed.command(&["rollback", "--run", &run, "--yes"]);
    elsewhere.env("TOKENFERRY__API__BASE_URL", "http://127.0.0.1:1");
    Ran::from(elsewhere.output().await.unwrap()).ended_with(2);
    assert_eq!(committed_keys(&bed).await.len(), 20);
    // One that went on elsewhere, and one of before this was recorded.
    for (api, said) in [
        ("''", "it is not recorded where"),
        ("null", "it is not recorded where"),
    ] {
        bed.sql(&format!("update tokenferry.runs set api = {api} where id = 1"))
            .await;
        let ran = rollback(&bed, &run, &["--yes"]).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    assert_eq!(deletions(&bed), 0);
}

#[tokio::test]
async fn what_another_migration_of_the_same_ledger_put_there_stays() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let first = uploaded(&bed).await;
    bed.sql("delete from legacy_tokens where id > 5").await;
    let mut other = bed.command(&["migrate"]);
    other.env("TOKENFERRY__MIGRATION", "another");
    Ran::from(other.output().await.unwrap()).ended_with(0);
    bed.sql("delete from legacy_tokens").await;
    bed.user_rows(1, 10).await;
    let summary = rollback(&bed, &first, &["--dry-run"]).await.ended_with(3).json();
    let shared: BTreeSet<(i64, String)> = stays(&bed, &summary)
        .await
        .into_iter()
        .filter(|(_, code)| code == "replaced_another")
        .collect();
    assert_eq!(
        shared.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
}

#[tokio::test]
async fn an_api_that_refuses_or_does_not_answer_stops_it_and_the_next_goes_on() {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    let run = uploaded(&bed).await;
    let bed = bed.set("api.retry.max_attempts = 2\nbatch.concurrency = 1");
    let mut wrong = bed.command(&["rollback", "--run", &run, "--yes", "--json"]);
    let refused = wrong
        .env("DESCOPE_MANAGEMENT_KEY", "Kwrong")
        .output()
        .await
        .unwrap();
    let refused = Ran::from(refused).ended_with(4);
    assert_eq!(refused.json()["status"], "stopped");
    assert!(!refused.stdout.contains("Kwrong") && !refused.stderr.contains("Kwrong"));
    for (faults, said) in [
        (
            vec![Fault::None, Fault::Status(403)],
            "tokens could not be deleted",
        ),
        (vec![Fault::Status(404)], "tokens could not be deleted"),
        (vec![Fault::Status(500), Fault::Status(500)], "(2 attempts)"),
        (
            vec![Fault::RateLimited(Duration::from_secs(3600))],
            "max_retry_after",
        ),
    ] {
        bed.api.script_deletes(faults);
        let ran = rollback(&bed, &run, &["--yes"]).await.ended_with(4).json();
        assert_eq!(
            (&ran["status"], &ran["resumed"]),
            (&json!("stopped"), &json!(true))
        );
        assert!(ran["stop_reason"].as_str().unwrap().contains(said), "{ran}");
    }
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(0).json();
    assert_eq!(
        (&summary["resumed"], &summary["rollback"]["removed"]),
        (&json!(true), &json!(30))
    );
    assert_eq!(bed.api.stored_count(), 0);
}

#[tokio::test]
async fn a_role_that_may_not_delete_from_the_ledger_deletes_nothing_at_descope() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let run = uploaded(&bed).await;
    let (url, guest) = bed.database.create_guest().await;
    bed.sql(&format!(
        "grant usage on schema tokenferry to {guest};
         grant select, insert, update on all tables in schema tokenferry to {guest};
         grant select on legacy_tokens to {guest}"
    ))
    .await;
    let as_guest = async || {
        let mut command = bed.command(&["rollback", "--run", &run, "--yes"]);
        Ran::from(
            command
                .env("TOKENFERRY__LEDGER__URL", &url)
                .output()
                .await
                .unwrap(),
        )
    };
    as_guest().await.ended_with(6);
    assert_eq!((bed.api.stored_count(), deletions(&bed)), (10, 0));
    bed.sql(&format!(
        "grant delete on tokenferry.token_rows, tokenferry.former_places, tokenferry.clean_ranges to {guest}"
    ))
    .await;
    as_guest().await.ended_with(0);
    assert_eq!(bed.api.stored_count(), 0);
}

#[tokio::test]
async fn a_token_that_was_fetched_cannot_be_recognised_and_stays() {
    let user = User::from("U1")
        .with_login_id("one@example.com")
        .with_provider_token("google", ProviderToken::new(format!("{TOKEN}-kept")));
    let bed = Bed::with(Simulator::builder().users([user, User::from("user-2")])).await;
    bed.sql(
        "alter table legacy_tokens add column email text;
         insert into legacy_tokens (id, provider, email) values (1, 'google-app', 'one@example.com')",
    )
    .await;
    bed.user_rows(2, 2).await;
    let bed = bed.set("source.columns.login_id = \"email\"\nsource.provider.provider = \"google\"");
    let run = uploaded(&bed).await;
    let summary = rollback(&bed, &run, &["--yes"]).await.ended_with(3).json();
    assert_eq!(stays(&bed, &summary).await, listed(&[(1, "not_in_source")]));
    assert_eq!(
        (bed.api.stored_count(), &summary["rollback"]["removed"]),
        (1, &json!(1))
    );
    assert!(!bed.ledger_dump().await.contains("example.com"));
}
