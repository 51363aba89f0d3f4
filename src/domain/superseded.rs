//! The reasons to leave out a row in favour of another token.

use std::sync::Arc;

use super::SourceKey;

/// The token that takes the row's place, or the reason why no version of the row may go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Superseded {
    /// This row is newer and has the same destination.
    NewerRow(SourceKey),
    /// This other migration has sent a newer token to the same destination.
    NewerElsewhere(Arc<str>),
    /// A newer version of this row, or of an earlier one at the destination, was already sent.
    OlderVersion,
    /// This other migration has sent a token to the same destination since, and it is unknown which is newer.
    OtherMigration(Arc<str>),
}

impl Superseded {
    /// The code of [`NewerRow`](Self::NewerRow).
    pub const NEWER_ROW: &str = "newer_row";
    /// The code of [`NewerElsewhere`](Self::NewerElsewhere).
    pub const NEWER_ELSEWHERE: &str = "newer_elsewhere";
    /// The code of [`OlderVersion`](Self::OlderVersion).
    pub const OLDER_VERSION: &str = "older_version";
    /// The code of [`OtherMigration`](Self::OtherMigration).
    pub const OTHER_MIGRATION: &str = "other_migration";

    /// Another row's token took its place; the row has not been read since.
    pub const REPLACED: &str = "replaced";

    /// Returns the stable code for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NewerRow(_) => Self::NEWER_ROW,
            Self::NewerElsewhere(_) => Self::NEWER_ELSEWHERE,
            Self::OlderVersion => Self::OLDER_VERSION,
            Self::OtherMigration(_) => Self::OTHER_MIGRATION,
        }
    }

    /// Returns the key of the other row or the name of the other migration.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::NewerRow(key) => Some(key.as_str()),
            Self::NewerElsewhere(migration) | Self::OtherMigration(migration) => Some(migration),
            Self::OlderVersion => None,
        }
    }

    /// Returns a sentence for people, built from what the ledger stores: the code and [`by`](Self::by).
    #[must_use]
    pub fn sentence(code: &str, by: Option<&str>) -> String {
        let by = by.unwrap_or("(not recorded)");
        match code {
            Self::NEWER_ROW => format!("row {by} is newer and has the same destination"),
            Self::NEWER_ELSEWHERE => {
                format!("migration \"{by}\" has sent a newer token to the same destination")
            }
            Self::OLDER_VERSION => {
                "a newer version was already sent to its destination and stays at Descope".to_owned()
            }
            Self::OTHER_MIGRATION => format!(
                "migration \"{by}\" has sent a token to the same destination since, and it is unknown which of the two is newer"
            ),
            other => other.to_owned(),
        }
    }
}
