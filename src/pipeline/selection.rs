//! Selection of a run: the settings that decide which rows it reads, and what is made of them.

use crate::{
    config::Settings,
    ledger::Ledger,
    reader::{Perspective, Source},
    secret::Fingerprint,
};

/// Returns a digest of every setting that selects or maps rows. A run resumes only if it is equal.
pub(super) fn digest(settings: &Settings, source: &Source, ledger: &Ledger) -> Fingerprint {
    let database = source.database();
    let mut parts = settings.selection();
    if let Some(database) = &database {
        parts.extend([&b"database"[..], database.as_bytes()]);
    }
    let Perspective { role, search_path } = source.perspective();
    parts.extend([&b"role"[..], role.as_bytes()]);
    parts.extend([&b"search_path"[..], search_path.as_bytes()]);
    ledger.key().selection_digest(&parts)
}
