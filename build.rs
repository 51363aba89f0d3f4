//! Tells the program which commit it is built from, for `--version`.
//!
//! Only release builds say so: in a debug build every commit would have everything compiled anew. Known is the commit from the
//! variable `TOKENFERRY_COMMIT`, for builds without the history, such as that of an image; from what Cargo put into a
//! published package; or from Git, if the sources are a clone. Elsewhere, as in an unpacked archive, the version stands alone.

use std::{env, error::Error, fs, path::Path, process::Command};

/// As much of a hash as is shown.
const SHOWN: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    // New files there have to be seen: they are compiled in, and nothing else names them.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TOKENFERRY_COMMIT");

    let version = env::var("CARGO_PKG_VERSION")?;
    let says = if env::var("PROFILE")? == "release" {
        commit(Path::new(&env::var("CARGO_MANIFEST_DIR")?))
    } else {
        Some("debug build".to_owned())
    };
    let version = match says {
        Some(says) => format!("{version} ({says})"),
        None => version,
    };
    println!("cargo::rustc-env=TOKENFERRY_VERSION={version}");
    Ok(())
}

/// The commit, with `-dirty` behind it where files were changed since.
fn commit(root: &Path) -> Option<String> {
    given().or_else(|| of_package(root)).or_else(|| of_clone(root))
}

/// What the environment says. Only a hash is taken: it becomes part of the program.
fn given() -> Option<String> {
    let given = env::var("TOKENFERRY_COMMIT").ok()?;
    let hash = given.strip_suffix("-dirty").unwrap_or(&given);
    let dirty = &given[hash.len()..];
    let is_hash = hash.len() >= 7 && hash.chars().all(|c| c.is_ascii_hexdigit());
    is_hash.then(|| format!("{}{dirty}", shorten(hash)))
}

/// What `cargo package` notes.
fn of_package(root: &Path) -> Option<String> {
    let note = fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, after) = note.split_once("\"sha1\"")?;
    let hash = after.split('"').nth(1)?;
    Some(shorten(hash).to_owned())
}

/// What Git says, if the clone is this project's own and not something around it.
fn of_clone(root: &Path) -> Option<String> {
    if !root.join(".git").exists() {
        return None;
    }
    // The log of HEAD grows with every commit, checkout and reset; what is changed in between is seen in the sources.
    for path in ["logs/HEAD", "HEAD"] {
        let path = git(root, &["rev-parse", "--path-format=absolute", "--git-path", path])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
            break;
        }
    }
    for source in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let hash = git(root, &["rev-parse", "HEAD"])?;
    let changed = git(root, &["status", "--porcelain", "--untracked-files=no"])?;
    let dirty = if changed.is_empty() { "" } else { "-dirty" };
    Some(format!("{}{dirty}", shorten(&hash)))
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // Looking must not write: the index stays as it is.
    let mut command = Command::new("git");
    command
        .arg("--no-optional-locks")
        .arg("-C")
        .arg(root)
        .args(arguments);
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn shorten(hash: &str) -> &str {
    hash.get(..SHOWN).unwrap_or(hash)
}
