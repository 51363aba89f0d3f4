//! The log goes to standard error, past the lines that show how a run comes along.

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
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = Past(region.clone());
    // Fails only where several commands run in one process, as in tests: it is set already.
    if text {
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
        // What an event is about, such as its batch, is said by the spans around it.
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
    Console { region, json: !text }
}

/// Whatever `RUST_LOG` says, what a library logs stays out: a notice that a function in the database raises may quote a row, and a URL,
/// a header or a parameter may hold a secret.
fn is_our_own(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == env!("CARGO_CRATE_NAME") || target.starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"))
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
