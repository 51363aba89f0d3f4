//! What the page says, and what it never does.

use std::os::unix::fs::PermissionsExt;
use tokenferry::simulator::Simulator;

use crate::support::bed::{Bed, TOKEN};

/// The page about a run, from standard output.
async fn page(bed: &Bed, arguments: &[&str]) -> String {
    let mut all = vec!["report", "--output", "-"];
    all.extend(arguments);
    bed.run(&all).await.ended_with(0).stdout
}

/// 200 rows of which the API refuses two users, and one has no token.
async fn with_failures() -> Bed {
    let bed = Bed::with(Simulator::builder().refused_users(["user-7", "user-13"])).await;
    bed.rows(1, 200).await;
    bed.sql("update legacy_tokens set access_token = null, refresh_token = null where id = 21")
        .await;
    bed
}

#[track_caller]
fn contains(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
}

#[tokio::test]
async fn a_page_tells_what_was_asked_what_happened_and_what_to_do() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    let page = page(&bed, &[]).await;
    contains(
        &page,
        &[
            "<title>Run 1 of test</title>",
            "This run uploaded 197 of 200 tokens; 3 failed. 98.5\u{a0}% of all tokens are at Descope.",
            "completed, some failed",
            // Asked.
            "all rows of legacy_tokens, by process",
            "<code>legacy_tokens</code>",
            // Figures.
            "id=\"throughput\"",
            "id=\"latency\"",
            // Reasons with what to do, rows, commands.
            "no_token",
            "E112102",
            "the user does not exist in this Descope project",
            "<bdi>user-13</bdi>",
            "<bdi>21</bdi>",
            "tokenferry failures --run 1",
            "tokenferry migrate --only-failed",
            // Settings with where they are from.
            "batch.max_tokens",
            "file, from env:DESCOPE_MANAGEMENT_KEY",
        ],
    );
    // By app: 197 of 200 tokens of the only one.
    let apps = page.split("id=\"apps\"").nth(1).unwrap();
    contains(apps, &["<bdi>google</bdi>", ">197<", ">3<"]);
}

#[tokio::test]
async fn neither_a_token_nor_a_key_nor_a_password_is_in_a_page() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    let mut command = bed.command(&["report", "--output", "-"]);
    // The source is not asked for anything: its URL may be as wrong as this one.
    let ran = command
        .env("TOKENFERRY__LEDGER__URL", bed.database.url())
        .env("SOURCE_DATABASE_URL", "postgres://reader:hunter2@db.example/crm")
        .output()
        .await
        .unwrap();
    let page = String::from_utf8(ran.stdout).unwrap();
    contains(&page, &["postgres://reader:***@db.example/crm", "user-13"]);
    for secret in [TOKEN, "hunter2", bed.api.management_key().reveal()] {
        assert!(!page.contains(secret), "{secret} is in the page");
    }
}

#[tokio::test]
async fn what_comes_from_a_database_is_text_and_nothing_else() {
    let evil = "<script>alert(1)</script>";
    let bed = with_failures().await;
    let bed = bed.set(&format!("migration = \"{evil}\""));
    bed.migrate().await.ended_with(3);
    bed.sql(
        "update tokenferry.token_rows set source_key = E'<script>alert(2)</script>\\u001b[2J\\u202e', app_id = '\"><img src=x>',
                reason = E'</td><script>alert(3)</script>\\n', error_code = '</code><b>'
         where source_key = '13';
         update tokenferry.runs set stop_reason = '<script>alert(4)</script>', holder = '<script>alert(5)</script>';
         update tokenferry.run_events set detail = '<script>alert(6)</script>'",
    )
    .await;
    let page = page(&bed, &[]).await;
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(!page.contains("<img") && !page.contains("<b>"));
    for number in 1..=6 {
        contains(&page, &[&format!("&lt;script&gt;alert({number})&lt;/script&gt;")]);
    }
    contains(&page, &["\\u{1b}[2J\\u{202e}", "#filter=%3C%2Fcode%3E%3Cb%3E"]);
    assert!(
        !page.contains(['\u{1b}', '\u{202e}']),
        "control characters are spelt out"
    );
}

#[tokio::test]
async fn nothing_is_loaded_from_anywhere() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    let page = page(&bed, &[]).await;
    contains(
        &page,
        &["http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-"],
    );
    // The one address in it is that of the API, as a text among the settings.
    let own = bed.api.base_url().to_string();
    let rest = page.replace(own.trim_end_matches('/'), "");
    assert!(!rest.contains("http://") && !rest.contains("https://"));
    for loading in [
        "src=",
        "@import",
        "url(",
        "<link",
        "<iframe",
        " style=",
        " onclick=",
    ] {
        assert!(!page.contains(loading), "{loading}");
    }
}

#[tokio::test]
async fn dry_runs_and_verifications_have_their_pages() {
    let bed = with_failures().await;
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    let dry = page(&bed, &[]).await;
    contains(
        &dry,
        &[
            "Dry run: nothing was sent",
            "A run would upload 199 of 200 tokens, in",
            "1 would fail.",
            "tokenferry migrate --canary 20",
            "<bdi>21</bdi>",
        ],
    );
    assert!(!dry.contains("id=\"throughput\"") && !dry.contains("id=\"latency\""));

    bed.migrate().await.ended_with(3);
    bed.api.alter_stored(|tokens| {
        tokens.retain(|token| token.destination.user_id.as_deref() != Some("user-42"));
    });
    bed.run(&["verify"]).await.ended_with(3);
    let verified = page(&bed, &["--run", "3"]).await;
    contains(
        &verified,
        &[
            "Verification: tokens read back from Descope",
            "197 tokens were read back and compared: 196 as they should be, 1 is not.",
            "token_missing",
            "<bdi>user-42</bdi>",
            "tokenferry show KEY",
        ],
    );
    // What `status` shows is the upload.
    contains(&page(&bed, &[]).await, &["<title>Run 2 of test</title>"]);
}

