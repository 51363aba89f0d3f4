//! The log of a run as a person reads it on a terminal: time of day and words, one line per event.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing::{
    Event, Level, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::{
    paper::{self, Paper},
    wording::{self, Fields, Said},
};
use crate::{domain::visible, report::LiveArea};

/// The width of the time of day, and the blanks behind it.
const MARGIN: usize = 10;

/// A layer that prints events in words. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Narration {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    live_area: Option<LiveArea>,
    colour: bool,
    /// Only what somebody should act on.
    quiet: bool,
    /// The run is a dry run, whose summary soon names every failure.
    is_dry: AtomicBool,
    /// The story so far of each batch whose outcome is being determined, by its ID.
    open: Mutex<BTreeMap<String, String>>,
}

impl Narration {
    pub(super) fn new(live_area: Option<LiveArea>, colour: bool, quiet: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                live_area,
                colour,
                quiet,
                is_dry: AtomicBool::new(false),
                open: Mutex::default(),
            }),
        }
    }

    /// Prints the stories that have no end: the run ended first.
    pub(super) fn settle(&self) {
        for (batch, story) in mem::take(&mut *self.open()) {
            self.print(false, &about(&batch, &story));
        }
    }

    /// Tells what was said about a batch, or about the run.
    fn tell(&self, batch: Option<&str>, said: Said) {
        let Some(batch) = batch else {
            match said {
                Said::Nothing => {}
                Said::Begins(text) | Said::Continues(text) | Said::Ends(text) => self.print(false, &text),
                Said::Retries { cause, wait } => self.print(false, &retrying(Some(cause), &wait)),
                Said::Warns(text) => self.print(true, &text),
            }
            return;
        };
        let mut open = self.open();
        let end = match said {
            Said::Nothing => return,
            // A story that begins anew had no end worth telling.
            Said::Begins(text) => {
                open.insert(batch.to_owned(), text);
                return;
            }
            Said::Continues(text) => {
                let story = open.entry(batch.to_owned()).or_default();
                append(story, &text);
                return;
            }
            Said::Ends(text) => (open.remove(batch), text, false),
            Said::Warns(text) => (open.remove(batch), text, true),
            Said::Retries { cause, wait } => {
                let so_far = open.remove(batch);
                let cause = so_far.is_none().then_some(cause);
                (so_far, retrying(cause, &wait), false)
            }
        };
        drop(open);
        let (so_far, text, is_warning) = end;
        let mut story = so_far.unwrap_or_default();
        append(&mut story, &text);
        self.print(is_warning, &about(batch, &story));
    }

    fn print(&self, is_warning: bool, text: &str) {
        if self.inner.quiet && !is_warning {
            return;
        }
        let time = chrono::Local::now().format("%H:%M:%S").to_string();
        let line = line(&time, is_warning, text, Paper::Stderr.width(), self.inner.colour);
        let write = || {
            // The terminal is gone, which ends the process in other ways.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        };
        match &self.inner.live_area {
            Some(live_area) => live_area.suspend(write),
            None => write(),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // At worst a line is told twice.
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retrying(cause: Option<String>, wait: &str) -> String {
    let mut text = cause.unwrap_or_default();
    append(&mut text, &format!("retrying in {wait}"));
    text
}

fn about(batch: &str, story: &str) -> String {
    format!("batch {batch}: {story}")
}

fn append(story: &mut String, text: &str) {
    if !story.is_empty() {
        story.push_str(" · ");
    }
    story.push_str(text);
}

/// Formats a line, wrapped beside the time. Foreign text is escaped: it may come from the source or the API.
fn line(time: &str, is_warning: bool, text: &str, width: Option<usize>, colour: bool) -> String {
    let text = visible(text);
    let text = if is_warning {
        format!("warning: {text}")
    } else {
        text
    };
    let text = match width {
        Some(width) => paper::beside(&text, width, MARGIN),
        None => text,
    };
    match (colour, is_warning) {
        (true, true) => format!("\u{1b}[2m{time}\u{1b}[0m  \u{1b}[33m{text}\u{1b}[0m\n"),
        (true, false) => format!("\u{1b}[2m{time}\u{1b}[0m  {text}\n"),
        (false, _) => format!("{time}  {text}\n"),
    }
}

/// The ID of a batch, kept beside its span.
struct BatchId(String);

impl<S> Layer<S> for Narration
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(batch), Some(span)) = (fields.take("batch_id"), context.span(id)) {
            span.extensions_mut().replace(BatchId(batch));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let (Some(batch), Some(span)) = (fields.take("batch_id"), context.span(id)) {
            span.extensions_mut().replace(BatchId(batch));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let batch = context.event_scope(event).and_then(|spans| {
            spans
                .into_iter()
                .find_map(|span| span.extensions().get::<BatchId>().map(|batch| batch.0.clone()))
        });
        if fields.has("mode", "dry_run") {
            self.inner.is_dry.store(true, Ordering::Relaxed);
        }
        if self.inner.is_dry.load(Ordering::Relaxed) && fields.message().starts_with(wording::FIRST_FAILURE) {
            return;
        }
        let is_warning = *event.metadata().level() <= Level::WARN;
        self.tell(batch.as_deref(), wording::of(fields, is_warning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_and_is_wrapped_beside_it() {
        assert_eq!(
            line(
                "14:26:00",
                false,
                "batch 1: response lost · read back: stored",
                Some(40),
                false
            ),
            "14:26:00  batch 1: response lost · read\n          back: stored\n"
        );
        assert_eq!(
            line("14:26:00", true, "the key a\u{1b}[2J\nb", None, true),
            "\u{1b}[2m14:26:00\u{1b}[0m  \u{1b}[33mwarning: the key a\\u{1b}[2J\\u{a}b\u{1b}[0m\n"
        );
    }
}
