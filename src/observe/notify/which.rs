//! Lookup of a program in PATH.

use std::{
    env,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

/// Returns the file that would be executed, if it exists and this user may run it. A path is used unchanged;
/// a name is looked up in PATH.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let may_run = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if program.contains('/') {
        return Some(Path::new(program).to_owned()).filter(may_run);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(may_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path_if_they_may_be_run() {
        let shell = which("sh").unwrap();
        assert_eq!(which(shell.to_str().unwrap()), Some(shell));
        for absent in ["no-such-program", "/no/such/program", "/etc/passwd", "/"] {
            assert_eq!(which(absent), None, "{absent}");
        }
    }
}
