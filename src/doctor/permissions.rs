//! Permissions of files: the configuration, secrets and the hook must not be writable or readable by others.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Area, Check, paste};
use crate::{
    config::{ConfigReport, Loaded},
    observe::notify::which,
};

const AREA: Area = Area::Configuration;
const NAME: &str = "permissions";

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;
const OTHERS_PASS: u32 = 0o001;

/// A file that controls a run or contains a secret.
struct Guarded {
    path: PathBuf,
    what: String,
    is_secret: bool,
}

/// Warns about each file that others can change and each secret that others can read.
pub(super) fn examine(loaded: &Loaded, inspection: &ConfigReport) -> Vec<Check> {
    let mut files = vec![Guarded {
        path: loaded.path().to_owned(),
        what: "the configuration".to_owned(),
        is_secret: false,
    }];
    files.extend(inspection.values.iter().filter_map(|value| {
        let path = value.pointer.as_deref()?.strip_prefix("file:")?;
        Some(Guarded {
            path: path.into(),
            what: format!("`{}`", value.key),
            is_secret: true,
        })
    }));
    files.extend(inspection.notify.as_ref().and_then(|notify| {
        Some(Guarded {
            path: which(&notify.program)?,
            what: "the program of `notify.command`".to_owned(),
            is_secret: false,
        })
    }));
    files.iter().filter_map(warning).collect()
}

fn warning(file: &Guarded) -> Option<Check> {
    let path = file.path.display();
    let mode = mode(&file.path).filter(|_| is_reachable(&file.path))?;
    let (may, change) = if mode & OTHERS_WRITE != 0 {
        ("every user of this machine can change", "go-w")
    } else if mode & GROUP_WRITES != 0 {
        ("its group can change", "g-w")
    } else if file.is_secret && mode & OTHERS_READ != 0 {
        ("every user of this machine can read", "o-rwx")
    } else {
        return None;
    };
    let check = Check::warning(
        AREA,
        NAME,
        format!("{may} {path}, which contains {}", file.what),
        "change its mode (a Kubernetes secret: `defaultMode: 0440` and `fsGroup`)",
    );
    let path = paste::shell(&file.path.to_string_lossy());
    Some(check.with_fix([format!("chmod {change} {path}")]))
}

/// Returns the mode of a file; a missing one is reported elsewhere.
fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|found| found.permissions().mode())
}

/// Returns true if others can traverse every folder of the path.
fn is_reachable(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| {
        let mut folders = path.ancestors().skip(1);
        folders.all(|folder| mode(folder).is_none_or(|mode| mode & OTHERS_PASS != 0))
    })
}
