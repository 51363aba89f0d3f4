//! Where the tokens are: as asked for, else a known store, else the likeliest table.

use super::{
    args::InitArgs, database, draft::Found, guess::Guess, person::Person, sealed::SealedForm, usage,
};
use crate::{
    config::{Field, Preset, presets},
    domain::visible,
    postgres::quote_identifier,
    reader::{Inventory, Table},
};

pub(super) async fn find(
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
        ([(preset, table)], _) => Ok(Found::Preset(preset, table.clone())),
        ([(first, _), ..], _) => {
            let names: Vec<&str> = known.iter().map(|(preset, _)| preset.name).collect();
            let question = format!("The tables of several stores are there: {}. Which one?", names.join(", "));
            let offered = |answer: &str| known.iter().find(|(preset, _)| preset.name == answer);
            let (preset, table) = person.choose(&question, first.name, offered)?;
            Ok(Found::Preset(preset, table.clone()))
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
pub(super) fn absent_tables(preset: &'static Preset, tables: &[Table]) -> Vec<&'static str> {
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

/// Each part of a name may be as it is, or as SQL quotes it.
fn table_named<'a>(tables: &'a [Table], name: &str) -> anyhow::Result<&'a Table> {
    let is_called = |table: &&Table| {
        let own = [table.name.clone(), quote_identifier(&table.name)];
        let schemas = [table.schema.clone(), quote_identifier(&table.schema)];
        own.iter().any(|own| {
            (table.is_visible && own == name)
                || schemas.iter().any(|schema| format!("{schema}.{own}") == name)
        })
    };
    tables.iter().find(is_called).ok_or_else(|| {
        usage(format!(
            "there is no table {} (names are case-sensitive)",
            visible(name)
        ))
    })
}

/// The presets whose tables are there, each with the table of the tokens if it has another name than usual.
/// Of two variants, the one whose values are as it says.
async fn recognise(
    inventory: &mut Inventory,
    tables: &[Table],
) -> anyhow::Result<Vec<(&'static Preset, Option<Table>)>> {
    let find = |name: &str| {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        tables.iter().find(|table| {
            table.name == name && (table.schema == schema || (schema.is_empty() && table.is_visible))
        })
    };
    let is_there = |name: &str, columns: &Vec<String>| find(name).is_some_and(|table| table.has(columns));
    let mut found: Vec<(&'static Preset, Option<Table>)> = Vec::new();
    for preset in presets() {
        let own = preset.table();
        let mut beside = preset
            .recognise
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != own);
        if !beside.all(|(name, columns)| is_there(name, columns)) {
            continue;
        }
        let Some((own, columns)) = own.and_then(|own| preset.recognise.get_key_value(own)) else {
            found.push((preset, None));
            continue;
        };
        let others = preset.other_tables.iter();
        for name in std::iter::once(own)
            .chain(others)
            .filter(|name| is_there(name, columns))
        {
            let Some(table) = find(name) else { continue };
            if let Some(value) = &preset.recognise_value {
                let is_like = inventory
                    .has_value_like(table, &value.column, &value.pattern)
                    .await;
                if !is_like.map_err(database)? {
                    continue;
                }
                // It is the other variant's tables, in another form.
                found.retain(|(other, _)| other.recognise != preset.recognise);
            }
            found.push((preset, (name != own).then(|| table.clone())));
            break;
        }
    }
    Ok(found)
}

/// The form of encrypted tokens in an unknown table.
pub(super) async fn sealed_form(
    inventory: &mut Inventory,
    guess: &Guess,
) -> anyhow::Result<Option<&'static SealedForm>> {
    for field in [Field::AccessToken, Field::RefreshToken] {
        let Some(column) = guess.columns.get(&field) else {
            continue;
        };
        for form in &SealedForm::ALL {
            let is_like = inventory.has_value_like(&guess.table, column, form.pattern).await;
            if is_like.map_err(database)? {
                return Ok(Some(form));
            }
        }
    }
    Ok(None)
}
