//! Unchanged key ranges: what has not changed since the last complete run is not read again, and everything
//! else is.

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use crate::support::bed::{Bed, Ran, TOKEN, ended};

/// A run with small ranges, and the number of rows that it did not read.
async fn migrate(bed: &Bed, options: &[&str]) -> (Ran, i64) {
    let arguments: Vec<&str> = ["migrate", "--json", "--log-format", "json"]
        .iter()
        .chain(options)
        .copied()
        .collect();
    let ran = ended(bed.command(&arguments).env("TOKENFERRY_RANGE_ROWS", "7").output()).await;
    let unread = ran
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"] == "rows in unchanged key ranges were not read")
        .map_or(0, |line| line["rows"].as_i64().unwrap());
    (ran, unread)
}

fn bed_settings() -> &'static str {
    "source.page_size = 10\nbatch.max_tokens = 10"
}

#[tokio::test]
async fn from_the_third_run_on_only_changed_ranges_are_read() {
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 100).await;
    let counts = async |options: &[&str]| {
        let (ran, unread) = migrate(&bed, options).await;
        let tokens = ran.ended_with(0).json()["tokens"].clone();
        (
            tokens["committed"].as_i64().unwrap(),
            tokens["unchanged"].as_i64().unwrap(),
            unread,
        )
    };
    assert_eq!(counts(&[]).await, (100, 0, 0));
    assert_eq!(counts(&[]).await, (0, 100, 0), "hashes are taken from here on");
    assert_eq!(counts(&[]).await, (0, 100, 100));
    assert_eq!(counts(&[]).await, (0, 100, 100));
    // A change that no version tells of.
    bed.sql("update legacy_tokens set access_token = 'another-secret' where id = 50")
        .await;
    let (committed, unchanged, unread) = counts(&[]).await;
    assert_eq!((committed, unchanged), (1, 99));
    assert!((86..=95).contains(&unread), "{unread}");
    assert_eq!(counts(&[]).await, (0, 100, 100));
    // New rows at the end, in between, and before the first.
    bed.user_rows(101, 103).await;
    bed.sql("delete from legacy_tokens where id in (20, 100)").await;
    bed.user_rows(0, 0).await;
    let (committed, unchanged, unread) = counts(&[]).await;
    assert_eq!((committed, unchanged), (4, 98));
    assert!((70..=92).contains(&unread), "{unread}");
    assert_eq!(counts(&["--full"]).await, (0, 102, 0));
    assert_eq!(counts(&[]).await, (0, 102, 102));
}

#[tokio::test]
async fn what_makes_ranges_unreliable_makes_the_next_run_read_everything() {
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 40).await;
    let settle = async |bed: &Bed| {
        for _ in 0..2 {
            migrate(bed, &[]).await.0.ended_with(0);
        }
        let rows = bed.number("select count(*) from legacy_tokens").await;
        assert_eq!(migrate(bed, &[]).await.1, rows);
    };
    settle(&bed).await;

    // Another run that may send: interrupted, limited, over the failed ones.
    let status = bed.killed_at(&["migrate"], "outdated", 1).await;
    assert!(status.success(), "there are no outdated rows to be killed at");
    settle(&bed).await;
    migrate(&bed, &["--only-failed"]).await.0.ended_with(0);
    assert_eq!(migrate(&bed, &[]).await.1, 0, "after a run over failed tokens");
    settle(&bed).await;
    bed.sql("update legacy_tokens set access_token = 'b' || access_token where id = 7")
        .await;
    bed.killed_at(&["migrate"], "answered", 1).await;
    // Back to what it was: by its digest the range would be clean, and the API has the other token.
    bed.sql("update legacy_tokens set access_token = substr(access_token, 2) where id = 7")
        .await;
    let (ran, unread) = migrate(&bed, &[]).await;
    assert_eq!(
        (
            ran.ended_with(0).json()["tokens"]["committed"].as_i64().unwrap(),
            unread
        ),
        (1, 0)
    );
    settle(&bed).await;

    // A rollback.
    bed.user_rows(41, 41).await;
    let (ran, _) = migrate(&bed, &[]).await;
    let run = ran.ended_with(0).json()["run_id"].to_string();
    assert_eq!(migrate(&bed, &[]).await.1, 41);
    bed.run(&["rollback", "--run", &run, "--yes"]).await.ended_with(0);
    let (ran, unread) = migrate(&bed, &[]).await;
    let committed = ran.ended_with(0).json()["tokens"]["committed"].as_i64();
    assert_eq!((committed, unread), (Some(1), 0));
    settle(&bed).await;

    // Another configuration, and another migration in the same ledger.
    let bed = bed.set(&format!(
        "{}\nrules.tolerate = [\"token_encrypted\"]",
        bed_settings()
    ));
    assert_eq!(migrate(&bed, &[]).await.1, 0, "other rules");
    settle(&bed).await;
    let bed = bed.set(&format!("migration = \"other\"\n{}", bed_settings()));
    migrate(&bed, &[]).await;
    let bed = bed.set(bed_settings());
    assert_eq!(migrate(&bed, &[]).await.1, 0, "another migration");
}

