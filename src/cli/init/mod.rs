//! `init`: inspects the source's database, and writes a configuration to start with.

mod draft;
mod guess;

use std::{
    env,
    fs::OpenOptions,
    io::{self, BufRead, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    Exit,
    args::{Global, InitArgs},
    exit::UsageError,
    print_lines,
};
use crate::{
    config::{Field, Preset, load_text, presets, schema},
    domain::{looks_like_a_secret, visible},
    postgres::{Address, quote_identifier},
    reader::{Inventory, SourceDiagnostics, Table},
    secret::Secret,
};
use draft::{Draft, Found};
use guess::Guess;

const NAME: &str = "tokenferry init";
const URL: &str = "SOURCE_DATABASE_URL";

/// The most app names that are listed.
const APPS: u32 = 50;

/// Forms of encrypted values that no provider's token has.
const FORMATS: [(&str, &str); 4] = [
    ("fernet", "^gAAAAA[A-Za-z0-9_-]{60,}=*$"),
    ("laravel", "^eyJpdiI6[A-Za-z0-9+/=]+$"),
    ("rails", "^\\{\"p\":\"[A-Za-z0-9+/=]*\",\"h\":"),
    ("n8n", "^U2FsdGVkX1"),
];

pub(super) async fn run(global: &Global, args: &InitArgs) -> anyhow::Result<Exit> {
    let path = global
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from("tokenferry.toml"));
    let environment = path.with_file_name(".env.example");
    for file in [&path, &environment] {
        if file.exists() {
            return Err(usage(format!(
                "{} exists already: nothing was written",
                file.display()
            )));
        }
    }
    let mut person = Person::new(args.yes);
    let url = url(&person)?;
    let address = Address::parse(url.reveal()).map_err(|error| usage(format!("{URL} {error}")))?;
    let mut inventory = Inventory::open(&address, NAME).await.map_err(database)?;
    let tables = inventory.tables().await.map_err(database)?;
    let name = inventory.database().await.map_err(database)?;
    let found = find(&mut inventory, &tables, args, &mut person).await?;
    let format = match &found {
        Found::Table(guess) => format(&mut inventory, guess).await?,
        Found::Preset(..) => None,
    };
    inventory.close().await;
    let absent = match &found {
        Found::Preset(preset, _) => absent_tables(preset, &tables),
        Found::Table(_) => Vec::new(),
    };
    let mut draft = Draft {
        migration: match &found {
            Found::Preset(preset, _) => preset.name.to_owned(),
            Found::Table(guess) => guess.table.name.clone(),
        },
        found,
        format,
        absent,
        has_user_ids: false,
        apps: Vec::new(),
        is_open: !person.is_there,
    };
    draft.apps = app_names(&draft, &url).await;
    person.decide(&mut draft)?;

    write_new(&path, &draft.configuration())?;
    write_new(&environment, &draft.environment())?;
    let schema_file = path.with_file_name("tokenferry.schema.json");
    if !schema_file.exists() {
        write_new(&schema_file, &(serde_json::to_string_pretty(&schema())? + "\n"))?;
    }
    print_lines(&summary(&draft, &tables, &name, &path))?;
    Ok(Exit::Done)
}

fn usage(text: String) -> anyhow::Error {
    UsageError(text).into()
}

fn database(failure: crate::postgres::Failure) -> anyhow::Error {
    // With the exit code of a database.
    crate::pipeline::PipelineError::Source(failure.into()).into()
}

/// The URL of the source: from the environment, or from a person, who types it without echo.
fn url(person: &Person) -> anyhow::Result<Secret> {
    if let Ok(url) = env::var(URL) {
        return Ok(Secret::new(url));
    }
    if !person.is_there {
        return Err(usage(format!(
            "{URL} is not set: set it to the URL of the database with the tokens (postgres://user:password@host/database)"
        )));
    }
    let terminal = console::Term::stderr();
    terminal.write_str(
        "URL of the database with the tokens (postgres://user:password@host/database, not shown): ",
    )?;
    Ok(Secret::new(terminal.read_secure_line()?))
}

