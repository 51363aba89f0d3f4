//! The hash of a row, computed by the database.

/// The output column of the hash.
pub(super) const ROW_HASH: &str = "tokenferry hash";

/// Returns the expression for the keyed hash of a row of this subquery, which selects a key and so many
/// values.
///
/// Each value is hashed with the hash of those before it as its seed, so the hash tells where a value ends;
/// which of them are null is hashed last. The text of the whole row would do as well, at four times the cost.
/// The collation makes equal what is equal byte by byte, and nothing else.
pub(super) fn row_hash(rows: &str, values: usize, seed: i64) -> String {
    let values: Vec<String> = (0..=values)
        .map(|position| format!("{rows}.\"tokenferry {position}\""))
        .collect();
    let hash = |text: &str, seed: &str| {
        format!("pg_catalog.hashtextextended({text} collate pg_catalog.\"C\", {seed})")
    };
    let seed = format!("'{seed}'::pg_catalog.int8");
    let all = values.iter().fold(seed, |before, value| {
        hash(&format!("coalesce({value}::pg_catalog.text, '')"), &before)
    });
    let nulls: Vec<String> = values.iter().map(|value| format!("{value} is null")).collect();
    hash(&format!("pg_catalog.concat({})", nulls.join(", ")), &all)
}