/// The text of the whole row is the same.
#[tokio::test]
async fn a_letter_that_moves_to_the_next_column_is_noticed_and_so_is_a_text_that_becomes_null() {
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 20).await;
    bed.sql("update legacy_tokens set user_id = 'user', tenant_id = '5' where id = 5; update legacy_tokens set granted_by = '' where id = 15")
        .await;
    for _ in 0..2 {
        migrate(&bed, &[]).await.0.ended_with(0);
    }
    assert_eq!(migrate(&bed, &[]).await.1, 20);
    bed.sql("update legacy_tokens set user_id = 'user5', tenant_id = null where id = 5")
        .await;
    let (ran, unread) = migrate(&bed, &[]).await;
    assert_eq!(ran.ended_with(0).json()["tokens"]["committed"], 1);
    assert!(unread < 20, "{unread}");
    bed.sql("update legacy_tokens set granted_by = null where id = 15")
        .await;
    let (ran, unread) = migrate(&bed, &[]).await;
    // Both mean that there is nothing.
    assert_eq!(ran.ended_with(0).json()["tokens"]["committed"], 0);
    assert!(unread < 20, "{unread}");
}

#[tokio::test]
async fn a_row_that_a_newer_one_supersedes_is_no_longer_unchanged() {
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 50).await;
    for _ in 0..3 {
        migrate(&bed, &[]).await.0.ended_with(0);
    }
    bed.sql(&format!(
        "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
         values (51, 'google', 'user-3', '{TOKEN}-newer', now() + interval '1 minute')"
    ))
    .await;
    let (ran, unread) = migrate(&bed, &[]).await;
    assert_eq!(
        ran.ended_with(0).json()["tokens"],
        json!({"selected": 51, "committed": 1, "failed": 0, "superseded": 1, "unchanged": 49})
    );
    assert!((36..=49).contains(&unread), "{unread}");
    // The newer one goes: the older one is due again.
    bed.sql("delete from legacy_tokens where id = 51").await;
    let (ran, _) = migrate(&bed, &[]).await;
    assert_eq!(
        ran.ended_with(0).json()["tokens"],
        json!({"selected": 50, "committed": 1, "failed": 0, "superseded": 0, "unchanged": 49})
    );
}

/// Runs once more while a row changes that is read late: it replaces the token of a row that was read before.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_row_that_is_replaced_during_the_run_is_not_unchanged_either() {
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 100).await;
    for _ in 0..2 {
        migrate(&bed, &[]).await.0.ended_with(0);
    }
    bed.sql("update legacy_tokens set access_token = access_token || 'x' where id in (1, 2, 100) or id between 4 and 11")
        .await;
    let mut command = bed.command(&["migrate", "--json"]);
    command.env("TOKENFERRY_RANGE_ROWS", "7");
    // At least three pages are read then, and row 95 is not.
    let paused = Bed::pause(command, "reading", 4).await;
    bed.sql(
        "update legacy_tokens set user_id = 'user-3', updated_at = now() + interval '1 minute' where id = 95",
    )
    .await;
    let id = nix::unistd::Pid::from_raw(paused.id().unwrap().cast_signed());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGCONT).unwrap();
    let ran = ended(paused.wait_with_output()).await.ended_with(0).json();
    assert_eq!(ran["tokens"]["committed"], 12, "row 95 as well");
    let (ran, unread) = migrate(&bed, &[]).await;
    assert_eq!(ran.ended_with(0).json()["tokens"]["superseded"], 1);
    assert!(unread > 0);
    // The newer one goes: the older one is due again.
    bed.sql("delete from legacy_tokens where id = 95").await;
    let (ran, unread) = migrate(&bed, &[]).await;
    assert_eq!(ran.ended_with(0).json()["tokens"]["committed"], 1);
    assert!(unread > 0);
}

