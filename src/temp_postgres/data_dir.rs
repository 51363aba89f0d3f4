//! Data directory of the server, and the user who runs it.
//!
//! Postgres refuses to run as root. As root (in most containers) the server therefore runs as somebody else,
//! who must own its folder and be able to walk to it.

use std::{
    env,
    ffi::OsStr,
    fs::Permissions,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::temp_postgres::TempPostgresError;

/// The longest folder path for which `/.s.PGSQL.5432` still fits into a socket address on every system (104
/// bytes on macOS).
const LONGEST_PATH: usize = 88;

/// Users that exist for such a purpose.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The private folder of one server and the user it belongs to. Dropping it removes the folder.
#[derive(Debug)]
pub(super) struct DataDir {
    folder: TempDir,
    account: Option<Account>,
}

/// Somebody other than the user of this process.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl DataDir {
    pub(super) fn create() -> Result<Self, TempPostgresError> {
        let account = Account::needed()?;
        let mut tried = Vec::new();
        for parent in [env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")] {
            if tried.contains(&parent) {
                continue;
            }
            if let Some(folder) = create_in(&parent, account) {
                return Ok(Self { folder, account });
            }
            tried.push(parent);
        }
        Err(TempPostgresError::NoFolder { tried })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs as the folder's owner, in the folder, and in another process group than this
    /// program (0: a new one). Ctrl-C in the terminal must not reach it: the job needs its database until it
    /// has put its work away.
    pub(super) fn command(&self, program: impl AsRef<OsStr>, group: i32) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).process_group(group);
        // PGDATA, PGPORT and the like are meant for another server.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        if let Some(account) = self.account {
            command.gid(account.group).uid(account.user);
        }
        command
    }
}

impl Account {
    fn needed() -> Result<Option<Self>, TempPostgresError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self {
                    user: user.uid.as_raw(),
                    group: user.gid.as_raw(),
                })
            })
            .ok_or(TempPostgresError::NoAccount)
    }

    /// Tells whether the account may traverse a folder.
    fn may_search(self, folder: &Path) -> bool {
        folder.metadata().is_ok_and(|found| {
            let bit = match () {
                () if found.uid() == self.user => 0o100,
                () if found.gid() == self.group => 0o010,
                () => 0o001,
            };
            found.mode() & bit != 0
        })
    }
}

/// Nothing where the parent does not suit: the next one may.
fn create_in(parent: &Path, account: Option<Account>) -> Option<TempDir> {
    let parent = parent.canonicalize().ok()?;
    let reachable = account.is_none_or(|account| parent.ancestors().all(|folder| account.may_search(folder)));
    let folder = tempfile::Builder::new()
        .prefix("tokenferry-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .ok()
        .filter(|folder| reachable && fits_a_socket(folder.path()))?;
    if let Some(account) = account {
        chown(folder.path(), Some(account.user), Some(account.group)).ok()?;
    }
    Some(folder)
}

/// Postgres takes a list of socket folders, so a comma or a quotation mark in the name would have to be
/// escaped.
fn fits_a_socket(folder: &Path) -> bool {
    folder
        .to_str()
        .is_some_and(|path| path.len() <= LONGEST_PATH && !path.contains([',', '"']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private() {
        let home = DataDir::create().unwrap();
        assert_eq!(home.path().metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(80));
        std::fs::create_dir(&long).unwrap();
        assert!(create_in(&long, None).is_none());
        assert_eq!(long.read_dir().unwrap().count(), 0, "and nothing is left there");
    }

    #[test]
    fn a_folder_closed_to_the_account_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o700)).unwrap();
        let stranger = Account {
            user: 4_000_000,
            group: 4_000_000,
        };
        assert!(create_in(parent.path(), Some(stranger)).is_none());
    }
}
