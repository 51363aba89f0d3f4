//! The document around a page: its style, its script, and the rule that nothing else is loaded or run.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(super) const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A document with this title and body. It loads nothing and speaks to nobody, unless it has a script of its own that keeps
/// it up to date: then it may speak to where it came from.
#[must_use]
pub fn document(title: &str, body: &Markup, live: Option<&str>) -> String {
    let scripts: Vec<&str> = std::iter::once(SCRIPT).chain(live).collect();
    let digests: Vec<String> = scripts.iter().map(|script| digest(script)).collect();
    let connect = if live.is_some() {
        "; connect-src 'self'"
    } else {
        ""
    };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}{connect}; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digests.join(" ")
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
                style { (PreEscaped(STYLE)) }
            }
            body {
                div #page { (body) }
                @for script in scripts { script { (PreEscaped(script)) } }
            }
        }
    };
    document.into_string()
}

/// By which a browser knows a style or script that is allowed.
fn digest(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}
