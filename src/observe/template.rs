//! The live page as it comes from the server: empty, until its script has the token.

use maud::{Markup, html};

use crate::report::{self, Addition};

/// The page. It is the same for everyone, and holds nothing.
pub(super) fn document() -> String {
    let addition = Addition {
        style: include_str!("live.css"),
        script: include_str!("live.js"),
    };
    report::document("tokenferry, live", &body(), Some(addition))
}

fn body() -> Markup {
    html! {
        noscript { p { "This page needs JavaScript: it is told by the run how it comes along." } }
        section #door hidden {
            h1 { "tokenferry, live" }
            form {
                label for="token" { "Token" }
                input #token type="password" autocomplete="off" spellcheck="false" required;
                button { "Open" }
            }
            p #refused .reason role="alert" {}
            p .note {
                "It is in the address that was printed when the run began, or is what "
                code { "live.token" } " says. It stays in the memory of this page: after a reload, it is asked for again."
            }
        }
        section #control hidden aria-label="The run, now" {
            div .line {
                span #state .status role="status" {}
                span #note {}
                span #link .note {}
            }
            progress #done aria-label="Rows that have an end" {}
            dl .figures.small {
                (figure("tokens", "tokens settled"))
                (figure("failed", "failed"))
                (figure("pace", "tokens/s, now"))
                (figure("left", "left, at this pace"))
                (figure("requests", "requests"))
                (figure("flight", "batches in flight"))
                (figure("latency", "mean answer time"))
            }
            div .options {
                button #pause type="button" {}
                form #slow {
                    label for="rate" { "Requests per " span #per {} }
                    input #rate type="number" inputmode="numeric" min="1" step="1" required;
                    button { "Set" }
                    button #full type="button" { "Full rate" }
                }
                button #stop .grave type="button" { "Stop" }
            }
            p #said role="alert" {}
        }
        div #snapshot {}
    }
}

fn figure(id: &str, what: &str) -> Markup {
    html! { div .figure { dt { (what) } dd { strong id=(id) { "–" } } } }
}
