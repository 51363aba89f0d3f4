//! Relative links and their anchors.

use std::{collections::BTreeSet, fs, path::Path};

use super::{name, pages, prose};

/// The targets of a page's links.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What is code may look like a link.
        let line: String = line.split('`').step_by(2).collect();
        for after in line.split("](").skip(1) {
            let (target, _) = after.split_once(')').expect("a link ends on its line");
            found.push(target.to_owned());
        }
    }
    found
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.strip_prefix(' '))?
    });
    headings.map(slug).collect()
}

fn slug(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            other => other.is_alphanumeric().then_some(other),
        })
        .collect()
}

fn is_external(target: &str) -> bool {
    target.starts_with("https://") || target.starts_with("mailto:")
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_exist() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for target in targets(&text).iter().filter(|target| !is_external(target)) {
            followed += 1;
            if let Err(why) = follow(&path, &text, target) {
                broken.push(format!("{}: {target}: {why}", name(&path)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(followed > 100, "{followed} links");
}

fn follow(from: &Path, text: &str, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let text = if file.is_empty() {
        text.to_owned()
    } else {
        let path = from.parent().unwrap().join(file);
        if !path.exists() {
            return Err("no such file".to_owned());
        }
        if anchor.is_empty() {
            return Ok(());
        }
        fs::read_to_string(path).map_err(|error| error.to_string())?
    };
    if anchors(&text).contains(anchor) {
        Ok(())
    } else {
        Err(format!("no such heading among {:?}", anchors(&text)))
    }
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let root = super::root();
    let mut reached = BTreeSet::new();
    let mut next = vec![root.join("README.md")];
    while let Some(path) = next.pop() {
        let path = path.canonicalize().unwrap_or(path);
        if !reached.insert(path.clone()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let linked = targets(&text).into_iter().filter(|target| !is_external(target));
        let files = linked.filter_map(|target| Some(target.split('#').next()?.to_owned()));
        next.extend(
            files
                .map(|file| path.parent().unwrap().join(file))
                .filter(|page| page.extension().is_some_and(|extension| extension == "md") && page.exists()),
        );
    }
    let lost: Vec<String> = pages()
        .iter()
        .filter(|path| !reached.contains(&path.canonicalize().unwrap()))
        .map(|path| name(path))
        .collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    assert_eq!(
        slug("What `verify` compares, and how"),
        "what-verify-compares-and-how"
    );
    assert_eq!(slug("`source.page_size`"), "sourcepage_size");
}
