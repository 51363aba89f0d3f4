//! Commands and keys that the pages quote: the program takes them.

use std::{fs, path::Path};

use clap::{CommandFactory, error::ErrorKind};
use tokenferry::{cli::Cli, config::known_keys};

use super::{inline_code, name, pages};

/// Every command line of this program in a page, in code blocks and in prose.
fn command_lines(text: &str) -> Vec<String> {
    let mut found: Vec<String> = inline_code(text).map(str::to_owned).collect();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            found.push(line.trim_start().trim_start_matches("$ ").to_owned());
        }
    }
    found.retain(|line| line.starts_with("tokenferry ") && !line.contains('…') && !line.contains('='));
    found
}

/// The words up to what is the shell's or a comment, with a number for each placeholder.
fn words(line: &str) -> Vec<String> {
    let end = |word: &&str| !["|", "#", ">", "\\", "&&"].contains(word) && !word.starts_with("2>");
    line.split_whitespace()
        .take_while(end)
        .map(|word| word.trim_end_matches(';'))
        .map(|word| match word {
            "ID" | "N" | "M" | "SEED" => "7".to_owned(),
            other => other.to_owned(),
        })
        .collect()
}

#[test]
fn every_command_that_is_quoted_can_be_given() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for path in pages() {
        // Help has laid out its examples with explanations behind them.
        if path.ends_with("reference/commands.md") {
            continue;
        }
        for line in command_lines(&fs::read_to_string(&path).unwrap()) {
            let words = words(&line);
            tried += 1;
            // A command may be named without what it needs, or be a placeholder.
            if let Err(error) = Cli::command().try_get_matches_from(&words)
                && !matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                )
                && !words.contains(&"COMMAND".to_owned())
            {
                wrong.push(format!("{}: {line}: {:?}", name(&path), error.kind()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tried > 60, "{tried} commands");
}

#[test]
fn every_key_that_is_quoted_exists() {
    let keys = known_keys();
    let tables = [
        "source.", "rules.", "ledger.", "api.", "batch.", "stop.", "notify.", "metrics.", "live.",
    ];
    let mut wrong = Vec::new();
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for code in inline_code(&text) {
            let named = code.split([' ', '=']).next().unwrap_or_default();
            let is_key = tables.iter().any(|table| named.starts_with(table))
                && Path::new(named)
                    .extension()
                    .is_none_or(|extension| extension != "rs")
                && named
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
            let exists = |key: &String| key == named || key.starts_with(&format!("{named}."));
            if is_key && !keys.iter().any(exists) {
                wrong.push(format!("{}: {code}", name(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
