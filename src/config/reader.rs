//! Takes values out of the merged layers, one key at a time, and remembers what was asked for.

use std::{collections::HashMap, str::FromStr, time::Duration};

use bytesize::ByteSize;
use config::{Value, ValueKind};
use zeroize::Zeroizing;

use super::{Problem, nearest::nearest};
use crate::secret::Secret;

/// Collects problems instead of stopping at the first; a getter that found one returns `None`.
pub(super) struct Reader<'a> {
    root: &'a HashMap<String, Value>,
    asked: Vec<KeySpec>,
    problems: Vec<Problem>,
}

/// A key that was asked for.
pub(super) struct KeySpec {
    pub(super) key: String,
    pub(super) shown: Visibility,
    /// Whether the key is not worth a word where nobody set it: there is another way to say the same.
    pub(super) is_alternative: bool,
    /// What it is where nobody set it, as a person would write it.
    pub(super) default: Option<String>,
}

/// How much of a value a report may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// All of it.
    Whole,
    /// A Postgres URL, without its password.
    Address,
    /// That there is one.
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

    /// Notes that `key` is wrong.
    pub(super) fn problem(&mut self, key: impl Into<String>, must: impl Into<String>) {
        self.problems.push(Problem {
            key: key.into(),
            must: must.into(),
        });
    }

    /// How much was found wrong so far.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// The keys that were asked for.
    pub(super) fn asked(&self) -> &[KeySpec] {
        &self.asked
    }

    /// What was found wrong, unknown keys included.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let known: Vec<String> = self.asked.iter().map(|asked| asked.key.clone()).collect();
        let mut present = Vec::new();
        flatten(self.root, "", &known, &mut present);
        present.sort();
        for key in present {
            if !known.contains(&key) {
                let must = match nearest(&key, known.iter().map(String::as_str)) {
                    Some(known) => format!("is not a known key; did you mean `{known}`?"),
                    None => "is not a known key".to_owned(),
                };
                self.problem(key, must);
            }
        }
        self.problems
    }

    /// What was found wrong among the keys that were asked for; other keys are nobody's business here.
    pub(super) fn finish_partial(self) -> Vec<Problem> {
        self.problems
    }

    /// The value under a dotted key, whatever it is.
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

    /// Takes back that `key` was asked for: it turned out to be a table with keys of its own.
    pub(super) fn forget(&mut self, key: &str) {
        self.asked.retain(|asked| asked.key != key);
    }

    /// Says how much of the value of `key` may be shown.
    pub(super) fn show(&mut self, key: &str, shown: Visibility) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.shown = shown;
        }
    }

    /// Says that `key` is not worth a word where nobody set it.
    pub(super) fn alternative(&mut self, key: &str) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.is_alternative = true;
        }
    }

    /// Says what `key` is where nobody set it.
    pub(super) fn default(&mut self, key: &str, default: impl Into<String>) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.key == key) {
            asked.default = Some(default.into());
        }
    }

    /// A text, with `env:` and `file:` followed.
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
        self.follow(key, text)
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &str, must: &str) -> Option<String> {
        let before = self.problems.len();
        let text = self.text(key);
        if text.is_none() && self.problems.len() == before {
            self.problem(key, format!("is missing: it must be {must}"));
        }
        match text {
            Some(text) if text.trim().is_empty() => {
                self.problem(key, format!("is empty: it must be {must}"));
                None
            }
            text => text,
        }
    }

    /// A secret that must be there.
    pub(super) fn required_secret(&mut self, key: &str, must: &str) -> Option<Secret> {
        let secret = self.required(key, must).map(Secret::new);
        self.show(key, Visibility::Hidden);
        secret
    }

    /// A secret.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.hidden(key).map(Secret::new)
    }

    /// SQL, which may hold a secret in a literal.
    pub(super) fn sql(&mut self, key: &str) -> Option<String> {
        self.hidden(key)
    }

    /// Secrets: a list of texts, or one text with commas between them. Whatever is pointed to may hold several, on lines
    /// of their own or with commas.
    pub(super) fn secrets(&mut self, key: &str) -> Option<Vec<Secret>> {
        let value = self.value(key)?;
        self.show(key, Visibility::Hidden);
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

    fn hidden(&mut self, key: &str) -> Option<String> {
        let text = self.text(key);
        self.show(key, Visibility::Hidden);
        text
    }

    /// A whole number of at least `least`, or the default.
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

    /// A length of time above zero, or the default.
    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let text = self.text(key);
        self.default(key, humantime::format_duration(default).to_string());
        match text.map(|text| humantime::parse_duration(text.trim())) {
            None => default,
            Some(Ok(duration)) if !duration.is_zero() => duration,
            Some(_) => {
                self.problem(
                    key,
                    "must be a length of time above zero, such as \"30s\" or \"5m\"",
                );
                default
            }
        }
    }

    /// A size in bytes of at least `least`, or the default.
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

    /// One of a few words; the first of them is the default.
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

    /// `true` or `false`; `false` where it says nothing.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        if let Some(ValueKind::Boolean(flag)) = self.value(key).map(|value| &value.kind) {
            self.default(key, "false");
            return *flag;
        }
        // A variable of the environment is a text.
        self.word(key, [("false", false), ("true", true)])
    }

    /// The entries of a table with free keys.
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
                _ => self.problem(format!("{key}.{name}"), "must be a text that is not empty"),
            }
        }
        entries.sort();
        Some(entries)
    }

    /// `env:NAME` and `file:/path` stand for what the variable or the file holds.
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

/// What a text stands for, or why that cannot be had.
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

/// The value under a dotted key.
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

/// The dotted keys that are present. A table that was asked for as a whole is one key.
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
