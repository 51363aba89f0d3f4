//! A reader that takes values out of the merged layers key by key, and records the known keys.

use std::{collections::HashMap, str::FromStr, time::Duration};

use bytesize::ByteSize;
use config::{Value, ValueKind};
use zeroize::Zeroizing;

use super::{Problem, mistakes, nearest::nearest};
use crate::secret::Secret;

/// The beginning of the problem of a required key that is not there.
const MISSING: &str = "is missing";

/// Collects problems instead of stopping at the first; a getter that finds one returns `None`.
pub(super) struct Reader<'a> {
    root: &'a HashMap<String, Value>,
    asked: Vec<KeySpec>,
    problems: Vec<Problem>,
}

/// A known key.
pub(super) struct KeySpec {
    pub(super) key: String,
    pub(super) shown: Visibility,
    /// Left out of reports if unset: another key says the same.
    pub(super) is_alternative: bool,
    /// The default, as a user would write it.
    pub(super) default: Option<String>,
}

/// The part of a value that a report may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// Everything.
    Whole,
    /// Everything, lists included.
    Names,
    /// A Postgres URL, without its password.
    Address,
    /// Only the fact that it is set.
    Hidden,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a HashMap<String, Value>) -> Self {
        Self {
            root,
            asked: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Records a problem with `key`.
    pub(super) fn problem(&mut self, key: impl Into<String>, must: impl Into<String>) {
        let problem = Problem {
            key: key.into(),
            must: must.into(),
        };
        // A key that is read for two purposes has its problem once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Returns the number of problems so far.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Returns the known keys.
    pub(super) fn asked(&self) -> &[KeySpec] {
        &self.asked
    }

    /// Returns all problems, unknown keys included.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let known: Vec<String> = self.asked.iter().map(|asked| asked.key.clone()).collect();
        let mut present = Vec::new();
        flatten(self.root, "", &known, &mut present);
        present.sort();
        for key in present {
            if !known.contains(&key) {
                let must = match nearest(&key, known.iter().map(String::as_str)) {
                    Some(known) => {
                        // It is not missing, but misspelt.
                        self.problems
                            .retain(|problem| problem.key != known || !problem.must.starts_with(MISSING));
                        format!("is not a known key; did you mean `{known}`?")
                    }
                    None => "is not a known key".to_owned(),
                };
                self.problem(key, must);
            }
        }
        self.problems
    }

    /// Returns only the problems of keys that were read; other keys do not matter to the caller.
    pub(super) fn finish_partial(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns the value of a dotted key, of any type, and records the key as known.
    pub(super) fn value(&mut self, key: &str) -> Option<&'a Value> {
        if !self.asked.iter().any(|asked| asked.key == key) {
            self.asked.push(KeySpec {
                key: key.to_owned(),
                shown: Visibility::Whole,
                is_alternative: false,
                default: None,
            });
        }
        find(self.root, key)
    }

    /// Returns the same of a key whose value no report may show.
    pub(super) fn hidden_value(&mut self, key: &str) -> Option<&'a Value> {
        let value = self.value(key);
        self.show(key, Visibility::Hidden);
        value
    }

    /// Returns the value of a dotted key without recording the key as known.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Value> {
        find(self.root, key)
    }

    /// Returns the sorted names in a table whose keys are free.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        let mut names: Vec<String> = match find(self.root, key).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.keys().cloned().collect(),
            _ => Vec::new(),
        };
        names.sort();
        names
    }

    /// Forgets that `key` is known: it turned out to be a table with keys of its own.
    pub(super) fn forget(&mut self, key: &str) {
        self.asked.retain(|asked| asked.key != key);
    }

    /// Sets how much of the value of `key` may be shown.
    pub(super) fn show(&mut self, key: &str, shown: Visibility) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.shown = shown;
        }
    }

    /// Leaves `key` out of reports if it is unset.
    pub(super) fn alternative(&mut self, key: &str) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.is_alternative = true;
        }
    }

    /// Sets the default of `key` for reports.
    pub(super) fn default(&mut self, key: &str, default: impl Into<String>) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.default = Some(default.into());
        }
    }

    /// Reads a text and resolves `env:` and `file:`.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        let text = match &value.kind {
            ValueKind::String(text) => text.clone(),
            ValueKind::I64(number) => number.to_string(),
            _ => {
                self.problem(key, "must be a text");
                return None;
            }
        };
        let text = self.follow(key, text)?;
        match mistakes::placeholder(&text) {
            Some(found) => {
                self.problem(key, mistakes::unexpanded(key, &text, &found));
                None
            }
            None => Some(text),
        }
    }

    /// Reads names on the way into a document: a text with dots between them, or a list.
    pub(super) fn path(&mut self, key: &str) -> Option<Vec<String>> {
        match &self.value(key)?.kind {
            ValueKind::Array(list) => list.iter().map(|one| one.clone().into_string().ok()).collect(),
            ValueKind::String(text) => Some(text.split('.').map(str::to_owned).collect()),
            _ => None,
        }
    }

    /// Reads a required text.
    pub(super) fn required(&mut self, key: &str, must: &str) -> Option<String> {
        let text = self.text(key);
        if self.peek(key).is_none() {
            self.problem(key, format!("{MISSING}: it must be {must}"));
        }
        match text {
            Some(text) if text.trim().is_empty() => {
                self.problem(key, format!("is empty: it must be {must}"));
                None
            }
            text => text,
        }
    }

    pub(super) fn required_secret(&mut self, key: &str, must: &str) -> Option<Secret> {
        let secret = self.required(key, must).map(Secret::new);
        self.show(key, Visibility::Hidden);
        secret
    }

    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.hidden(key).map(Secret::new)
    }

    /// Reads SQL, which may contain a secret in a literal.
    pub(super) fn sql(&mut self, key: &str) -> Option<String> {
        match &self.hidden_value(key)?.kind {
            // A placeholder may be part of a pattern.
            ValueKind::String(text) => self.follow(key, text.clone()),
            _ => self.hidden(key),
        }
    }

    /// Reads secrets: a list of texts, or one text separated by commas. A resolved variable or file may
    /// contain several, one per line or separated by commas.
    pub(super) fn secrets(&mut self, key: &str) -> Option<Vec<Secret>> {
        let value = self.hidden_value(key)?;
        let parts: Vec<String> = match &value.kind {
            ValueKind::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            ValueKind::Array(list) => {
                let texts = list.iter().map(|one| match &one.kind {
                    ValueKind::String(text) => Some(text.trim().to_owned()),
                    _ => None,
                });
                texts.collect::<Option<_>>().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let before = self.problems.len();
        let mut secrets = Vec::new();
        for part in parts {
            let held = Zeroizing::new(self.follow(key, part).unwrap_or_default());
            let each = held.split(|c: char| c == ',' || c.is_whitespace());
            secrets.extend(each.filter(|one| !one.is_empty()).map(Secret::new));
        }
        if secrets.is_empty() && self.problems.len() == before {
            self.problem(
                key,
                "must be a list of keys, such as [\"env:KEY_NEW\", \"env:KEY_OLD\"]",
            );
        }
        (self.problems.len() == before).then_some(secrets)
    }

    /// Reads secrets that are taken as they are: a text, or a list of texts.
    pub(super) fn whole_secrets(&mut self, key: &str) -> Option<Vec<Secret>> {
        let value = self.hidden_value(key)?;
        let texts: Option<Vec<String>> = match &value.kind {
            ValueKind::String(text) => Some(vec![text.clone()]),
            ValueKind::Array(list) => list.iter().map(|one| one.clone().into_string().ok()).collect(),
            _ => None,
        };
        let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
            self.problem(
                key,
                "must be a text or a list of texts, such as [\"env:KEY_NEW\", \"env:KEY_OLD\"]",
            );
            return None;
        };
        texts
            .into_iter()
            .map(|text| self.follow(key, text).map(Secret::new))
            .collect()
    }

    /// Reads secrets by their names: a table, or a text such as `2:new,1:old`.
    pub(super) fn named_secrets(&mut self, key: &str) -> Option<Vec<(String, Secret)>> {
        if matches!(
            self.value(key).map(|value| &value.kind),
            Some(ValueKind::Table(_))
        ) {
            let entries = self.entries(key)?;
            self.show(key, Visibility::Hidden);
            return Some(
                entries
                    .into_iter()
                    .map(|(name, key)| (name, Secret::new(key)))
                    .collect(),
            );
        }
        let text = Zeroizing::new(self.hidden(key)?);
        let pair = |pair: &str| {
            let (name, secret) = pair.split_once(':')?;
            Some((name.trim().to_owned(), Secret::new(secret)))
        };
        let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
        if pairs.is_none() {
            self.problem(
                key,
                "must be a table of names and keys, or a text such as \"2:new,1:old\"",
            );
        }
        pairs
    }

    fn hidden(&mut self, key: &str) -> Option<String> {
        let text = self.text(key);
        self.show(key, Visibility::Hidden);
        text
    }

    /// Reads a whole number of at least `least`, or returns the default.
    pub(super) fn number<N>(&mut self, key: &str, default: N, least: N) -> N
    where
        N: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let before = self.problems.len();
        let text = self.text(key);
        self.default(key, default.to_string());
        match text.map(|text| text.trim().parse::<N>()) {
            Some(Ok(number)) if number >= least => number,
            None if self.problems.len() == before => default,
            _ => {
                self.problems.truncate(before);
                self.problem(key, format!("must be a whole number of at least {least}"));
                default
            }
        }
    }

    /// Reads a duration above zero, or returns the default.
    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let text = self.text(key);
        self.default(key, humantime::format_duration(default).to_string());
        match text.map(|text| humantime::parse_duration(text.trim())) {
            None => default,
            Some(Ok(duration)) if !duration.is_zero() => duration,
            Some(_) => {
                self.problem(key, "must be a duration above zero, such as \"30s\" or \"5m\"");
                default
            }
        }
    }

    /// Reads a size in bytes of at least `least`, or returns the default.
    pub(super) fn size(&mut self, key: &str, default: u64, least: u64) -> usize {
        let text = self.text(key);
        self.default(key, ByteSize(default).display().iec().to_string());
        let bytes = match text.map(|text| text.trim().parse::<ByteSize>()) {
            None => default,
            Some(Ok(size)) if size.as_u64() >= least => size.as_u64(),
            Some(_) => {
                self.problem(
                    key,
                    format!(
                        "must be a size of at least {}, such as \"1MiB\"",
                        ByteSize(least).display().iec()
                    ),
                );
                default
            }
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Reads one of a few words; the first is the default.
    pub(super) fn word<T: Copy, const N: usize>(&mut self, key: &str, words: [(&str, T); N]) -> T {
        let (first, default) = words[0];
        let text = self.text(key);
        self.default(key, first);
        let Some(text) = text else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.trim()) {
            return *value;
        }
        let list = words.map(|(word, _)| format!("\"{word}\"")).join(" or ");
        self.problem(key, format!("must be {list}"));
        default
    }

    /// Reads `true` or `false`, or returns the default.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        if let Some(ValueKind::Boolean(flag)) = self.value(key).map(|value| &value.kind) {
            self.default(key, default.to_string());
            return *flag;
        }
        // Environment variables are texts.
        let (yes, no) = (("true", true), ("false", false));
        self.word(key, if default { [yes, no] } else { [no, yes] })
    }

    /// Reads the entries of a table with free keys.
    pub(super) fn entries(&mut self, key: &str) -> Option<Vec<(String, String)>> {
        let value = self.value(key)?;
        let ValueKind::Table(table) = &value.kind else {
            self.problem(key, "must be a table");
            return None;
        };
        let mut entries = Vec::with_capacity(table.len());
        for (name, value) in table {
            match &value.kind {
                ValueKind::String(text) if !text.trim().is_empty() => {
                    let entry = format!("{key}.{name}");
                    if let Some(text) = self.follow(&entry, text.clone()) {
                        entries.push((name.clone(), text));
                    }
                }
                _ => self.problem(format!("{key}.{name}"), "must be a non-empty text"),
            }
        }
        entries.sort();
        Some(entries)
    }

    /// Resolves `env:NAME` and `file:/path`.
    fn follow(&mut self, key: &str, text: String) -> Option<String> {
        match follow(text) {
            Ok(text) => Some(text),
            Err(must) => {
                self.problem(key, must);
                None
            }
        }
    }
}

/// Resolves a text, or says why it cannot be resolved.
pub(super) fn follow(text: String) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("env:") {
        std::env::var(name).map_err(|_| {
            format!("points to the environment variable {name}, which is not set (or not UTF-8)")
        })
    } else if let Some(path) = text.strip_prefix("file:") {
        match std::fs::read_to_string(path) {
            Ok(content) => Ok(content.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(format!(
                "points to the file {path}, which cannot be read: {}",
                error.kind()
            )),
        }
    } else {
        Ok(text)
    }
}

/// Finds the value of a dotted key.
pub(super) fn find<'a>(root: &'a HashMap<String, Value>, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let mut value = root.get(parts.next()?)?;
    for part in parts {
        let ValueKind::Table(table) = &value.kind else {
            return None;
        };
        value = table.get(part)?;
    }
    Some(value)
}

/// Lists the dotted keys that are present. A table that was read as a whole is one key.
fn flatten<'a>(
    table: impl IntoIterator<Item = (&'a String, &'a Value)>,
    prefix: &str,
    asked: &[String],
    present: &mut Vec<String>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match &value.kind {
            ValueKind::Table(inner) if !asked.contains(&key) => flatten(inner, &key, asked, present),
            _ => present.push(key),
        }
    }
}