/// Where the tokens are: as asked for, else a known store, else the likeliest table.
async fn find(
    inventory: &mut Inventory,
    tables: &[Table],
    args: &InitArgs,
    person: &mut Person,
) -> anyhow::Result<Found> {
    let table = match &args.table {
        Some(name) => Some(table_named(tables, name)?),
        None => None,
    };
    if let Some(name) = &args.preset {
        let preset = Preset::find(name).ok_or_else(|| {
            let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
            usage(format!(
                "there is no preset {}: the presets are {}",
                visible(name),
                names.join(", ")
            ))
        })?;
        return Ok(Found::Preset(preset, table.cloned()));
    }
    if let Some(table) = table {
        return Ok(Found::Table(Box::new(Guess::at(table))));
    }
    let known = recognise(inventory, tables).await?;
    let ranked = Guess::rank(tables);
    match (known.as_slice(), ranked.first()) {
        ([preset], _) => Ok(Found::Preset(preset, None)),
        ([first, ..], _) => {
            let names: Vec<&str> = known.iter().map(|preset| preset.name).collect();
            let question = format!("The tables of several stores are there: {}. Which one?", names.join(", "));
            let offered = |answer: &str| known.iter().copied().find(|preset| preset.name == answer);
            Ok(Found::Preset(person.choose(&question, first.name, offered)?, None))
        }
        ([], Some(best)) => {
            let names: Vec<String> = ranked.iter().take(5).map(|guess| guess.table.sql()).collect();
            let question = format!("No known store. Tables that may hold tokens: {}. Which one?", names.join(", "));
            let best_name = format!("{}.{}", best.table.schema, best.table.name);
            let table = person.choose(&question, &best_name, |answer| table_named(tables, answer).ok())?;
            Ok(Found::Table(Box::new(Guess::at(table))))
        }
        ([], None) => Err(usage(
            "no table of this database looks as if it held tokens: name it with --table, or check the database and the role"
                .to_owned(),
        )),
    }
}

/// The tables of a preset that earlier versions of the store lack, and this database too.
fn absent_tables(preset: &'static Preset, tables: &[Table]) -> Vec<&'static str> {
    let is_absent = |name: &&str| {
        !tables
            .iter()
            .any(|table| table.is_visible && table.name == **name)
    };
    preset
        .without
        .keys()
        .map(String::as_str)
        .filter(is_absent)
        .collect()
}

fn table_named<'a>(tables: &'a [Table], name: &str) -> anyhow::Result<&'a Table> {
    let plain = name.replace('"', "");
    let is_named = |table: &&Table| {
        format!("{}.{}", table.schema, table.name) == plain || (table.is_visible && table.name == plain)
    };
    tables.iter().find(is_named).ok_or_else(|| {
        usage(format!(
            "there is no table {} (names are case-sensitive)",
            visible(name)
        ))
    })
}

/// The presets whose tables are there. Of two variants, the one whose values are as it says.
async fn recognise(inventory: &mut Inventory, tables: &[Table]) -> anyhow::Result<Vec<&'static Preset>> {
    let find = |name: &str| {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        tables.iter().find(|table| {
            table.name == name && (table.schema == schema || (schema.is_empty() && table.is_visible))
        })
    };
    let mut found = Vec::new();
    for preset in presets() {
        let is_there =
            |(name, columns): (&String, &Vec<String>)| find(name).is_some_and(|table| table.has(columns));
        if !preset.recognise.iter().all(is_there) {
            continue;
        }
        let Some(value) = &preset.recognise_value else {
            found.push(preset);
            continue;
        };
        let Some(table) = find(&value.table) else { continue };
        let is_like = inventory
            .has_value_like(table, &value.column, &value.pattern)
            .await;
        if is_like.map_err(database)? {
            // It is the other variant's tables, in another form.
            found.retain(|other: &&Preset| other.recognise != preset.recognise);
            found.push(preset);
        }
    }
    Ok(found)
}

/// The format of encrypted tokens in an unknown table.
async fn format(inventory: &mut Inventory, guess: &Guess) -> anyhow::Result<Option<&'static str>> {
    for field in [Field::AccessToken, Field::RefreshToken] {
        let Some(column) = guess.columns.get(&field) else {
            continue;
        };
        for (format, pattern) in FORMATS {
            let is_like = inventory.has_value_like(&guess.table, column, pattern).await;
            if is_like.map_err(database)? {
                return Ok(Some(format));
            }
        }
    }
    Ok(None)
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
    // What does not look like a name may be a value of another kind.
    let is_name = |name: &String| {
        name.len() <= 64
            && !looks_like_a_secret(name)
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-: ".contains(c))
    };
    let names = names.into_iter().filter(is_name);
    names.map(|name| (name.clone(), name)).collect()
}

