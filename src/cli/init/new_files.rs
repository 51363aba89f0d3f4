//! The files that `init` creates: all of them, or none.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::usage;

/// Creates all files. If one cannot be created, those before it are removed, so that the command can be
/// repeated.
pub(super) fn create_all(files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    for (position, (path, text)) in files.iter().enumerate() {
        let Err(error) = create(path, text) else { continue };
        let is_left = |path: &&PathBuf| fs::remove_file(path).is_err();
        let before = files.iter().take(position).map(|(path, _)| path);
        let left: Vec<String> = before
            .filter(is_left)
            .map(|path| path.display().to_string())
            .collect();
        if left.is_empty() {
            return Err(error);
        }
        return Err(error.context(format!(
            "delete {} before you repeat the command",
            left.join(" and ")
        )));
    }
    Ok(())
}

/// Creates a file; one that exists is left alone.
fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| {
            usage(format!(
                "{} cannot be created: {error}; nothing was written",
                path.display()
            ))
        })?;
    file.write_all(text.as_bytes())
        .inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
        .with_context(|| format!("{} cannot be written; nothing was kept", path.display()))
}
