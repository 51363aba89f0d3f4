//! The `[notify]` section: a program that is notified of a run.

use std::time::Duration;

use config::ValueKind;

use super::{nearest::nearest, reader::Reader};

/// The events that a hook can be run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The run finished its task.
    End,
    /// The run ended before that.
    Stop,
    /// The first token of the run failed; the run continues.
    FirstFailure,
}

impl Occasion {
    const ALL: [Self; 3] = [Self::End, Self::Stop, Self::FirstFailure];

    /// Returns the word in the configuration, which the hook also receives.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Stop => "stop",
            Self::FirstFailure => "first_failure",
        }
    }
}

/// A program that is run on events of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// The program: a path, or a name to look up in PATH.
    pub program: String,
    /// Its arguments, passed unchanged: no shell is involved.
    pub arguments: Vec<String>,
    /// The longest time it may take.
    pub timeout: Duration,
    /// The events.
    pub on: Vec<Occasion>,
}

const COMMAND: &str = "notify.command";
const ON: &str = "notify.on";

/// Reads the section; `None` if no hook is configured.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<NotifySettings> {
    let command = command(reader);
    let timeout = reader.duration("notify.timeout", Duration::from_secs(30));
    let on = on(reader);
    let (program, arguments) = command?;
    Some(NotifySettings {
        program,
        arguments,
        timeout,
        on,
    })
}

/// Reads a list, or a program without arguments, as in an environment variable.
fn command(reader: &mut Reader<'_>) -> Option<(String, Vec<String>)> {
    let value = reader.value(COMMAND);
    reader.default(COMMAND, "no hook");
    let Some(mut parts) = texts(&value?.kind, |text| vec![text.to_owned()]) else {
        reader.problem(COMMAND, MUST);
        return None;
    };
    if parts.first().is_none_or(|program| program.trim().is_empty()) {
        reader.problem(COMMAND, format!("is empty: it {MUST}"));
        return None;
    }
    if parts
        .iter()
        .any(|part| part.starts_with("env:") || part.starts_with("file:"))
    {
        reader.problem(
            COMMAND,
            "must not point to a variable or a file: everyone on the machine can read the arguments of a process. Let \
             the program read a file itself",
        );
        return None;
    }
    let arguments = parts.split_off(1);
    Some((parts.remove(0), arguments))
}

const MUST: &str =
    "must be a program and its arguments, such as [\"/usr/local/bin/tell-us\", \"--channel\", \"ops\"]";

fn on(reader: &mut Reader<'_>) -> Vec<Occasion> {
    let value = reader.value(ON);
    let words = Occasion::ALL.map(Occasion::as_str);
    reader.default(ON, words.join(", "));
    let Some(value) = value else {
        return Occasion::ALL.to_vec();
    };
    let by_commas = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect();
    let Some(asked) = texts(&value.kind, by_commas) else {
        reader.problem(ON, format!("must be a list of {}", words.join(", ")));
        return Vec::new();
    };
    let mut on = Vec::new();
    for word in asked {
        match Occasion::ALL
            .into_iter()
            .find(|occasion| occasion.as_str() == word)
        {
            Some(occasion) => on.push(occasion),
            None => {
                let hint = match nearest(&word, words) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("the words are {}", words.join(", ")),
                };
                reader.problem(ON, format!("contains an unknown word; {hint}"));
            }
        }
    }
    on
}

/// Returns the texts of a list, or `split` of a single text; `None` for anything else.
fn texts(kind: &ValueKind, split: impl FnOnce(&str) -> Vec<String>) -> Option<Vec<String>> {
    match kind {
        ValueKind::String(text) => Some(split(text)),
        ValueKind::Array(list) => list
            .iter()
            .map(|one| match &one.kind {
                ValueKind::String(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}
