//! The documentation: links lead somewhere, generated pages are fresh, quoted commands and keys exist, and
//! what the program has is described.

mod commands;
mod complete;
mod generated;
mod links;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// README.md, and every page below docs/.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    collect(&root().join("docs"), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a page, named from the root.
fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The name of a page for messages.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// What stands between backticks in prose.
fn inline_code(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_readme_fits_on_a_screen_or_two_and_keeps_its_two_commands() {
    let readme = page("README.md");
    assert!(readme.lines().count() <= 110, "{} lines", readme.lines().count());
    for command in [
        "\ncargo run --release -- demo ",
        "\ncargo test --features failpoints ",
    ] {
        assert!(readme.contains(command), "{command}");
    }
}
