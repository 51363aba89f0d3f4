//! Bad input gets a clear answer and the right code.

use clap::CommandFactory;
use tokenferry::cli::Cli;

use crate::support::bed::{Bed, Ran, ended};

async fn with_variable(bed: &Bed, name: &str, value: &str) -> Ran {
    bed.command(&["migrate", "--json", "--log-format", "text"])
        .env(name, value)
        .output()
        .await
        .unwrap()
        .into()
}

#[tokio::test]
async fn wrong_usage_and_configuration_end_with_2_and_say_what_to_do() {
    let bed = Bed::new().await;
    for (variable, value, said) in [
        (
            "TOKENFERRY__BATCH__MAX_TOKEN",
            "5",
            "did you mean `batch.max_tokens`?",
        ),
        (
            "TOKENFERRY__SOURCE__TABLE",
            "legacy_token",
            "did you mean \"legacy_tokens\"?",
        ),
        (
            "TOKENFERRY__SOURCE__COLUMNS__USER_ID",
            "userid",
            "did you mean \"user_id\"?",
        ),
        (
            "TOKENFERRY__SOURCE__KEY",
            "user_id",
            "`source.key` is null in at least one row",
        ),
        (
            "TOKENFERRY__API__BASE_URL",
            "http://api.descope.com",
            "`api.base_url` must begin with https://",
        ),
    ] {
        bed.sql("insert into legacy_tokens (id) values (1) on conflict do nothing")
            .await;
        let ran = with_variable(&bed, variable, value).await.ended_with(2);
        assert!(ran.stderr.contains(said), "{variable}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(bed.run(&["migrate", "--no-such-flag"]).await.code, 2);
    let ran = bed.run(&["status"]).await.ended_with(2);
    assert!(ran.stderr.contains("there is no ledger"), "{}", ran.stderr);
    assert_eq!(bed.api.requests().all().len(), 0);
}

#[tokio::test]
async fn a_database_that_does_not_answer_or_does_not_let_us_ends_with_6() {
    let bed = Bed::new().await;
    let nobody = "postgres://u:pa55word@127.0.0.1:1/db";
    for variable in ["TOKENFERRY__SOURCE__URL", "TOKENFERRY__LEDGER__URL"] {
        let ran = with_variable(&bed, variable, nobody).await.ended_with(6);
        assert!(!ran.stderr.contains("pa55word"), "{}", ran.stderr);
    }
    let absent = bed.database.url().replace("tokenferry_test", "no_such_database");
    with_variable(&bed, "TOKENFERRY__SOURCE__URL", &absent)
        .await
        .ended_with(6);
}

#[tokio::test]
async fn a_path_that_is_not_the_api_ends_with_4() {
    let bed = Bed::new().await;
    bed.user_rows(1, 10).await;
    let elsewhere = format!("{}/elsewhere", bed.api.base_url());
    let ran = with_variable(&bed, "TOKENFERRY__API__BASE_URL", &elsewhere)
        .await
        .ended_with(4);
    assert_eq!(ran.json()["status"], "stopped");
    // Nobody there says that nothing is stored; all the same, the address binds nobody.
    let in_flight = "select count(*) from tokenferry.batches where state = 'in_flight' and http_status = 404";
    assert!(bed.number(in_flight).await > 0);
    bed.migrate().await.ended_with(0);
    bed.assert_arrived_once().await;
}

async fn printed(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"))
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_help_of_every_command_has_an_example_and_its_exit_codes() {
    let commands: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in &commands {
        let help = printed(&[command, "--help"]).await;
        // Terminals of people are wide and narrow.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(
            help.contains(&format!("tokenferry {command}")),
            "{command}: {help}"
        );
        assert!(help.contains("Ends with 0"), "{command}: {help}");
    }
    assert!(printed(&["--help"]).await.contains("tokenferry demo"));
    assert!(printed(&["completions", "bash"]).await.contains("tokenferry"));
}

#[tokio::test]
async fn every_command_has_a_page_in_the_manual() {
    let program = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenferry"));
        ended(command.args(arguments).output())
    };
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("share/man1");
    program(&["man", "--output", man.to_str().unwrap()])
        .await
        .ended_with(0);
    let page = |name: &str| std::fs::read_to_string(man.join(name)).unwrap();

    let help = program(&["--help"]).await.ended_with(0).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.contains(&"migrate") && names.contains(&"man"), "{names:?}");
    for name in &names {
        let page = page(&format!("tokenferry-{name}.1"));
        let title = format!(".TH TOKENFERRY-{} 1 ", name.to_uppercase());
        assert!(page.starts_with(&title), "{page}");
    }
    assert_eq!(std::fs::read_dir(&man).unwrap().count(), names.len() + 1);

    let version = program(&["--version"]).await.ended_with(0).stdout;
    let first = page("tokenferry.1");
    assert!(first.starts_with(&format!(".TH TOKENFERRY 1 \"\" \"{}\"\n", version.trim())));
    for code in ["0", "1", "2", "3", "4", "5", "6", "143"] {
        assert!(first.contains(&format!("\\fB{code}\\fR")), "{code}: {first}");
    }
    assert_eq!(program(&["man"]).await.ended_with(0).stdout, first);
}
