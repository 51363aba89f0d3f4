//! The log goes to standard error, past the lines that show how a run comes along.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use tracing::error;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

use super::{
    Exit,
    args::{Global, LogFormat},
    exit,
};
use crate::report::Region;

/// How a command talks to whoever started it.
#[derive(Debug, Clone)]
pub(super) struct Console {
    /// Where its progress is drawn, where there is a terminal and nobody asked for quiet.
    pub(super) region: Option<Region>,
    /// Whether standard error holds one JSON object a line, and nothing else.
    pub(super) json: bool,
}

impl Console {
    /// Says what went wrong, and with which code to end.
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

/// Sets the log up, once per process.
pub(super) fn start(global: &Global) -> Console {
    let terminal = io::stderr().is_terminal();
    let text = match global.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let colour = terminal && moves_its_cursor() && wants_colour();
    let region = (terminal && text && !global.quiet && moves_its_cursor()).then(|| Region::new(colour));
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (false, 0) => "warn,tokenferry=info",
        (false, 1) => "info,tokenferry=debug",
        (false, _) => "debug,tokenferry=trace",
    };
    // What a function of the user's own raises as a notice may quote a row.
    let level = format!("{level},sqlx::postgres::notice=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = Past(region.clone());
    // Fails only where several commands run in one process, as in tests: it is set already.
    if text {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer)
            .with_target(false)
            .with_ansi(colour)
            .try_init()
            .ok();
    } else {
        // What an event is about, such as its batch, is said by the spans around it.
        let layer = json_subscriber::layer()
            .with_writer(writer)
            .flatten_event(true)
            .with_current_span(false)
            .flatten_span_list_on_top_level(true);
        tracing_subscriber::registry()
            .with(filter)
            .with(layer)
            .try_init()
            .ok();
    }
    Console { region, json: !text }
}

/// Whether the terminal knows more than letters.
fn moves_its_cursor() -> bool {
    env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// <https://no-color.org>
fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Takes the drawn lines away while one is written, so that neither cuts through the other.
#[derive(Debug, Clone)]
struct Past(Option<Region>);

impl Write for Past {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(line).map(|()| line.len());
        match &self.0 {
            Some(region) => region.past(write),
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