/// Random changes, and after each run a dry run, which reads every row: it must find nothing that is due, and
/// count the same. `TOKENFERRY_RANGE_STEPS` makes it longer, `TOKENFERRY_RANGE_SEED` another one.
#[tokio::test]
async fn a_run_misses_nothing_that_a_full_pass_would_find() {
    let setting = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let seed = setting("TOKENFERRY_RANGE_SEED", 1);
    let mut random = SmallRng::seed_from_u64(seed);
    let bed = Bed::new().await.set(bed_settings());
    bed.user_rows(1, 120).await;
    migrate(&bed, &[]).await.0.ended_with(0);
    migrate(&bed, &[]).await.0.ended_with(0);
    let mut unread_in_all = 0;
    for step in 0..setting("TOKENFERRY_RANGE_STEPS", 12) {
        let mut done = Vec::new();
        for _ in 0..random.random_range(0..4) {
            done.push(change(&bed, &mut random).await);
        }
        let (mut ran, unread) = migrate(&bed, &[]).await;
        // A resumed run does not read again what an earlier process has passed. And a row with an older
        // version than its token is due once another row has taken that token's place, in this same run.
        let withheld = ran.json()["superseded_by_code"]["older_version"].is_number();
        let sent = ran.json()["tokens"]["committed"] != 0;
        if ran.json()["resumed"] == true || (withheld && sent) {
            ran = migrate(&bed, &[]).await.0;
        }
        assert!(
            [0, 3].contains(&ran.code),
            "seed {seed}, step {step}, {done:?}: {}",
            ran.stderr
        );
        unread_in_all += unread;
        let found = ran.json()["tokens"].clone();
        let whole = bed.run(&["migrate", "--dry-run", "--json"]).await.json()["tokens"].clone();
        let count = |tokens: &Value, name: &str| tokens[name].as_i64().unwrap();
        let stored = count(&found, "committed") + count(&found, "unchanged");
        // The next run sends them again, and a dry run does not know that the API rejects them.
        let rejected = ran.json()["failures_by_code"]["E112102"]
            .as_i64()
            .unwrap_or_default();
        assert_eq!(
            whole,
            json!({"selected": found["selected"], "committed": rejected, "failed": count(&found, "failed") - rejected,
                   "superseded": found["superseded"], "unchanged": stored}),
            "seed {seed}, step {step}, {done:?}: the run said {found}, {}",
            ran.json()["failures_by_code"]
        );
    }
    assert!(unread_in_all > 0, "nothing was left unread");
}

/// Changes something at random: rows, with or without their versions, other runs, the database.
async fn change(bed: &Bed, random: &mut SmallRng) -> String {
    let id = random.random_range(1..=130);
    let other = random.random_range(1..=130);
    let statements = match random.random_range(0..14) {
        0 => vec![format!("update legacy_tokens set access_token = access_token || 'x' where id = {id}")],
        1 => vec![format!(
            "update legacy_tokens set access_token = access_token || 'y', updated_at = clock_timestamp() where id = {id}"
        )],
        2 => vec![format!("delete from legacy_tokens where id = {id}")],
        3 => vec![format!(
            "insert into legacy_tokens (id, provider, user_id, access_token, updated_at)
             values ({id}, 'google', 'user-{id}', 'new-secret-' || {id}, clock_timestamp()) on conflict do nothing"
        )],
        4 => vec![format!(
            "update legacy_tokens set user_id = 'user-{other}', updated_at = clock_timestamp() where id = {id}"
        )],
        5 => vec![format!(
            "update legacy_tokens set user_id = 'user-{other}', updated_at = now() - interval '1 year' where id = {id}"
        )],
        6 => vec![format!("update legacy_tokens set provider = null where id = {id}")],
        7 => vec![format!("update legacy_tokens set provider = 'google' where id = {id}")],
        8 => vec![
            format!(
                "do $$ begin
                     update legacy_tokens set access_token = 'aborted' where id >= {id};
                     raise exception 'aborted';
                 exception when others then null; end $$"
            ),
            "vacuum freeze legacy_tokens".to_owned(),
        ],
        // As after a dump and a restore.
        9 => vec![
            "create table copied as select * from legacy_tokens order by random()".to_owned(),
            "truncate legacy_tokens".to_owned(),
            "insert into legacy_tokens select * from copied".to_owned(),
            "drop table copied".to_owned(),
        ],
        // Perhaps sent, and changed back before the next run.
        10 => {
            let longer = format!("update legacy_tokens set access_token = access_token || 'z' where id = {id}");
            bed.sql(&longer).await;
            let place = ["departing", "answered", "committed", "cursor"][random.random_range(0..4)];
            bed.killed_at(&["migrate"], place, 1).await;
            vec![format!(
                "update legacy_tokens set access_token = left(access_token, -1) where id = {id} and access_token like '%z'"
            )]
        }
        11 => {
            bed.run(&["migrate", "--only-failed"]).await;
            return "only failed".to_owned();
        }
        12 => {
            bed.api.set_refused_users([format!("user-{id}")]);
            return format!("user-{id} refused");
        }
        _ => {
            let latest = "select coalesce(max(run_id), 0) from tokenferry.batches where state = 'committed'";
            let run = bed.number(latest).await;
            bed.run(&["rollback", "--run", &run.to_string(), "--yes"]).await;
            return format!("rollback of {run}");
        }
    };
    for statement in &statements {
        bed.sql(statement).await;
    }
    statements.join("; ")
}
