//! The demo's output.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, IsTerminal, Write},
};

use crate::cli::paper::{self, Paper};

fn fitted(text: &str) -> Cow<'_, str> {
    paper::fitted(text, Paper::Stdout)
}

/// Wraps a paragraph, without an indent.
fn flowing(text: &str) -> String {
    match Paper::Stdout.width() {
        Some(width) => paper::beside(text, width, 0),
        None => text.to_owned(),
    }
}

/// Prints numbered steps on standard output, with a little colour on a terminal.
#[derive(Debug)]
pub(super) struct Narrator {
    steps: Cell<u32>,
    colour: bool,
}

impl Default for Narrator {
    fn default() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            steps: Cell::new(0),
            colour,
        }
    }
}

impl Narrator {
    pub(super) fn title(&self, text: &str) {
        self.line(&self.strong(&flowing(text)));
    }

    pub(super) fn step(&self, text: &str) {
        let number = self.steps.get() + 1;
        self.steps.set(number);
        let text = format!("{number}. {text}");
        let text = fitted(&text);
        self.line(&format!("\n{}", self.strong(&text)));
    }

    pub(super) fn quote(&self, text: &str) {
        for line in text.lines() {
            self.line(&fitted(&format!("   | {line}")));
        }
    }

    pub(super) fn command(&self, text: &str) {
        self.line(&format!("   $ {}", self.strong(text)));
    }

    pub(super) fn exit_code(&self, code: i32) {
        self.line(&format!("   (exit code {code})"));
    }

    pub(super) fn tell(&self, text: &str) {
        self.line(&fitted(text));
    }

    pub(super) fn end(&self, text: &str) {
        self.line(&format!("\n{}", self.strong(&flowing(text))));
    }

    #[expect(
        clippy::unused_self,
        reason = "a line is part of the story, whether or not it needs its state"
    )]
    pub(super) fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        // The reader is gone. The demo continues, so that everything is cleaned up.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    fn strong(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
