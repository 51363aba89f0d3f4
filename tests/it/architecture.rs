//! The house is built as the crate's picture shows it: a module imports only what it may.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which module may import which. A stage knows the shared words, its settings and, where it talks to the API,
/// `descope`; never another stage. Only the pipeline knows all of them.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("domain", &["secret"]),
    ("metrics", &["domain"]),
    ("postgres", &[]),
    ("temp_postgres", &[]),
    ("simulator", &["secret"]),
    ("decrypt", &["domain", "secret"]),
    ("config", &["decrypt", "domain", "postgres", "secret"]),
    ("descope", &["config", "domain", "metrics", "secret"]),
    ("rate", &["config", "domain", "metrics"]),
    ("reader", &["config", "decrypt", "domain", "postgres", "secret"]),
    ("validation", &["config", "descope", "domain", "secret"]),
    ("chunker", &["domain", "secret"]),
    ("ledger", &["config", "domain", "postgres", "secret"]),
    (
        "uploader",
        &[
            "config", "descope", "domain", "ledger", "metrics", "rate", "secret",
        ],
    ),
    (
        "lookup",
        &["config", "descope", "domain", "ledger", "rate", "secret"],
    ),
    ("report", &["config", "domain", "ledger"]),
    (
        "pipeline",
        &[
            "chunker",
            "config",
            "descope",
            "domain",
            "ledger",
            "lookup",
            "metrics",
            "postgres",
            "rate",
            "reader",
            "report",
            "secret",
            "uploader",
            "validation",
        ],
    ),
    (
        "observe",
        &[
            "config", "domain", "ledger", "metrics", "rate", "report", "secret",
        ],
    ),
    (
        "doctor",
        &[
            "config",
            "descope",
            "domain",
            "ledger",
            "metrics",
            "observe",
            "postgres",
            "reader",
            "secret",
            "validation",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "doctor",
            "domain",
            "ledger",
            "metrics",
            "observe",
            "pipeline",
            "postgres",
            "rate",
            "reader",
            "report",
            "secret",
            "simulator",
            "temp_postgres",
            "uploader",
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
    let code = "use crate::domain::X;\nuse crate::{\n    config::{self, Y},\n    uploader::Z,\n};\nlet x = crate::validation::z();";
    assert_eq!(
        imports(code).into_iter().collect::<Vec<_>>(),
        ["config", "domain", "uploader", "validation"]
    );
}
