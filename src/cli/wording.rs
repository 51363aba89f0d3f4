//! Words for log events. The messages are documented in `docs/reference/log-events.md`; any other event is
//! told by its message and fields.

use std::{fmt, time::Duration};

use tracing::field::{Field, Visit};

/// The words for an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Another place says it: the progress lines, the summary or an error.
    Nothing,
    /// The begin of a story that goes on; it is told once its end is known.
    Begins(String),
    /// A part of such a story.
    Continues(String),
    /// The end of a story, or a story of its own.
    Ends(String),
    /// The same of an attempt that is repeated. The cause may have been told.
    Retries { cause: String, wait: String },
    /// The end of a story, and somebody should act on it.
    Warns(String),
}

/// The fields of an event or span, as text.
#[derive(Debug, Default)]
pub(super) struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

/// The beginning of a message.
pub(super) const FIRST_FAILURE: &str = "first failure with this code";

impl Fields {
    /// Returns the message.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Returns true if a field has this value.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.others
            .iter()
            .any(|(known, its)| *known == name && its == value)
    }

    /// Removes a field and returns its value.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.others.iter().position(|(known, _)| *known == name)?;
        Some(self.others.remove(position).1)
    }

    fn taken(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Puts an event into words. What resolves itself is no warning here, whatever its level.
pub(super) fn of(mut fields: Fields, is_warning: bool) -> Said {
    let message = std::mem::take(&mut fields.message);
    let text = match message.as_str() {
        "started" => {
            return match fields.taken("mode").as_str() {
                "dry_run" => Said::Nothing,
                mode => Said::Ends(format!("{mode} started")),
            };
        }
        // The sizes matter to nobody who waits for the end.
        "the API stores these batches quickly, sending larger ones" => return Said::Nothing,
        message if message.starts_with(FIRST_FAILURE) => {
            return Said::Warns(format!("first failure: {}", fields.taken("code")));
        }
        // Only where no progress lines are drawn.
        "progress" => {
            let expected = fields.take("expected").map(|rows| format!(" of {rows}"));
            let left = fields
                .take("left_s")
                .map(|left| format!(", {} left", seconds(&left)));
            format!(
                "{}{} tokens{}",
                fields.taken("settled"),
                expected.unwrap_or_default(),
                left.unwrap_or_default()
            )
        }
        "resuming an unfinished run" => match fields.take("cursor") {
            Some(cursor) => format!("resuming after the key {cursor}"),
            None => "resuming an unfinished run".to_owned(),
        },
        "rows in unchanged key ranges were not read" => {
            format!("{} unchanged rows are not read again", fields.taken("rows"))
        }
        message if message.starts_with("outcome unknown, reading back") => {
            return Said::Begins(cause(&fields.taken("code")));
        }
        "reconciled unknown outcome" => return read_back(&fields.taken("outcome")),
        "reconciled a batch that an earlier process left in flight" => {
            return match read_back(&fields.taken("outcome")) {
                Said::Continues(text) | Said::Ends(text) => {
                    Said::Ends(format!("left in flight by an earlier process · {text}"))
                }
                said => said,
            };
        }
        "attempt failed, retrying" => {
            return Said::Retries {
                cause: cause(&fields.taken("code")),
                wait: seconds(&fields.taken("wait_s")),
            };
        }
        "retries exhausted" => format!(
            "{} attempts failed ({}) · once more at the end of the run",
            fields.taken("attempt"),
            cause(&fields.taken("code"))
        ),
        _ => {
            return match of_rates_and_canaries(&message, &mut fields) {
                Some(text) => Said::Ends(text),
                None if is_warning => Said::Warns(others(&message, fields)),
                None => Said::Ends(others(&message, fields)),
            };
        }
    };
    Said::Ends(text)
}

/// Puts events about the pace of the run, its canary and its databases into words.
fn of_rates_and_canaries(message: &str, fields: &mut Fields) -> Option<String> {
    let text = match message {
        "rate limited, holding requests" => {
            format!(
                "rate limited: requests held for {}",
                seconds(&fields.taken("wait_s"))
            )
        }
        "the API does not accept batches of this size, sending smaller ones from now on" => format!(
            "the API does not accept batches of this size · {} tokens at most from now on",
            fields.taken("max_tokens")
        ),
        "the API answered 429 repeatedly, sending requests at a lower rate" => format!(
            "rate limited repeatedly · {} requests in {} from now on",
            fields.taken("requests"),
            fields.taken("per")
        ),
        "sending requests at a higher rate" => format!(
            "{} requests in {} from now on",
            fields.taken("requests"),
            fields.taken("per")
        ),
        "sending a canary first, token by token" => {
            format!("canary: {} tokens first, one by one", fields.taken("tokens"))
        }
        "canary succeeded, sending the rest" => {
            let failed = fields.taken("failed");
            let failed = match failed.as_str() {
                "0" | "" => String::new(),
                failed => format!(", {failed} failed"),
            };
            format!(
                "canary: {} arrived{failed} · sending the rest",
                fields.taken("committed")
            )
        }
        "database unreachable, retrying" => format!(
            "the {} database is unreachable · retrying: {}",
            fields.taken("database"),
            fields.taken("reason")
        ),
        "database reachable again" => format!(
            "the {} database is reachable again after {} s",
            fields.taken("database"),
            fields.taken("after_s")
        ),
        _ => return None,
    };
    Some(text)
}

/// Names the result of a read-back. A batch that is sent again has more to tell.
fn read_back(outcome: &str) -> Said {
    match outcome {
        "Stored" => Said::Ends("read back: stored".to_owned()),
        "NotStored" => Said::Continues("read back: not stored".to_owned()),
        "NoProof" => Said::Continues("read back: no proof".to_owned()),
        "Stopped" => Said::Ends("stopped before it was read back".to_owned()),
        _ => Said::Continues("read back: no usable response".to_owned()),
    }
}

/// Names the cause of a failed attempt.
fn cause(code: &str) -> String {
    match code {
        "connection_lost" => "response lost".to_owned(),
        "timeout" => "no response in time".to_owned(),
        "unreadable_answer" => "unreadable response".to_owned(),
        code => match code.strip_prefix("http_") {
            Some(status) => format!("HTTP {status}"),
            None => code.to_owned(),
        },
    }
}

/// Tells an event by its message and fields.
fn others(message: &str, fields: Fields) -> String {
    let mut text = message.to_owned();
    for (name, value) in fields.others {
        let part = match name {
            "reason" => value,
            name => match name.strip_suffix("_s") {
                Some(name) => format!("{} {}", name.replace('_', " "), seconds(&value)),
                None => format!("{} {value}", name.replace('_', " ")),
            },
        };
        text.push_str(" · ");
        text.push_str(&part);
    }
    text
}

/// Formats seconds with the precision that a person needs.
fn seconds(text: &str) -> String {
    match text
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    {
        Some(time) if time >= Duration::from_secs(60) => {
            humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
        }
        Some(time) if time >= Duration::from_secs(10) => format!("{:.0} s", time.as_secs_f64()),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, others: &[(&'static str, &str)]) -> Said {
        let fields = Fields {
            message: message.to_owned(),
            others: others
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        };
        of(fields, true)
    }

    #[test]
    fn what_resolves_itself_is_told_without_a_warning() {
        assert_eq!(
            said("outcome unknown, reading back", &[("code", "connection_lost")]),
            Said::Begins("response lost".to_owned())
        );
        assert_eq!(
            said("reconciled unknown outcome", &[("outcome", "NotStored")]),
            Said::Continues("read back: not stored".to_owned())
        );
        assert_eq!(
            said(
                "attempt failed, retrying",
                &[("code", "connection_lost"), ("wait_s", "0.300610595")]
            ),
            Said::Retries {
                cause: "response lost".to_owned(),
                wait: "0.3 s".to_owned()
            }
        );
        assert_eq!(
            said(
                "attempt failed, retrying",
                &[("code", "http_429"), ("wait_s", "75.2")]
            ),
            Said::Retries {
                cause: "HTTP 429".to_owned(),
                wait: "1m 15s".to_owned()
            }
        );
    }

    #[test]
    fn an_event_without_words_of_its_own_keeps_all_it_has() {
        assert_eq!(
            said(
                "metrics push failed, run not affected",
                &[("status", "404"), ("after_s", "12.34")]
            ),
            Said::Warns("metrics push failed, run not affected · status 404 · after 12 s".to_owned())
        );
    }
}
