//! Finds the Postgres that is installed on this machine.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::temp_postgres::TempPostgresError;

/// Folders in which packages put one Postgres per version: the parent, what stands before the version, what
/// comes after.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// One installed Postgres.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    /// As `postgres --version` gives it, such as `17.2`.
    pub(super) version: String,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Takes the folder given, or the first that holds a working Postgres.
    pub(super) fn locate(given: Option<&Path>) -> Result<Self, TempPostgresError> {
        let mut looked = Vec::new();
        for folder in given.map_or_else(candidates, |folder| vec![folder.to_owned()]) {
            if let Some(version) = version(&folder) {
                return Ok(Self { folder, version });
            }
            if !looked.contains(&folder) {
                looked.push(folder);
            }
        }
        Err(TempPostgresError::NotFound { looked })
    }
}

/// PATH first: a Postgres there was put there on purpose.
fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    folders.extend(pg_config());
    for (parent, prefix, suffix) in VERSIONED {
        let found = newest_first(Path::new(parent), prefix);
        if found.is_empty() {
            // Nothing to try; it is named all the same, so that the error tells where a Postgres would be
            // seen.
            folders.push(Path::new(parent).join(format!("{prefix}*")).join(suffix));
        }
        folders.extend(found.into_iter().map(|folder| folder.join(suffix)));
    }
    folders
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .current_dir("/")
        .output()
        .ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    folder.is_absolute().then_some(folder)
}

/// The entries of a folder that begin with a prefix, the highest version first and those without a version
/// last.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(prefix)?;
            Some((numbers(rest), entry.path()))
        })
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The numbers in a name, in order: `@17` gives 17, `9.6` gives 9 and 6.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The version of the Postgres in a folder, if the folder has what it takes to start one.
fn version(folder: &Path) -> Option<String> {
    if !is_executable(&folder.join("initdb")) {
        return None;
    }
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .current_dir("/")
        .output()
        .ok()?;
    // "postgres (PostgreSQL) 17.2 (Debian 17.2-1)"
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2).map(str::to_owned)
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in [
            "postgresql",
            "postgresql@9.6",
            "postgresql@17",
            "postgresql@9",
            "redis@99",
        ] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = newest_first(parent.path(), "postgresql");
        let names: Vec<_> = found
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["postgresql@17", "postgresql@9.6", "postgresql@9", "postgresql"]
        );
    }

    #[test]
    fn a_folder_without_postgres_is_named_in_the_error() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::locate(Some(empty.path())).unwrap_err();
        assert!(
            error.to_string().contains(empty.path().to_str().unwrap()),
            "{error}"
        );
    }
}
