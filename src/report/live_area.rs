//! The live area: the last lines of a terminal, redrawn below all other output.
//!
//! Each line is shorter than the terminal's width and ends with a line break, so the effect of reflowing on a
//! resize can be computed. (indicatif fills its lines to the edge, which such a terminal joins into one long
//! line that leaves remains behind when it gets narrower.)

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use console::{Term, measure_text_width};

/// A few changing lines on standard error, shared by all who draw them or print past them.
#[derive(Debug, Clone)]
pub struct LiveArea {
    inner: Arc<Mutex<Inner>>,
    colour: bool,
}

struct Inner {
    term: Term,
    /// Kept below the lines while there are any.
    pinned: Option<String>,
    /// The lines on the screen; the cursor is at the beginning of the line below.
    drawn: Vec<String>,
    columns: usize,
}

impl LiveArea {
    /// Creates an empty area at the end of standard error, which must be a terminal that can move its cursor.
    #[must_use]
    pub fn new(colour: bool) -> Self {
        let inner = Inner {
            term: Term::buffered_stderr(),
            pinned: None,
            drawn: Vec::new(),
            columns: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            colour,
        }
    }

    /// Returns true if colours may be used.
    #[must_use]
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Keeps a line below the others until the area is cleared.
    pub fn pin(&self, line: String) {
        self.lock().pinned = Some(line);
    }

    /// Replaces the lines with the result of `lines`, which gets the number of columns.
    pub fn draw(&self, lines: impl FnOnce(usize) -> Vec<String>) {
        let mut inner = self.lock();
        let (rows, columns) = inner.size();
        let mut lines = lines(columns - 1);
        if !lines.is_empty() {
            lines.extend(inner.pinned.clone());
        }
        lines.truncate(rows - 1);
        if lines == inner.drawn && columns == inner.columns {
            return;
        }
        // An error means that the terminal is gone, which ends the process in other ways.
        let _ = inner.erase().and_then(|()| inner.show(lines, columns));
    }

    /// Runs `print`, which writes to the terminal, with the area hidden.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut inner = self.lock();
        let (lines, columns) = (inner.drawn.clone(), inner.columns);
        if lines.is_empty() {
            return print();
        }
        let _ = inner.erase().and_then(|()| inner.term.flush());
        let printed = print();
        let _ = inner.show(lines, columns);
        printed
    }

    /// Removes the lines.
    pub fn clear(&self) {
        self.draw(|_| Vec::new());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // At worst a line is drawn twice.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    // The pinned line has the token of the live page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns rows and columns, at least two of each.
    fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.term.size_checked().unwrap_or((24, 80));
        (usize::from(rows).max(2), usize::from(columns).max(2))
    }

    /// Removes the lines, including rows added by reflowing.
    fn erase(&mut self) -> io::Result<()> {
        let (_, columns) = self.size();
        let rows = rows(&self.drawn, columns);
        self.drawn.clear();
        if rows > 0 {
            // The cursor may be behind typed text.
            self.term.write_all(b"\r")?;
            self.term.move_cursor_up(rows)?;
            self.term.clear_to_end_of_screen()?;
        }
        Ok(())
    }

    fn show(&mut self, lines: Vec<String>, columns: usize) -> io::Result<()> {
        for line in &lines {
            self.term.write_line(line)?;
        }
        (self.drawn, self.columns) = (lines, columns);
        self.term.flush()
    }
}

/// Returns the number of rows that the lines take in a terminal of this width.
fn rows(lines: &[String], columns: usize) -> usize {
    lines
        .iter()
        .map(|line| measure_text_width(line).div_ceil(columns).max(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_got_too_long_takes_several_rows() {
        let lines = ["x".repeat(79), "\u{1b}[31mred\u{1b}[0m".to_owned(), String::new()];
        assert_eq!((rows(&lines, 80), rows(&lines, 50), rows(&lines, 10)), (3, 4, 10));
    }
}
