//! The rows of the source: how they are found, how many there are, and what they say of apps and secrets.

use super::{Area, Check, FailureClass, database};
use crate::{
    config::{AppMap, Relation, SourceSettings},
    domain::quotable,
    postgres::{Failure, FailureKind},
    reader::KeyIndex,
};

const AREA: Area = Area::Source;

/// Different names of apps that are looked at. Somebody with more has another column in mind.
pub(super) const MOST_APPS: u32 = 200;

pub(super) fn decryption(rows: usize, sealed: usize) -> Check {
    const NAME: &str = "decryption";
    if sealed == 0 {
        return Check::ok(
            AREA,
            NAME,
            format!("every value of {rows} rows that were looked at could be decrypted"),
        );
    }
    let detail = format!("{sealed} of {rows} rows that were looked at hold a value that cannot be decrypted");
    if sealed * 2 > rows {
        let advice = "give the key they were encrypted with: the guide \"Encrypted columns\" describes how";
        return Check::failed(AREA, FailureClass::Configuration, NAME, detail, advice);
    }
    let advice = "such rows fail as not_decryptable: `migrate --dry-run` and `failures` name them all";
    Check::warning(AREA, NAME, detail, advice)
}

pub(super) fn key_index(settings: &SourceSettings, index: Option<KeyIndex>) -> Check {
    const NAME: &str = "key_index";
    let key = &settings.key;
    let is_table = matches!(settings.relation, Relation::Table(_));
    let sorted = format!(
        "no index gives the rows in the order of \"{key}\": each page of {} sorts all that is left",
        settings.page_size
    );
    match index {
        Some(KeyIndex {
            unique: Some(name),
            gives_order: true,
        }) => Check::ok(
            AREA,
            NAME,
            format!("{name} is unique and gives the pages their order"),
        ),
        Some(KeyIndex {
            gives_order: true, ..
        }) if is_table => Check::warning(
            AREA,
            NAME,
            format!(
                "an index gives the pages their order, and none promises that \"{key}\" is unique: that was looked up row by row"
            ),
            format!("create unique index concurrently on the table ({key})"),
        ),
        Some(KeyIndex {
            gives_order: true, ..
        }) => Check::ok(
            AREA,
            NAME,
            format!(
                "pages are had in the order of \"{key}\" without sorting; that it is unique was looked up row by row"
            ),
        ),
        Some(KeyIndex {
            unique: Some(name), ..
        }) => Check::warning(
            AREA,
            NAME,
            format!("{sorted} ({name} has another order)"),
            format!("create an index on ({key}) with the column's own collation and operators"),
        ),
        _ if is_table => Check::warning(
            AREA,
            NAME,
            sorted,
            format!("create unique index concurrently on the table ({key}), or choose a key that has one"),
        ),
        _ => Check::warning(
            AREA,
            NAME,
            sorted,
            "let `source.key` be a column that an index of a table behind the query is on, or raise `source.page_size`",
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
        ),
        Some(rows) => Check::ok(
            AREA,
            NAME,
            format!(
                "about {rows}, as the planner expects ({} pages of at most {})",
                rows.div_ceil(u64::from(settings.page_size)),
                settings.page_size
            ),
        ),
        None => Check::ok(AREA, NAME, "the planner has no idea"),
    }
}

/// The names of apps in the rows, held against `[apps]`.
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
    }
}

pub(super) fn unlisted(failure: &Failure) -> Check {
    if failure.kind == FailureKind::Timeout {
        return Check::warning(
            AREA,
            "app_names",
            "listing them takes longer than `source.statement_timeout`",
            "raise it for this once, or have the column indexed",
        );
    }
    if failure.is_about_a_value() {
        return Check::warning(
            AREA,
            "app_names",
            format!("they cannot be listed: {failure}"),
            "rows on whose values the database fails are not sent (unreadable_value): `migrate --dry-run` names them",
        );
    }
    database::broken(AREA, "app_names", failure)
}

/// What a source holds may be anything.
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
