//! The document around a page: its style, its script, and the rule that nothing else is loaded or run.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(super) const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a document has of its own that is kept up to date.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// For what is not on other pages.
    pub style: &'static str,
    /// Keeps it up to date.
    pub script: &'static str,
}

/// A document with this title and body. It loads nothing and speaks to nobody, unless it has a script of its own that keeps
/// it up to date: then it may speak to where it came from.
#[must_use]
pub fn document(title: &str, body: &Markup, live: Option<Addition>) -> String {
    let styles: Vec<&str> = std::iter::once(STYLE)
        .chain(live.map(|live| live.style))
        .collect();
    let scripts: Vec<&str> = std::iter::once(SCRIPT)
        .chain(live.map(|live| live.script))
        .collect();
    let connect = if live.is_some() {
        "; connect-src 'self'"
    } else {
        ""
    };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}{connect}; base-uri 'none'; form-action 'none'",
        digests(&styles),
        digests(&scripts)
    );
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // Before anything that it is about.
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { (title) }
                @for style in styles { style { (PreEscaped(style)) } }
            }
            body {
                div #page { (body) }
                @for script in scripts { script { (PreEscaped(script)) } }
            }
        }
    };
    document.into_string()
}

/// By which a browser knows the styles or scripts that are allowed.
fn digests(texts: &[&str]) -> String {
    let digests = texts
        .iter()
        .map(|text| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text))));
    digests.collect::<Vec<_>>().join(" ")
}
