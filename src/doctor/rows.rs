//! Row checks: the key's index, the number of rows, app names and decryption.

use super::{Area, Check, FailureClass, database, paste};
use crate::{
    config::{AppMap, Relation, SourceSettings},
    domain::quotable,
    postgres::{Failure, FailureKind, quote_identifier},
    reader::KeyIndex,
};

const AREA: Area = Area::Source;

/// The most app names that are listed. More indicate a wrong column.
pub(super) const MOST_APPS: u32 = 200;

pub(super) fn decryption(rows: usize, sealed: usize) -> Check {
    const NAME: &str = "decryption";
    if sealed == 0 {
        return Check::ok(
            AREA,
            NAME,
            format!("every value of {rows} sampled rows could be decrypted"),
        );
    }
    let detail = format!("{sealed} of {rows} sampled rows have a value that cannot be decrypted");
    if sealed * 2 > rows {
        let advice = "configure the key they were encrypted with, as in the guide \"Encrypted columns\"";
        return Check::failed(AREA, FailureClass::Configuration, NAME, detail, advice);
    }
    let advice = "such rows fail as not_decryptable: `migrate --dry-run` and `failures` list them all";
    Check::warning(AREA, NAME, detail, advice)
}

pub(super) fn key_index(settings: &SourceSettings, index: Option<KeyIndex>) -> Check {
    const NAME: &str = "key_index";
    let key = settings.key.join("\", \"");
    let is_table = matches!(settings.relation, Relation::Table(_));
    let columns: Vec<String> = settings.key.iter().map(|name| quote_identifier(name)).collect();
    let create = |unique: &str| {
        paste::table(&settings.relation).map(|table| {
            format!(
                "create {unique}index concurrently on {table} ({});",
                columns.join(", ")
            )
        })
    };
    let sorted = format!(
        "no index returns rows in the order of \"{key}\": each page of {} sorts all remaining rows",
        settings.page_size
    );
    match index {
        Some(KeyIndex {
            unique: Some(name),
            gives_order: true,
        }) => Check::ok(AREA, NAME, format!("{name} is unique and orders the pages")),
        Some(KeyIndex {
            gives_order: true, ..
        }) if is_table => Check::warning(
            AREA,
            NAME,
            format!(
                "an index orders the pages, but none guarantees that \"{key}\" is unique: that was checked row by row"
            ),
            "create a unique index on the key",
        )
        .with_fix(create("unique ")),
        Some(KeyIndex {
            gives_order: true, ..
        }) => Check::ok(
            AREA,
            NAME,
            format!(
                "pages are read in the order of \"{key}\" without sorting; its uniqueness was checked row by row"
            ),
        ),
        Some(KeyIndex {
            unique: Some(name), ..
        }) => Check::warning(
            AREA,
            NAME,
            format!("{sorted} ({name} has another order)"),
            "create an index with the column's own collation and operators",
        )
        .with_fix(create("")),
        _ if is_table => Check::warning(
            AREA,
            NAME,
            sorted,
            "create a unique index on the key, or choose a key that has one",
        )
        .with_fix(create("unique ")),
        _ => Check::warning(
            AREA,
            NAME,
            sorted,
            "choose a `source.key` that is indexed in a table of the query, or raise `source.page_size`",
        ),
    }
}

pub(super) fn rows(settings: &SourceSettings, expected: Option<u64>) -> Check {
    const NAME: &str = "rows";
    match expected {
        Some(0) => Check::warning(
            AREA,
            NAME,
            "the planner expects none",
            "check `source.table` and `source.where`; for a table just filled, `analyze` it",
        )
        .with_fix(paste::table(&settings.relation).map(|table| format!("analyze {table};"))),
        Some(rows) => Check::ok(
            AREA,
            NAME,
            format!(
                "about {rows}, as the planner expects ({} pages of at most {})",
                rows.div_ceil(u64::from(settings.page_size)),
                settings.page_size
            ),
        ),
        None => Check::ok(AREA, NAME, "the planner gives no estimate"),
    }
}

/// Compares the app names in the rows with `[apps]`.
pub(super) fn named(apps: &AppMap, names: &[String]) -> Check {
    const NAME: &str = "app_names";
    if names.is_empty() {
        return Check::warning(
            AREA,
            NAME,
            "no row names an app",
            "check what `source.columns.app` is mapped to",
        );
    }
    if names.len() > MOST_APPS as usize {
        return Check::warning(
            AREA,
            NAME,
            format!("the rows name more than {MOST_APPS} different apps"),
            "check what `source.columns.app` is mapped to: it should name a provider",
        );
    }
    let unmapped: Vec<_> = names.iter().filter(|name| apps.resolve(name).is_none()).collect();
    if unmapped.is_empty() {
        Check::ok(AREA, NAME, list(names.iter()))
    } else {
        Check::warning(
            AREA,
            NAME,
            format!("without an entry under [apps]: {}", list(unmapped.into_iter())),
            "add them to [apps], or exclude their rows with `source.where`: such rows fail as app_not_mapped",
        )
        .with_fix(
            names
                .iter()
                .filter(|name| apps.resolve(name).is_none())
                // A name that is not shown cannot be pasted.
                .filter(|name| quotable(name) == name.as_str())
                .take(20)
                .map(|name| format!("{} = \"\u{2026}\"", paste::toml(name))),
        )
    }
}

pub(super) fn unlisted(failure: &Failure) -> Check {
    if failure.kind == FailureKind::Timeout {
        return Check::warning(
            AREA,
            "app_names",
            "listing the app names takes longer than `source.statement_timeout`",
            "raise it temporarily, or index the column",
        );
    }
    if failure.is_about_a_value() {
        return Check::warning(
            AREA,
            "app_names",
            format!("they cannot be listed: {failure}"),
            "rows with values that the database cannot read are not sent (unreadable_value): `migrate --dry-run` lists them",
        );
    }
    database::broken(AREA, "app_names", failure)
}

/// Lists names, escaped: the source may contain anything.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const AT_MOST: usize = 20;
    let names: Vec<_> = names.map(|name| quotable(name)).collect();
    let more = names.len().saturating_sub(AT_MOST);
    let listed = names.into_iter().take(AT_MOST).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{listed} and {more} more")
    } else {
        listed
    }
}
