//! Pages that are made from code. `TOKENFERRY_WRITE_DOCS=1 cargo test --test it docs::generated` writes them
//! anew.

use std::{collections::HashMap, fmt::Write as _, fs};

use clap::CommandFactory;
use tokenferry::{
    cli::Cli,
    config::{ExampleGroup, Preset, example_tables, key_defaults, presets},
    domain::{Rule, Severity},
};

use super::{page, root};

fn check_or_write(name: &str, fresh: &str) {
    if std::env::var_os("TOKENFERRY_WRITE_DOCS").is_some() {
        fs::create_dir_all(root().join(name).parent().unwrap()).unwrap();
        fs::write(root().join(name), fresh).unwrap();
    }
    assert!(
        page(name) == fresh,
        "{name} is stale: run `TOKENFERRY_WRITE_DOCS=1 cargo test --test it docs::generated` and commit it"
    );
}

#[test]
fn the_rules_are_listed_as_they_are() {
    let mut text = String::from(
        "# Rules\n\n\
         <!-- Generated from src/domain/rule.rs; see docs/CONTRIBUTING.md. -->\n\n\
         Every row is checked before anything is sent, in dry runs and real runs alike. [Dry run](../concepts/dry-run.md) explains \
         when each rule applies.\n\n\
         - **error**: the token is not uploaded.\n\
         - **error, can be tolerated**: the value looks like garbage. If it is valid in your case, list its code in \
         [`rules.tolerate`](configuration.md#rules), and it becomes a warning.\n\
         - **warning**: the token is uploaded. Check it.\n\n\
         | code | severity | problem | what to do |\n| --- | --- | --- | --- |\n",
    );
    for rule in Rule::ALL {
        let severity = match (rule.severity(), rule.is_tolerable()) {
            (Severity::Warning, _) => "warning",
            (Severity::Error, false) => "error",
            (Severity::Error, true) => "error, can be tolerated",
        };
        writeln!(
            text,
            "| `{}` | {severity} | {}. | {}. |",
            rule.code(),
            capital(rule.what()),
            with_code(&capital(rule.advice()))
        )
        .unwrap();
    }
    check_or_write("docs/reference/rules.md", &text);
}

/// Puts expressions of the configuration between backticks: what they hold may look like Markdown.
fn with_code(text: &str) -> String {
    let Some((before, rest)) = text.split_once("{ sql = ") else {
        return text.to_owned();
    };
    let (expression, after) = rest.split_once(" }").unwrap();
    let (before, field) = match before.strip_suffix(" = ") {
        Some(before) => before.rsplit_once(' ').unwrap(),
        None => (before.trim_end(), ""),
    };
    let field = if field.is_empty() {
        String::new()
    } else {
        format!("{field} = ")
    };
    format!("{before} `{field}{{ sql = {expression} }}`{after}")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().unwrap();
    first.to_uppercase().chain(characters).collect()
}

#[test]
fn every_known_store_has_a_guide() {
    let mut index = String::from(
        "# Known token stores\n\n\
         <!-- Generated from config/presets; see docs/CONTRIBUTING.md. -->\n\n\
         `tokenferry init` recognises these stores by their tables, and writes a configuration for them. For each there is a \
         preset: the table, key, columns and decryption need not be configured. Any other table: [other.md](other.md).\n\n\
         | store | preset |\n| --- | --- |\n",
    );
    for preset in presets() {
        let name = preset.name;
        writeln!(index, "| [{}]({name}.md) | `{name}` |", preset.title).unwrap();
        check_or_write(&format!("docs/guides/stores/{name}.md"), &store_guide(preset));
    }
    check_or_write("docs/guides/stores/README.md", &index);
}

