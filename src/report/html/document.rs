//! The HTML document around a page: its style, its script, and a policy that allows nothing else.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(super) const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The additional style and script of a page that updates itself.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// The additional style.
    pub style: &'static str,
    /// The script that updates the page.
    pub script: &'static str,
}

/// Builds a document with this title and body. It loads nothing and makes no requests, unless it updates
/// itself: then it may contact its own server.
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
                // The policy comes before everything that it applies to.
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

/// Returns the digests by which the policy allows styles or scripts.
fn digests(texts: &[&str]) -> String {
    let digests = texts
        .iter()
        .map(|text| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text))));
    digests.collect::<Vec<_>>().join(" ")
}
