//! What a person sees: the real program on a real terminal, and a screen that shows what it wrote there.

mod words;

use std::{
    fs::File,
    io::Read,
    num::NonZeroU16,
    os::fd::OwnedFd,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::pty::{Winsize, openpty};
use rustix::termios::tcsetwinsize;
use tokenferry::simulator::{Barrier, Fault};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use vt100::Parser;

use crate::support::bed::Bed;

fn size(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap()
}

/// Standard error of a program.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: Parser,
    raw: Vec<u8>,
}

impl Terminal {
    /// A terminal of 24 rows, for this command.
    fn new(command: &mut Command, columns: u16) -> Self {
        let window = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&window), None).unwrap();
        let slave = pty.slave.try_clone().unwrap();
        command
            .stderr(Stdio::from(pty.slave))
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let seen = Arc::new(Mutex::new(Seen {
            screen: Parser::new(size(24), size(columns), 1000),
            raw: Vec::new(),
        }));
        let (mut output, writes) = (File::from(pty.master.try_clone().unwrap()), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when nobody has the other end any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut seen = writes.lock().unwrap();
                seen.screen.process(&bytes[..count]);
                seen.raw.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            master: pty.master,
            slave,
            seen,
        }
    }

    /// Another handle of the program's side.
    fn slave(&self) -> OwnedFd {
        self.slave.try_clone().unwrap()
    }

    fn resize(&self, columns: u16) {
        self.seen
            .lock()
            .unwrap()
            .screen
            .screen_mut()
            .set_size(size(24), size(columns));
        let window = rustix::termios::Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, window).unwrap();
    }

    fn contents(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().raw).into_owned()
    }

    /// Waits until the screen is like that.
    async fn shows(&self, what: impl Fn(&str) -> bool) -> String {
        let seen = timeout(Duration::from_secs(60), async {
            loop {
                let contents = self.contents();
                if what(&contents) {
                    return contents;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        seen.await
            .unwrap_or_else(|_| panic!("it never came to that:\n{}", self.contents()))
    }
}

/// The program's stdout is of no interest here.
fn started(mut command: Command) -> Child {
    command.stdout(Stdio::null()).spawn().unwrap()
}

async fn ended(mut child: Child) -> i32 {
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap()
        .unwrap();
    // What it wrote last is on its way through the kernel.
    sleep(Duration::from_millis(100)).await;
    status.code().unwrap()
}

/// A bed whose third request waits at a gate, and whose other ones may leave one after the other.
async fn held_at_a_gate() -> (Bed, Barrier) {
    let bed = Bed::new().await;
    bed.user_rows(1, 1000).await;
    bed.sql("analyze legacy_tokens").await;
    bed.api.set_refused_users(["user-7"]);
    let bed = bed.set("batch.concurrency = 1\napi.timeout = \"60s\"");
    let gate = Barrier::new();
    bed.api
        .script([Fault::None, Fault::None, Fault::Hold(gate.clone())]);
    (bed, gate)
}

/// An escape sequence that changes how letters look.
fn has_colour(raw: &str) -> bool {
    raw.split("\u{1b}[").skip(1).any(|after| {
        after
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    })
}

fn lines_with(contents: &str, word: &str) -> usize {
    contents.lines().filter(|line| line.contains(word)).count()
}

#[tokio::test]
async fn a_bar_is_there_while_it_runs_fits_whatever_the_width_and_is_gone_in_the_end() {
    let (bed, gate) = held_at_a_gate().await;
    let mut command = bed.command(&["migrate"]);
    let terminal = Terminal::new(&mut command, 80);
    let child = started(command);
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    let shown = terminal
        .shows(|screen| {
            screen.contains("sending  [=")
                && screen.contains("1 failed: 1 E112102")
                && screen.contains(" left")
        })
        .await;
    assert!(shown.contains("100 of 1,000 tokens"), "{shown}");
    assert!(
        shown.contains("/100,000 in 1s") && shown.contains("1 in flight"),
        "{shown}"
    );

    for columns in [50, 120, 30] {
        terminal.resize(columns);
        let fits = |screen: &str| {
            // The first line has found its width when the bar, or its place, has.
            let bar = screen
                .lines()
                .find(|line| line.starts_with("sending"))
                .unwrap_or_default();
            lines_with(screen, "sending") == 1
                && lines_with(screen, "failed:") == 1
                && match columns {
                    120 => bar.len() > 70,
                    50 => bar.contains('[') && bar.len() < 50,
                    _ => !bar.contains('[') && bar.contains('%'),
                }
        };
        let shown = terminal.shows(fits).await;
        assert!(
            shown.lines().all(|line| line.len() <= usize::from(columns)),
            "{shown}"
        );
    }
    terminal.resize(80);
    gate.release();
    assert_eq!(ended(child).await, 3);
    let shown = terminal.contents();
    assert!(!shown.contains("sending"), "{shown}");
    assert!(
        shown.contains("completed, some tokens failed") && shown.contains("Fix them"),
        "{shown}"
    );
    assert!(
        has_colour(&terminal.raw()),
        "the log has colours where they are wanted"
    );
}

#[tokio::test]
async fn while_the_api_asks_to_wait_it_says_so_and_for_how_long() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    bed.sql("analyze legacy_tokens").await;
    bed.api
        .script([Fault::None, Fault::RateLimited(Duration::from_secs(120))]);
    let mut command = bed.command(&["migrate"]);
    let terminal = Terminal::new(&mut command, 80);
    let child = started(command);
    let shown = terminal
        .shows(|screen| screen.contains(" s: the API asked for it"))
        .await;
    assert!(
        shown.contains("waiting 1") && lines_with(&shown, "waiting") == 1,
        "{shown}"
    );
    // Ctrl-C does not wait for that, and leaves the screen in order.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(ended(child).await, 130);
    let shown = terminal.contents();
    assert!(
        !shown.contains("waiting") && shown.contains("interrupted; the next"),
        "{shown}"
    );
}

#[tokio::test]
async fn quiet_draws_nothing_and_no_color_means_none() {
    let (bed, gate) = held_at_a_gate().await;
    let mut command = bed.command(&["migrate"]);
    let terminal = Terminal::new(&mut command, 80);
    command.env("NO_COLOR", "1");
    let child = started(command);
    timeout(Duration::from_secs(30), gate.reached()).await.unwrap();
    terminal
        .shows(|screen| screen.contains("sending  [=") && screen.contains("1 failed: 1 E112102"))
        .await;
    gate.release();
    ended(child).await;
    let raw = terminal.raw();
    assert!(raw.contains('\u{1b}') && !has_colour(&raw), "{raw}");

    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let mut command = bed.command(&["migrate", "-q"]);
    let terminal = Terminal::new(&mut command, 80);
    assert_eq!(ended(started(command)).await, 0);
    assert_eq!(terminal.raw(), "");
}

#[tokio::test]
async fn a_terminal_that_knows_only_letters_gets_only_letters() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let mut command = bed.command(&["migrate"]);
    let terminal = Terminal::new(&mut command, 80);
    command.env("TERM", "dumb");
    assert_eq!(ended(started(command)).await, 0);
    let raw = terminal.raw();
    assert!(
        raw.contains("completed, every token has arrived") && !raw.contains('\u{1b}'),
        "{raw}"
    );
}
