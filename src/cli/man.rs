//! `man`: the manual, generated from the help texts.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::{
    Exit,
    args::{Cli, ManArgs},
    man_config,
};

pub(super) fn run(args: &ManArgs) -> anyhow::Result<Exit> {
    // `tokenferry help migrate` is tokenferry-migrate(1).
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    match &args.output {
        Some(folder) => write_all(&program, folder)
            .with_context(|| format!("the pages cannot be written to {}", folder.display()))?,
        None => super::print(&String::from_utf8_lossy(&page(&program, &program)?))?,
    }
    Ok(Exit::Done)
}

/// Writes a page for the program, each command and the configuration, with the file names that `man` expects.
fn write_all(program: &Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // `man` looks for pages of section 5 only in man5.
    let of_section_5 = if folder.ends_with("man1") {
        folder.with_file_name("man5")
    } else {
        folder.to_owned()
    };
    fs::create_dir_all(&of_section_5)?;
    let version = program.get_version().unwrap_or_default();
    fs::write(of_section_5.join("tokenferry.toml.5"), man_config::page(version)?)?;
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        fs::write(
            folder.join(format!("{}.1", name(command))),
            page(program, command)?,
        )?;
    }
    Ok(())
}

/// Returns `tokenferry`, or `tokenferry-migrate`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// Renders the page of one command; the program's own also has the common sections.
fn page(program: &Command, command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    // Not `render_title`: it drops the empty date, so that the version takes its place.
    let title = name(command).to_uppercase();
    let version = program.get_version().unwrap_or_default();
    writeln!(page, ".TH {title} 1 \"\" \"tokenferry {version}\"")?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::default();
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        rest.control("SH", ["NOTES"]);
        paragraphs(&mut rest, &notes.to_string());
    }
    if command.get_name() == program.get_name() {
        common(&mut rest);
        rest.control("SH", ["SEE ALSO"]);
    } else {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([bold(program.get_name()), roman("(1),")]);
    }
    rest.text([bold("tokenferry.toml"), roman("(5)")]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// Fills text, but keeps lines with a manual layout, such as examples.
fn paragraphs(roff: &mut Roff, text: &str) {
    for (position, paragraph) in text.split("\n\n").enumerate() {
        if position > 0 {
            roff.control("PP", []);
        }
        let laid_out = paragraph.lines().any(|line| line.starts_with(' '));
        if laid_out {
            roff.control("nf", []);
        }
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
        if laid_out {
            roff.control("fi", []);
        }
    }
}

/// The environment variables that the program reads besides those named in the configuration.
const VARIABLES: [(&str, &str); 6] = [
    (
        "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        "The proxy to the API. Addresses of this machine are never reached through one.",
    ),
    (
        "PGHOST, PGPASSWORD, PGSSLMODE, ...",
        "Defaults for what a database URL leaves out, as for psql. ~/.pgpass is read, too.",
    ),
    ("NO_COLOR", "Unless empty, switches colours off."),
    (
        "RUST_LOG",
        "A filter for the log, in place of the one that -v and -q set.",
    ),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "The collector that traces are sent to; none if it is not set. Other OTEL_ variables apply as specified.",
    ),
    (
        "DESCOPE_PROJECT_ID, DESCOPE_MANAGEMENT_KEY",
        "The credentials that simulate accepts; the example configuration reads them, too.",
    ),
];

fn common(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in [
        (
            Exit::Done,
            "Everything selected is committed. With --dry-run: it would be.",
        ),
        (Exit::Unforeseen, "A bug or an unforeseen error."),
        (Exit::Usage, "Wrong usage or configuration."),
        (
            Exit::SomeFailed,
            "Finished; some tokens failed. With --dry-run: they would; of verify: some differ.",
        ),
        (
            Exit::StoppedEarly,
            "Stopped early: the API refused the credentials or the endpoint, the canary failed, or too many batches failed in a row.",
        ),
        (Exit::Locked, "Another run of this migration is active."),
        (
            Exit::Database,
            "A database is unreachable or lacks a permission, or the ledger went back in time.",
        ),
    ] {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(meaning)]);
    }
    roff.control("TP", []);
    roff.text([bold("130"), roman(", "), bold("143")]);
    roff.text([roman(
        "Stopped by SIGINT or SIGTERM after finishing what was in flight. Run it again to resume.",
    )]);
    roff.control("SH", ["ENVIRONMENT"]);
    roff.control("TP", []);
    roff.text([bold("TOKENFERRY__"), italic("SECTION"), bold("__"), italic("KEY")]);
    roff.text([roman(
        "Overrides a key of the configuration: TOKENFERRY__BATCH__MAX_TOKENS is batch.max_tokens.",
    )]);
    for (variable, meaning) in VARIABLES {
        roff.control("TP", []);
        roff.text([bold(variable)]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([italic("tokenferry.toml")]);
    roff.text([roman(
        "The configuration, unless --config names another. See tokenferry.toml(5).",
    )]);
}
