//! The house is built as the crate's picture shows it: a module imports only what it may.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which module may import which. A stage knows the shared words, its settings and, where it talks to the API,
/// `descope`; never another stage. Only the pipeline knows all of them.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("meter", &["model"]),
    ("postgres", &[]),
    ("scratch", &[]),
    ("simulator", &[]),
    ("decrypt", &["model"]),
    ("config", &["decrypt", "model", "postgres"]),
    ("descope", &["config", "meter", "model"]),
    ("pace", &["config", "meter", "model"]),
    ("source", &["config", "decrypt", "model", "postgres"]),
    ("screen", &["config", "descope", "model"]),
    ("chunk", &["model"]),
    ("notify", &["config", "model"]),
    ("ledger", &["config", "model", "postgres"]),
    (
        "upload",
        &["config", "descope", "ledger", "meter", "model", "pace"],
    ),
    ("who", &["config", "descope", "ledger", "model", "pace"]),
    ("report", &["config", "ledger", "model"]),
    (
        "pipeline",
        &[
            "chunk", "config", "descope", "ledger", "meter", "model", "pace", "postgres", "report", "screen",
            "source", "upload", "who",
        ],
    ),
    ("watch", &["config", "ledger", "meter", "model", "pace", "report"]),
    (
        "doctor",
        &[
            "config", "descope", "ledger", "meter", "model", "notify", "postgres", "screen", "source",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "doctor",
            "ledger",
            "meter",
            "model",
            "notify",
            "pace",
            "pipeline",
            "postgres",
            "report",
            "scratch",
            "simulator",
            "source",
            "upload",
            "watch",
        ],
    ),
];

#[test]
fn modules_import_only_what_the_picture_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders: BTreeSet<String> = fs::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> = MAY_IMPORT
        .iter()
        .map(|(module, _)| (*module).to_owned())
        .collect();
    assert_eq!(
        folders, known,
        "every folder of src/ has its place in the picture"
    );

    let mut wrong = Vec::new();
    for (module, allowed) in MAY_IMPORT {
        for file in rust_files(&source.join(module)) {
            // Unit tests may look around.
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for imported in imports(code) {
                if imported != *module && known.contains(&imported) && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!(
                        "{} imports {imported}",
                        file.strip_prefix(&source).unwrap().display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The first segment after every `crate::`, in braces or not.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        if let Some(list) = after.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for character in list.chars() {
                match character {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => drop(found.insert(first_segment(&std::mem::take(&mut word)))),
                    _ if depth == 0 => word.push(character),
                    _ => {}
                }
            }
            found.insert(first_segment(&word));
        } else {
            found.insert(first_segment(after));
        }
    }
    // What follows a trailing comma.
    found.remove("");
    found
}

fn first_segment(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn imports_are_found_in_braces_too() {
    let code = "use crate::model::X;\nuse crate::{\n    config::{self, Y},\n    upload::Stop,\n};\nlet x = crate::screen::z();";
    assert_eq!(
        imports(code).into_iter().collect::<Vec<_>>(),
        ["config", "model", "screen", "upload"]
    );
}
