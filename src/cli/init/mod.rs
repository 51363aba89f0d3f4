//! `init`: inspects the source's database, and writes a configuration to start with.

mod draft;
mod finder;
mod guess;
mod new_files;
mod person;
mod sealed;
mod summary;
mod table_draft;

use std::path::{Path, PathBuf};

use super::{
    Exit,
    args::{self, Global, InitArgs},
    exit::UsageError,
    print_lines,
};
use crate::{
    config::{Field, load_text, schema},
    domain::{begins_like_a_token, looks_like_a_secret},
    postgres::{Address, Failure},
    reader::{Inventory, SourceDiagnostics},
    secret::Secret,
};
use draft::{Draft, Found};
use person::Person;

const NAME: &str = "tokenferry init";
const URL: &str = "SOURCE_DATABASE_URL";

/// The most app names that are listed.
const APPS: u32 = 50;

pub(super) async fn run(global: &Global, args: &InitArgs) -> anyhow::Result<Exit> {
    let path = global
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from("tokenferry.toml"));
    if path.exists() {
        return Err(usage(format!(
            "{} exists already: nothing was written; remove it, or name another file with --config",
            path.display()
        )));
    }
    let mut person = Person::new(args.yes);
    let url = person.url()?;
    let address = Address::parse(url.reveal()).map_err(|error| usage(format!("{URL} {error}")))?;
    let mut inventory = Inventory::open(&address, NAME).await.map_err(database)?;
    let tables = inventory.tables().await.map_err(database)?;
    let name = inventory.database().await.map_err(database)?;
    let found = finder::find(&mut inventory, &tables, args, &mut person).await?;
    let (sealed, absent) = match &found {
        Found::Table(guess) => (finder::sealed_form(&mut inventory, guess).await?, Vec::new()),
        Found::Preset(preset, _) => (None, finder::absent_tables(preset, &tables)),
    };
    inventory.close().await;
    let what_was_found = summary::found(&found);
    let mut draft = Draft {
        migration: match &found {
            Found::Preset(preset, _) => preset.name.to_owned(),
            Found::Table(guess) => guess.table.name.clone(),
        },
        found,
        sealed,
        absent,
        has_user_ids: false,
        apps: Vec::new(),
        left_out: Vec::new(),
        is_open: !person.is_there,
    };
    draft.apps = app_names(&draft, &url).await;
    person.tell(&format!(
        "{what_was_found}\n\nPress Enter to take what is between the brackets."
    ))?;
    person.decide(&mut draft)?;

    let mut files = vec![(path.clone(), draft.configuration())];
    let mut kept = None;
    for (name, text) in [
        (".env.example", draft.environment()),
        (
            "tokenferry.schema.json",
            serde_json::to_string_pretty(&schema())? + "\n",
        ),
    ] {
        let file = path.with_file_name(name);
        if !file.exists() {
            files.push((file, text));
        } else if name == ".env.example" {
            // Many projects have one.
            kept = Some(name);
        }
    }
    new_files::create_all(&files)?;
    let created: Vec<String> = files.iter().map(|(file, _)| file.display().to_string()).collect();
    let end = summary::summary(&draft, &tables, &name, &created, kept);
    // A person has read above what was found.
    let start = if person.is_there {
        String::new()
    } else {
        what_was_found
    };
    print_lines(&format!("{start}\n{end}"))?;
    Ok(Exit::Done)
}

fn usage(text: String) -> anyhow::Error {
    UsageError(text).into()
}

fn database(failure: Failure) -> anyhow::Error {
    anyhow::Error::from(failure).context("the database with the tokens cannot be inspected")
}

/// The names of apps in the source. Where they cannot be had, `doctor` says why.
async fn app_names(draft: &Draft, url: &Secret) -> Vec<(String, String)> {
    let text = draft.configuration();
    let Ok(mut table) = toml::from_str::<toml::Table>(&text) else {
        return Vec::new();
    };
    if let Some(source) = table.get_mut("source").and_then(toml::Value::as_table_mut) {
        source.insert("url".to_owned(), toml::Value::String(url.reveal().to_owned()));
    }
    let Ok(loaded) = load_text(
        Path::new("tokenferry.toml"),
        &toml::to_string(&table).unwrap_or_default(),
    ) else {
        return Vec::new();
    };
    let Some(mut settings) = loaded.inspect().source else {
        return Vec::new();
    };
    // Tokens are not looked at.
    settings.columns.retain(|field, _| *field == Field::App);
    let names = async {
        let mut diagnostics = SourceDiagnostics::open(&settings, NAME).await.ok()?;
        diagnostics.inspect().await.ok()?;
        let names = diagnostics.app_names(APPS).await.ok().flatten();
        diagnostics.close().await;
        names
    };
    let names = names.await.unwrap_or_default();
    // A preset's column is known to name apps; one that was guessed may hold tokens.
    let is_secret = match &draft.found {
        Found::Preset(..) => begins_like_a_token,
        Found::Table(_) => looks_like_a_secret,
    };
    // What does not look like a name may be a value of another kind.
    let is_name = |name: &String| {
        name.len() <= 64
            && !is_secret(name)
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-: ".contains(c))
    };
    let names = names.into_iter().filter(is_name);
    names.map(|name| (name.clone(), name)).collect()
}
