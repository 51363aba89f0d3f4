//! The log goes to standard error, past the progress bar.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::args::{Global, LogFormat};

/// Where a command shows its progress.
#[derive(Debug, Clone)]
pub(super) struct Console {
    /// Bars to draw, where there is a terminal and nobody asked for quiet.
    pub(super) bars: Option<MultiProgress>,
}

/// Sets the log up, once per process.
pub(super) fn start(global: &Global) -> Console {
    let terminal = io::stderr().is_terminal();
    let text = match global.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let bars = (terminal && text && !global.quiet)
        .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (false, 0) => "warn,tokenferry=info",
        (false, 1) => "info,tokenferry=debug",
        (false, _) => "debug,tokenferry=trace",
    };
    // What a function of the user's own raises as a notice may quote a row.
    let level = format!("{level},sqlx::postgres::notice=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = PastBars(bars.clone());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    let set = if text {
        log.with_target(false)
            .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
            .try_init()
    } else {
        log.json().flatten_event(true).with_span_list(false).try_init()
    };
    // Set already only where several commands run in one process, as in tests.
    drop(set);
    Console { bars }
}

/// Takes the bars away while a line is written, so that neither cuts through the other.
#[derive(Debug, Clone)]
struct PastBars(Option<MultiProgress>);

impl Write for PastBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(line).map(|()| line.len());
        match &self.0 {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for PastBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
