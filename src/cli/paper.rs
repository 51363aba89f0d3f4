//! Text for people, wrapped between words at the width of the terminal it goes to.

use std::{
    borrow::Cow,
    io::{self, IsTerminal},
};

use console::Term;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// The stream that a text goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paper {
    Stdout,
    Stderr,
}

/// Narrower terminals wrap by themselves.
const NARROWEST: usize = 24;

/// The columns of a table that no terminal shows.
const USUAL_WIDTH: usize = 80;

impl Paper {
    /// Returns the columns of the terminal; `None` for a file or a pipe, whose lines scripts read.
    pub(super) fn width(self) -> Option<usize> {
        let term = match self {
            Self::Stdout if io::stdout().is_terminal() => Term::stdout(),
            Self::Stderr if io::stderr().is_terminal() => Term::stderr(),
            Self::Stdout | Self::Stderr => return None,
        };
        let (_, columns) = term.size_checked()?;
        Some(usize::from(columns)).filter(|columns| *columns >= NARROWEST)
    }

    /// Returns the columns of a table, which is fitted for a file or a pipe as well.
    pub(super) fn table_width(self) -> usize {
        self.width().unwrap_or(USUAL_WIDTH)
    }
}

/// Wraps the lines of a text that are too long for the terminal.
pub(super) fn fitted(text: &str, paper: Paper) -> Cow<'_, str> {
    match paper.width() {
        Some(width) => Cow::Owned(wrapped(text, width)),
        None => Cow::Borrowed(text),
    }
}

/// Wraps each line between words. What follows is indented like the text of the line.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut all = String::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        if is_to_paste(body) || console::measure_text_width(body) <= width {
            all.push_str(line);
            continue;
        }
        let indent = " ".repeat(hanging(body).min(width / 2));
        let lines = textwrap::wrap(body, options(width).subsequent_indent(&indent));
        all.push_str(&lines.join("\n"));
        all.push_str(end);
    }
    all
}

/// Wraps a text that begins at the column `margin`.
pub(super) fn beside(text: &str, width: usize, margin: usize) -> String {
    let indent = " ".repeat(margin);
    let lines = textwrap::wrap(text, options(width.saturating_sub(margin)));
    lines.join(&format!("\n{indent}"))
}

/// A path or an expression stays whole, so that it can be copied.
fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
}

/// Returns true for a line that is pasted into a shell, where a line break would end the command.
fn is_to_paste(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("export ") || line.starts_with("$ ")
}

/// Returns the column at which the text of a line begins, after a bullet, a number or a count.
fn hanging(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let text = &line[indent..];
    let bullet = ["→ ", "- ", "| "]
        .iter()
        .find(|bullet| text.starts_with(**bullet));
    let counted = || {
        let (count, rest) = text.split_once(' ')?;
        let is_number = count
            .trim_end_matches('.')
            .chars()
            .all(|each| each.is_ascii_digit() || each == ',');
        let width = count.len() + 1;
        if !is_number {
            None
        } else if rest.starts_with("× ") {
            Some(width + 2)
        } else {
            count.ends_with('.').then_some(width)
        }
    };
    let status = ["warning  ", "FAILED   "]
        .iter()
        .find(|word| text.starts_with(**word));
    indent
        + match (bullet, status) {
            (Some(_), _) => 2,
            (None, Some(word)) => word.len(),
            (None, None) => counted().unwrap_or(if indent == 0 { 2 } else { 0 }),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words_below_their_own_text() {
        let text = "short\n     3 × no_token: the row has neither\n  → the user is to connect again\n\
                    FAILED   api.timeout: must be a duration\n  $ tokenferry migrate --dry-run --config x\nlast";
        assert_eq!(
            wrapped(text, 24),
            "short\n     3 × no_token: the\n         row has neither\n  → the user is to\n    connect again\n\
             FAILED   api.timeout:\n         must be a\n         duration\n  $ tokenferry migrate --dry-run --config x\nlast"
        );
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_too_wide_but_long_words() {
        let text =
            "  1. source.url: set the variable SOURCE_DATABASE_URL to a valid value\n       export X=…\n";
        for width in 24..90 {
            let wrapped = wrapped(text, width);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrapped), words(text));
            assert!(
                wrapped
                    .lines()
                    .all(|line| console::measure_text_width(line) <= width),
                "{width}: {wrapped}"
            );
        }
    }
}
