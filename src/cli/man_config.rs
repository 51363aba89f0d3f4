//! tokenferry.toml(5): the manual page of the configuration, generated from the example file.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::config::{ExampleGroup, example_tables, key_defaults};

/// Renders the page; `version` is that of the program.
pub(super) fn page(version: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    writeln!(page, ".TH TOKENFERRY.TOML 5 \"\" \"tokenferry {version}\"")?;
    let mut roff = Roff::default();
    introduction(&mut roff);
    let defaults: HashMap<String, Option<String>> = key_defaults().into_iter().collect();
    for table in example_tables() {
        if table.name.is_empty() {
            roff.control("SH", ["KEYS"]);
        } else {
            let header = format!("\"[{}]\"", table.name);
            roff.control("SS", [header.as_str()]);
            roff.text([roman(&table.about)]);
        }
        for group in &table.groups {
            write_group(&mut roff, group, &defaults);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("tokenferry"), roman("(1)")]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn introduction(roff: &mut Roff) {
    roff.control("SH", ["NAME"]);
    roff.text([roman("tokenferry.toml - configuration of tokenferry")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("The file is TOML. "),
        bold("tokenferry config example"),
        roman(" prints one to start from. Unknown keys are an error."),
    ]);
    for (tag, text) in [
        (
            "env:NAME, file:/path",
            "Any text may be read from an environment variable or from a file. Keep passwords and keys out of this file that way.",
        ),
        (
            "TOKENFERRY__SECTION__KEY",
            "An environment variable overrides a key: TOKENFERRY__BATCH__MAX_TOKENS is batch.max_tokens.",
        ),
        ("durations", "\"500ms\", \"30s\", \"5m\", \"1h\""),
        ("sizes", "\"512KiB\", \"1MiB\""),
    ] {
        roff.control("TP", []);
        roff.text([italic(tag)]);
        roff.text([roman(text)]);
    }
}

/// Writes the names of the keys, then their description, then an example line for each.
fn write_group(roff: &mut Roff, group: &ExampleGroup, defaults: &HashMap<String, Option<String>>) {
    for (position, key) in group.keys.iter().enumerate() {
        roff.control(if position == 0 { "TP" } else { "TQ" }, []);
        roff.text([bold(&key.key)]);
    }
    roff.text([roman(&group.about)]);
    for key in &group.keys {
        roff.control("br", []);
        match defaults.get(&key.key).and_then(Option::as_ref) {
            Some(default) if group.keys.len() == 1 => roff.text([roman(format!("Default: {default}"))]),
            Some(default) => roff.text([roman(format!("Default of {}: {default}", key.key))]),
            None => roff.text([roman(format!("Example: {}", key.line))]),
        };
    }
}