/// Somebody who can be asked: there is a terminal, and `--yes` was not given.
struct Person {
    is_there: bool,
}

impl Person {
    fn new(says_yes: bool) -> Self {
        Self {
            is_there: !says_yes && io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// The answer to a question, or the default.
    fn ask(&mut self, question: &str, default: &str) -> anyhow::Result<String> {
        if !self.is_there {
            return Ok(default.to_owned());
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "{} [{}] ", visible(question), visible(default))?;
        terminal.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(match answer.trim() {
            "" => default.to_owned(),
            answer => answer.to_owned(),
        })
    }

    /// The choice that an answer stands for, or the default; asked again until it is one.
    fn choose<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        loop {
            let answer = self.ask(question, default)?;
            if let Some(choice) = read(&answer) {
                return Ok(choice);
            }
            let text = format!("{} is none of the answers", visible(&answer));
            // Also the answer of a terminal that is closed: asking again would never end.
            if answer == default {
                return Err(usage(text));
            }
            writeln!(io::stderr().lock(), "{text}")?;
        }
    }

    /// Asks what only a person can decide.
    fn decide(&mut self, draft: &mut Draft) -> anyhow::Result<()> {
        draft.migration = self.ask("Name of the migration in the ledger?", &draft.migration)?;
        if let Found::Preset(preset, _) = &draft.found
            && preset.user_id.is_some()
        {
            let question = "Users are found at Descope by their e-mail addresses (`login`). Or are their IDs there the store's own (`id`)?";
            draft.has_user_ids = self.choose(question, "login", |answer| match answer {
                "id" => Some(true),
                "login" => Some(false),
                _ => None,
            })?;
        }
        for (name, id) in &mut draft.apps {
            *id = self.ask(&format!("Outbound app of \"{name}\"?"), name)?;
        }
        Ok(())
    }
}

/// Creates a file; one that exists is left alone.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| usage(format!("{} cannot be created: {error}", path.display())))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Says what was found and written, and what a role needs.
fn summary(draft: &Draft, tables: &[Table], database: &str, path: &Path) -> String {
    let mut lines = vec![match &draft.found {
        Found::Preset(preset, _) => format!("Found: {}. {}", preset.title, preset.about),
        Found::Table(guess) => {
            let fields: Vec<&str> = guess.columns.keys().map(|field| field.name()).collect();
            format!(
                "No known store. Taken: {}, with {}.",
                guess.table.sql(),
                fields.join(", ")
            )
        }
    }];
    let names: Vec<&str> = draft.apps.iter().map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        lines.push(format!("Apps: {}.", names.join(", ")));
    }
    lines.push(format!(
        "Written: {}, and .env.example and tokenferry.schema.json beside it.",
        path.display()
    ));
    if draft.is_open {
        lines.push("Nobody was asked: look for OPEN in the file.".to_owned());
    }
    let keys = draft.key_variables();
    if !keys.is_empty() {
        lines.push(format!("The tokens are encrypted: set {}.", keys.join(", ")));
    }
    let role = "tokenferry_reader";
    let wanted = draft.tables();
    let mut schemas: Vec<String> = wanted.iter().map(|name| schema_of(name, tables)).collect();
    schemas.sort();
    schemas.dedup();
    lines.extend([
        String::new(),
        "A role that may read what is needed, and nothing else:".to_owned(),
        String::new(),
        format!("  create role {role} login password '…';"),
        format!(
            "  grant connect on database {} to {role};",
            quote_identifier(database)
        ),
        format!("  grant usage on schema {} to {role};", schemas.join(", ")),
        format!("  grant select on {} to {role};", wanted.join(", ")),
        String::new(),
        "Next: tokenferry doctor, then tokenferry migrate --dry-run".to_owned(),
        String::new(),
    ]);
    lines.join("\n")
}

/// The schema of a table, as SQL writes both.
fn schema_of(name: &str, tables: &[Table]) -> String {
    let plain = name.replace('"', "");
    // A quoted name may have a dot in it.
    let is_named = |table: &&Table| table.sql() == name || (table.is_visible && table.name == plain);
    match (tables.iter().find(is_named), name.split_once('.')) {
        (Some(table), _) => quote_identifier(&table.schema),
        (None, Some((schema, _))) => schema.to_owned(),
        (None, None) => quote_identifier("public"),
    }
}