#[tokio::test]
async fn failures_that_a_later_run_has_worked_on_are_counted_and_not_listed() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    bed.sql("update legacy_tokens set access_token = 'fixed' where id = 21")
        .await;
    bed.migrate().await.ended_with(3);
    let first = page(&bed, &["--run", "1"]).await;
    contains(
        &first,
        &[
            "3 failed.",
            "3 of the tokens that failed in this run have been worked on by a later one",
        ],
    );
    let second = page(&bed, &[]).await;
    contains(
        &second,
        &["This run uploaded 1 of 200 tokens; 197 were there already and 2 failed."],
    );
    assert!(!second.contains("by a later one"));
}

#[tokio::test]
async fn a_page_compares_the_run_with_the_one_before() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    assert!(!page(&bed, &[]).await.contains("id=\"before\""));
    // One problem is solved, and another one comes up.
    bed.sql(
        "update legacy_tokens set access_token = 'fixed' where id = 21;
         update legacy_tokens set provider = null where id = 30",
    )
    .await;
    bed.migrate().await.ended_with(3);
    let second = page(&bed, &[]).await;
    contains(&second, &["Compared with run 1 of ", "(completed, some failed)."]);
    let cells = |name: &str| {
        let row = second.split("id=\"before\"").nth(1).unwrap();
        let row = row.split(&format!(">{name}<")).nth(1).unwrap();
        let row = row.split("</tr>").next().unwrap().to_owned();
        let texts = row.split('>').filter_map(|part| part.split('<').next());
        texts
            .skip(1)
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(cells("selected"), "200 200 0");
    assert_eq!(cells("committed"), "197 1 −196");
    assert_eq!(cells("no_token"), "gone 1 0 −1");
    assert_eq!(cells("no_app"), "new 0 1 +1");
    assert_eq!(cells("E112102"), "unchanged 2 2 0");

    // A run that recorded nothing of the kind, as those of earlier versions.
    bed.sql("update tokenferry.runs set failures_by_code = null where id = 1")
        .await;
    contains(&page(&bed, &[]).await, &["One of the two has not recorded them"]);
    // Dry runs are compared with dry runs, and retries with nothing.
    bed.run(&["migrate", "--dry-run"]).await.ended_with(3);
    bed.run(&["migrate", "--only-failed"]).await.ended_with(3);
    for run in ["3", "4"] {
        assert!(
            !page(&bed, &["--run", run]).await.contains("id=\"before\""),
            "{run}"
        );
    }
}

#[tokio::test]
async fn a_status_is_said_in_words_and_what_is_quoted_is_code() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    let page = page(&bed, &[]).await;
    let (before_settings, _) = page.split_once("id=\"settings\"").unwrap();
    let body = before_settings.split_once("<body>").unwrap().1;
    assert!(!body.contains("completed_with_failures"), "{body}");
    assert!(!body.contains('`'), "{body}");
    contains(
        body,
        &["<code>source.where</code>", "<bdi>completed, some failed</bdi>"],
    );
}

/// A device, or a pipe that somebody reads from: whatever else writes there finds it as it was.
#[tokio::test]
async fn what_is_no_file_is_written_to_and_not_replaced() {
    let bed = with_failures().await;
    bed.migrate().await.ended_with(3);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = {
        let pipe = pipe.clone();
        tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe).unwrap())
    };
    bed.run(&["report", "--output", pipe.to_str().unwrap()])
        .await
        .ended_with(0);
    assert!(reader.await.unwrap().ends_with("</html>"));
    let found = std::fs::metadata(&pipe).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()));
    bed.run(&["report", "--output", "/dev/null"]).await.ended_with(0);
    let found = std::fs::metadata("/dev/null").unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&found.file_type()));
}

#[tokio::test]
async fn a_page_replaces_the_former_one_as_a_whole() {
    let bed = with_failures().await;
    let ran = bed.run(&["report", "--output", "-"]).await.ended_with(2);
    assert!(ran.stderr.contains("no ledger"), "{}", ran.stderr);
    bed.migrate().await.ended_with(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.html");
    let name = path.to_str().unwrap();
    bed.run(&["report", "--output", name]).await.ended_with(0);
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600, "it names users");
    std::fs::write(&path, "an earlier page").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = bed.run(&["report", "--output", name]).await.ended_with(0);
    assert_eq!(ran.stdout, "");
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert_eq!(mode(), 0o644);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    bed.run(&["report", "--run", "99", "--output", name])
        .await
        .ended_with(2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page);
    let nowhere = folder.path().join("not/there.html");
    let ran = bed.run(&["report", "--output", nowhere.to_str().unwrap()]).await;
    assert!(
        ran.code != 0 && ran.stderr.contains("cannot be written"),
        "{}",
        ran.stderr
    );
}
