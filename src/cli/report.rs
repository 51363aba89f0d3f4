//! `report`: a page about a run.

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
            "migration \"{}\" has no run yet: `tokenferry migrate` begins one",
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

/// Every key and its value, without secrets, as `doctor` shows them.
fn settings(loaded: &Loaded) -> Vec<Setting> {
    let values = loaded.inspect().values;
    values.into_iter().map(setting).collect()
}

fn setting(value: Value) -> Setting {
    let origin = match value.origin {
        Origin::File => "file".to_owned(),
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

/// Whoever opens the file meanwhile sees the former one or this one, and never half of it. What is no file (a device, a pipe) is
/// written to where it is: replacing it would take it away from everybody else.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // What a link points to is replaced, and not the link.
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

/// A temporary file is its owner's alone; a report stays readable for those who could read the former one. A new one names
/// users, and stays its owner's.
fn allow_as_before(path: &Path, file: &NamedTempFile) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(before) => file.as_file().set_permissions(before.permissions()),
        Err(_) => Ok(()),
    }
}
