//! What documents of `docs/` say of the code: it is there.

use std::{collections::BTreeSet, fs, path::Path};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of a Markdown table's rows, without its head.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let lines = document.lines().filter(|line| line.starts_with('|'));
    lines
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_line_of_the_threat_model_names_tests_that_exist() {
    let model = text("docs/threat-model.md");
    let lines = rows(&model);
    assert!(lines.len() > 20);
    for line in lines {
        let [_, threat, holds, shown_by] = line[..] else {
            panic!("{line:?}")
        };
        assert!(!holds.is_empty(), "{threat}");
        for group in shown_by.split(';') {
            let mut names = quoted(group);
            let file = names.next().unwrap_or_else(|| panic!("{threat}: no test"));
            let path = if file.starts_with("src/") {
                file.to_owned()
            } else {
                format!("tests/it/{file}")
            };
            let code = text(&path);
            let tests: Vec<&str> = names.collect();
            assert!(!tests.is_empty(), "{threat}: no test of {file}");
            for test in tests {
                let (before, _) = code
                    .split_once(&format!("fn {test}("))
                    .unwrap_or_else(|| panic!("{path} has no {test}"));
                // Its attributes stand behind whatever was before it.
                let attributes = before.rsplit("\n\n").next().unwrap();
                assert!(
                    attributes.contains("#[test]") || attributes.contains("#[tokio::test"),
                    "{path}: {test} is no test"
                );
            }
        }
    }
}

#[test]
fn every_direct_dependency_is_listed_with_its_version() {
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let direct: BTreeSet<String> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|kind| manifest[*kind].as_table().unwrap().keys().cloned())
        .collect();
    let lock: toml::Table = toml::from_str(&text("Cargo.lock")).unwrap();
    let locked: BTreeSet<(&str, &str)> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["name"].as_str().unwrap(),
                package["version"].as_str().unwrap(),
            )
        })
        .collect();
    let page = text("docs/SECURITY.md");
    let mut listed = BTreeSet::new();
    for row in rows(&page) {
        let [name, version, last, owner, _] = row[..] else {
            panic!("{row:?}")
        };
        let name = name.trim_matches('`');
        let (version, published) = version.split_once(", ").unwrap();
        assert!(
            locked.contains(&(name, version)),
            "{name} {version} is not in Cargo.lock: run .ci/dependencies.py write"
        );
        for date in [published, last.split_once(", ").unwrap().1] {
            assert!(
                chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok(),
                "{name}: {date}"
            );
        }
        assert!(owner.contains('/'), "{name}: {owner}");
        listed.insert(name.to_owned());
    }
    assert_eq!(listed, direct, "run .ci/dependencies.py write");
}