fn store_guide(preset: &Preset) -> String {
    let name = preset.name;
    let mut variables = String::new();
    for variable in preset.variables() {
        writeln!(variables, "export {variable}='…'").unwrap();
    }
    let mut text = format!(
        "# {}\n\n<!-- Generated from config/presets/{name}.toml; see docs/CONTRIBUTING.md. -->\n\n{}\n\n\
         ## From nothing to a dry run\n\n\
         ```sh\nexport SOURCE_DATABASE_URL='postgres://…'\nexport DESCOPE_PROJECT_ID='P…' DESCOPE_MANAGEMENT_KEY='…'\n{variables}\n\
         tokenferry init\ntokenferry doctor\ntokenferry migrate --dry-run\n```\n\n\
         Lines written by hand: none. `init` recognises the store, and asks which outbound app each name stands for (`-` leaves its \
         tokens out){}. In a configuration of your own, the preset is one line under `[source]`: `preset = \"{name}\"`. `tokenferry config show` \
         prints what it stands for, and every key can be overridden.\n\n\
         The role has to read these tables, and nothing else:\n\n\
         ```sql\ngrant select on {} to tokenferry_reader;\n```\n\n## Good to know\n\n",
        preset.title,
        preset.about,
        match &preset.user_id {
            Some(_) => {
                let users = preset.users();
                format!(
                    ", and whether users are found at Descope by {} or by {}",
                    users.login, users.id
                )
            }
            None => String::new(),
        },
        preset.tables.join(", "),
    );
    if !preset.other_tables.is_empty() {
        let others = preset.other_tables.join("`, `");
        writeln!(
            text,
            "- The table is also recognised as `{others}`, if it has the same columns."
        )
        .unwrap();
    }
    for note in &preset.notes {
        writeln!(text, "- {note}").unwrap();
    }
    let file = page(&format!("config/presets/{name}.toml"));
    let (settings, _) = file.split_once("\n[without.").unwrap_or((&file, ""));
    let settings = settings[settings.find("[settings.source]").unwrap()..].replace("[settings.", "[");
    write!(
        text,
        "\n[The store's tables](../../../tests/fixtures/stores/{name}.sql), with what is peculiar about their rows, are moved by a \
         test.\n\n## The preset\n\n```toml\n{settings}```\n"
    )
    .unwrap();
    text
}

#[test]
fn the_configuration_is_described_as_the_example_has_it() {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from config/tokenferry.example.toml; see docs/CONTRIBUTING.md. -->\n\n\
         The configuration is a TOML file, by default `tokenferry.toml` in the current folder (`--config FILE` names another). \
         `tokenferry config example` prints one to start from. Unknown keys are an error that names the nearest known key.\n\n\
         - Any text may be `\"env:NAME\"` (read from an environment variable) or `\"file:/path\"` (read from a file). Keep \
         passwords and keys out of the configuration that way.\n\
         - An environment variable `TOKENFERRY__SECTION__KEY` overrides a key: `TOKENFERRY__BATCH__MAX_TOKENS=50` sets \
         `batch.max_tokens`.\n\
         - Durations: `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"`. Sizes: `\"512KiB\"`, `\"1MiB\"`.\n\n\
         What a database URL may contain: [Database connections](connections.md).\n",
    );
    let defaults: HashMap<String, Option<String>> = key_defaults().into_iter().collect();
    for table in example_tables() {
        if !table.name.is_empty() {
            write!(text, "\n## [{}]\n", table.name).unwrap();
        }
        if !table.about.is_empty() {
            write!(text, "\n{}\n", table.about).unwrap();
        }
        for group in &table.groups {
            write_group(&mut text, group, &defaults);
        }
    }
    check_or_write("docs/reference/configuration.md", &text);
}

fn write_group(text: &mut String, group: &ExampleGroup, defaults: &HashMap<String, Option<String>>) {
    let keys: Vec<String> = group.keys.iter().map(|key| format!("`{}`", key.key)).collect();
    write!(text, "\n### {}\n", keys.join(", ")).unwrap();
    if !group.about.is_empty() {
        write!(text, "\n{}\n", group.about).unwrap();
    }
    text.push_str("\n```toml\n");
    for key in &group.keys {
        let default = defaults.get(&key.key).and_then(Option::as_ref);
        let note = match (key.is_optional, default) {
            (true, Some(default)) => format!("default: {default}"),
            (true, None) => "optional; an example".to_owned(),
            (false, _) => "an example".to_owned(),
        };
        writeln!(text, "{}    # {note}", key.line).unwrap();
    }
    text.push_str("```\n");
}

#[test]
fn the_commands_are_described_as_their_help_says() {
    let mut text = String::from(
        "# Commands\n\n\
         <!-- Generated from `tokenferry COMMAND --help`; see docs/CONTRIBUTING.md. -->\n\n\
         Exit codes: [exit-codes.md](exit-codes.md). JSON output: [json.md](json.md). The global options \
         apply to every command.\n\n## tokenferry\n\n",
    );
    let mut program = Cli::command()
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
        .term_width(110);
    program.build();
    write_help(&mut text, &mut program.clone());
    for command in program.get_subcommands_mut() {
        write!(text, "\n## tokenferry {}\n\n", command.get_name()).unwrap();
        let is_global = |arg: &clap::Arg| arg.is_global_set();
        let mut command = command
            .clone()
            .mut_args(|arg| if is_global(&arg) { arg.hide(true) } else { arg });
        write_help(&mut text, &mut command);
    }
    check_or_write("docs/reference/commands.md", &text);
}

fn write_help(text: &mut String, command: &mut clap::Command) {
    let help = command.render_long_help().to_string();
    text.push_str("```text\n");
    for line in help.trim_end().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("```\n");
}
