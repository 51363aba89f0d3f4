//! Logging to standard error, around the progress lines.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use tracing::{Metadata, error};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use super::{
    Exit,
    args::{Global, LogFormat},
    exit,
    narration::Narration,
};
use crate::{
    domain::{visible, visible_json},
    report::LiveArea,
};

/// The output of a command for a person.
#[derive(Debug, Clone)]
pub(super) struct Console {
    /// The area for progress lines, if there is a terminal and `--quiet` is not set.
    pub(super) live_area: Option<LiveArea>,
    /// True if standard error contains only one JSON object per line.
    pub(super) json: bool,
    /// The events in words, if a person reads them.
    narration: Option<Narration>,
}

impl Console {
    /// Prints what was held back until its end was known.
    pub(super) fn settle(&self) {
        if let Some(narration) = &self.narration {
            narration.settle();
        }
    }

    /// Reports an error and returns the exit code.
    pub(super) fn report(&self, error: &anyhow::Error) -> Exit {
        if !self.json {
            return exit::report(error);
        }
        let exit = exit::of_error(error);
        let because: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let because = (!because.is_empty()).then(|| because.join(": "));
        error!(exit_code = exit.code(), because, "{error}");
        exit
    }
}

/// Initializes logging, once per process. `verbose` is how much more than usual is logged.
pub(super) fn start(global: &Global, verbose: u8) -> Console {
    let terminal = io::stderr().is_terminal();
    let text = match global.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let colour = terminal && moves_its_cursor() && wants_colour();
    let live_area = (terminal && text && !global.quiet && moves_its_cursor()).then(|| LiveArea::new(colour));
    let level = match (global.quiet, verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let line = match (text, colour) {
        (true, true) => Line::Coloured,
        (true, false) => Line::Plain,
        (false, _) => Line::Json,
    };
    let writer = Past {
        live_area: live_area.clone(),
        line,
    };
    let is_for_a_person =
        terminal && text && verbose == 0 && env::var_os("RUST_LOG").is_none_or(|filter| filter.is_empty());
    let narration = is_for_a_person.then(|| Narration::new(live_area.clone(), colour, global.quiet));
    // Fails only if it is already set, as when tests run several commands in one process.
    if let Some(narration) = &narration {
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(is_our_own))
            .with(narration.clone())
            .try_init()
            .ok();
    } else if text {
        let layer = fmt::layer()
            .with_writer(writer)
            .with_target(false)
            .with_ansi(colour);
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(is_our_own))
            .with(layer)
            .try_init()
            .ok();
    } else {
        // The spans around an event name its subject, such as the batch.
        let layer = json_subscriber::layer()
            .with_writer(writer)
            .flatten_event(true)
            .with_current_span(false)
            .flatten_span_list_on_top_level(true);
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(is_our_own))
            .with(layer)
            .try_init()
            .ok();
    }
    Console {
        live_area,
        json: !text,
        narration,
    }
}

/// Keeps libraries out of the log, even if `RUST_LOG` asks for them: a notice of a database function may
/// quote a row, and URLs, headers and parameters may contain secrets.
fn is_our_own(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == env!("CARGO_CRATE_NAME") || target.starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"))
}

/// Returns true if the terminal can move its cursor.
fn moves_its_cursor() -> bool {
    env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// <https://no-color.org>
fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The format of a log line.
#[derive(Debug, Clone, Copy)]
enum Line {
    Plain,
    Coloured,
    Json,
}

impl Line {
    /// Escapes the line so that it stays one line and moves no cursor.
    fn shown(self, line: &str) -> String {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        let body = match self {
            Self::Plain => visible(body),
            Self::Json => visible_json(body).into_owned(),
            Self::Coloured => {
                // Only the log's own styles remain as escapes; in quoted text, the library has escaped them.
                let mut parts = body.split("\u{1b}[");
                let mut shown = visible(parts.next().unwrap_or_default());
                for part in parts {
                    let style = part.split_once('m').filter(|(style, _)| STYLES.contains(style));
                    match style {
                        Some((style, rest)) => {
                            shown.extend(["\u{1b}[", style, "m"]);
                            shown += &visible(rest);
                        }
                        None => {
                            shown += &visible("\u{1b}[");
                            shown += &visible(part);
                        }
                    }
                }
                shown
            }
        };
        body + end
    }
}

/// The styles of log lines: reset, bold, faint, italic and colours.
const STYLES: [&str; 9] = ["0", "1", "2", "3", "31", "32", "33", "34", "35"];

/// Hides the progress lines while a log line is written. Each write is one whole line.
#[derive(Debug, Clone)]
struct Past {
    live_area: Option<LiveArea>,
    line: Line,
}

impl Write for Past {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = self.line.shown(&String::from_utf8_lossy(line));
        let write = || {
            io::stderr()
                .lock()
                .write_all(shown.as_bytes())
                .map(|()| line.len())
        };
        match &self.live_area {
            Some(live_area) => live_area.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Past {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &str = "key=a\u{1b}[2J\nINFO forged\u{202e}\u{2028}";

    #[test]
    fn a_line_stays_one_line_and_keeps_its_own_styles() {
        let spelt_out = "key=a\\u{1b}[2J\\u{a}INFO forged\\u{202e}\\u{2028}";
        assert_eq!(
            Line::Plain.shown(&format!("{FOREIGN}\n")),
            format!("{spelt_out}\n")
        );
        assert_eq!(
            Line::Coloured.shown(&format!("\u{1b}[32mINFO\u{1b}[0m {FOREIGN}\n")),
            format!("\u{1b}[32mINFO\u{1b}[0m {spelt_out}\n")
        );
    }

    #[test]
    fn json_stays_json() {
        let line = serde_json::json!({"key": FOREIGN});
        let shown = Line::Json.shown(&format!("{line}\n"));
        assert!(shown.is_ascii() && shown.ends_with('\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), line);
    }
}
