//! `report`: writes an HTML page about a run.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::NamedTempFile;

use super::{
    Exit,
    args::{Global, ReportArgs},
    exit::UsageError,
    load, print,
};
use crate::{
    config::{Loaded, Origin, Value},
    domain::visible,
    ledger::LedgerReader,
    report::{Depth, PageData, Setting, page},
};

pub(super) async fn run(global: &Global, args: &ReportArgs) -> anyhow::Result<Exit> {
    let loaded = load(global)?;
    let access = loaded.ledger_access()?;
    let mut reports = LedgerReader::open(&access).await?;
    let data = PageData::read(&mut reports, args.run, Depth::WHOLE).await?;
    reports.close().await;
    let Some(mut data) = data else {
        let text = format!(
            "migration \"{}\" has no run yet: `tokenferry migrate` starts one",
            visible(&access.migration)
        );
        return Err(UsageError(text).into());
    };
    data.settings = settings(&loaded);
    let page = page(&data);
    if args.output.as_os_str() == "-" {
        print(&page)?;
    } else {
        write(&args.output, &page).with_context(|| format!("{} cannot be written", args.output.display()))?;
        if !global.quiet {
            eprintln!("{}: run {}", args.output.display(), data.run.summary.run_id);
        }
    }
    Ok(Exit::Done)
}

/// Returns every key with its value, without secrets, as `doctor` shows them.
fn settings(loaded: &Loaded) -> Vec<Setting> {
    let values = loaded.inspect().values;
    values.into_iter().map(setting).collect()
}

fn setting(value: Value) -> Setting {
    let origin = match value.origin {
        Origin::File => "file".to_owned(),
        Origin::Preset => "preset".to_owned(),
        Origin::Environment(name) => format!("environment, {name}"),
        Origin::Default => "default".to_owned(),
    };
    Setting {
        key: value.key,
        shown: value.shown,
        origin: match value.pointer {
            Some(pointer) => format!("{origin}, from {pointer}"),
            None => origin,
        },
    }
}

/// Replaces the file atomically, so that readers see the old page or the new one. A device or pipe is written
/// to in place: replacing it would take it away from its other users.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Replaces the target of a link, not the link.
    let path = path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return OpenOptions::new()
            .write(true)
            .open(&path)?
            .write_all(text.as_bytes());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    allow_as_before(&path, &file)?;
    file.persist(&path)?;
    Ok(())
}

/// Keeps the permissions of an existing file, so that its readers can read the new one. A new report names
/// users and stays private to its owner.
fn allow_as_before(path: &Path, file: &NamedTempFile) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(before) => file.as_file().set_permissions(before.permissions()),
        Err(_) => Ok(()),
    }
}
