//! Why a row is left out in favour of another token.

use std::sync::Arc;

use super::SourceKey;

/// Which token takes the row's place, or why none of the row's may go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Superseded {
    /// This row is newer, and has the same destination.
    NewerRow(SourceKey),
    /// This other migration has sent a newer token to the same destination.
    NewerElsewhere(Arc<str>),
    /// A newer version of this very row, or of one that went there before it, was sent already.
    OlderVersion,
    /// This other migration has sent a token to the same destination since, and which of the two is newer cannot be told.
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

    /// Another row's token was put in its place; nothing is known of the row since.
    pub const REPLACED: &str = "replaced";

    /// The stable code for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NewerRow(_) => Self::NEWER_ROW,
            Self::NewerElsewhere(_) => Self::NEWER_ELSEWHERE,
            Self::OlderVersion => Self::OLDER_VERSION,
            Self::OtherMigration(_) => Self::OTHER_MIGRATION,
        }
    }

    /// The key of the other row, or the name of the other migration.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::NewerRow(key) => Some(key.as_str()),
            Self::NewerElsewhere(migration) | Self::OtherMigration(migration) => Some(migration),
            Self::OlderVersion => None,
        }
    }

    /// A sentence for people, made of what the ledger stores: the code, and who it is [`by`](Self::by). What to do about it is said
    /// beside it.
    #[must_use]
    pub fn sentence(code: &str, by: Option<&str>) -> String {
        let by = by.unwrap_or("that is not recorded");
        match code {
            Self::NEWER_ROW => format!("row {by} is newer, and goes to the same destination"),
            Self::NEWER_ELSEWHERE => {
                format!("migration \"{by}\" has sent a newer token to the same destination")
            }
            Self::OLDER_VERSION => {
                "a newer version was sent to its destination before, and stays at Descope".to_owned()
            }
            Self::OTHER_MIGRATION => format!(
                "migration \"{by}\" has sent a token to the same destination since; which of the two is newer cannot be told"
            ),
            other => other.to_owned(),
        }
    }
}
