//! Places where a test kills the process, to see that the next run goes on from there. Compiled in only with
//! the feature `failpoints`; without it, each is nothing.
//!
//! `TOKENFERRY_KILL_AT=intent=3` ends the process by SIGKILL when it comes by the place called `intent` for
//! the third time, and `TOKENFERRY_PAUSE_AT=intent=3` stops it there by SIGSTOP, until it gets a SIGCONT.
//! `TOKENFERRY_MISCOUNT=1` leaves a settled batch out of the books, once, to see that books that do not close
//! are noticed.

/// Every place, in the order in which a batch comes by.
pub const PLACES: [&str; 11] = [
    "outdated",
    "resolved",
    "fetched",
    "intent",
    "departing",
    "sent",
    "answered",
    "settling",
    "isolating",
    "committed",
    "cursor",
];

/// Places that not every run of `migrate` comes by, and those of other commands.
pub const PLACES_ELSEWHERE: [&str; 8] = [
    "reading",
    "moved",
    "verified",
    "intended",
    "undone",
    "undone_recorded",
    "measured",
    "truncated",
];

/// Arms the place that the environment names. An unknown or unreadable one is a mistake of the test's, and
/// ends the process.
#[cfg(feature = "failpoints")]
pub fn arm() {
    use nix::sys::signal::Signal;

    if std::env::var_os("TOKENFERRY_MISCOUNT").is_some()
        && let Err(error) = fail::cfg("miscount", "1*return")
    {
        eprintln!("TOKENFERRY_MISCOUNT cannot be armed: {error}");
        std::process::exit(2);
    }
    // Nothing runs after a kill: no destructor, no goodbye to a database.
    if let Ok(rows) = std::env::var("TOKENFERRY_RANGE_ROWS")
        && let Err(error) = fail::cfg("range_rows", &format!("return({rows})"))
    {
        eprintln!("TOKENFERRY_RANGE_ROWS cannot be armed: {error}");
    }
    raise_at("TOKENFERRY_KILL_AT", Signal::SIGKILL);
    raise_at("TOKENFERRY_PAUSE_AT", Signal::SIGSTOP);
}

/// Raises a signal at the place that this variable names.
#[cfg(feature = "failpoints")]
fn raise_at(variable: &str, signal: nix::sys::signal::Signal) {
    use std::sync::atomic::{AtomicU32, Ordering};

    let Ok(order) = std::env::var(variable) else {
        return;
    };
    let place = order
        .split_once('=')
        .and_then(|(place, nth)| Some((place, nth.parse::<u32>().ok()?)));
    let Some((place, nth)) =
        place.filter(|(place, _)| PLACES.contains(place) || PLACES_ELSEWHERE.contains(place))
    else {
        eprintln!("{variable} must be one of {PLACES:?} or {PLACES_ELSEWHERE:?}, `=` and a number");
        std::process::exit(2);
    };
    let visits = AtomicU32::new(0);
    let armed = fail::cfg_callback(place, move || {
        if visits.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            let _ = nix::sys::signal::raise(signal);
        }
    });
    if let Err(error) = armed {
        eprintln!("{variable} cannot be armed: {error}");
        std::process::exit(2);
    }
}
