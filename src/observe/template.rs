//! The template of the live page, which stays empty until its script has the token.

use maud::{Markup, html};

use crate::report::{self, Addition};

/// Returns the page. It is the same for everyone and contains nothing of the run.
pub(super) fn document() -> String {
    let addition = Addition {
        style: include_str!("live.css"),
        script: include_str!("live.js"),
    };
    report::document("tokenferry, live", &body(), Some(addition))
}

fn body() -> Markup {
    html! {
        noscript { p { "This page needs JavaScript to receive the progress of the run." } }
        section #door hidden {
            h1 { "tokenferry, live" }
            form {
                label for="token" { "Token" }
                input #token type="password" autocomplete="off" spellcheck="false" required;
                button { "Open" }
            }
            p #refused .reason role="alert" {}
            p .note {
                "It is part of the address that was printed when the run started, or is set as "
                code { "live.token" } ". This page keeps it only in memory and asks for it again after a reload."
            }
        }
        section #control hidden aria-label="The run, now" {
            div .line {
                span #state .status role="status" {}
                span #note {}
                span #link .note {}
            }
            progress #done aria-label="Rows with an outcome" {}
            dl .figures.small {
                (figure("tokens", "tokens settled"))
                (figure("failed", "failed"))
                (figure("pace", "tokens/s, now"))
                (figure("left", "left, at this rate"))
                (figure("requests", "requests"))
                (figure("flight", "batches in flight"))
                (figure("latency", "mean response time"))
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
