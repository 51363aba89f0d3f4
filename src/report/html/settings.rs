//! The settings section, without secrets.

use maud::{Markup, html};

use super::{
    PageData,
    format::{optional, text, time},
};

/// Renders a table that is collapsed at first.
pub(super) fn section(data: &PageData) -> Markup {
    if data.settings.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="settings" {
            h2 #settings { "Settings" }
            details {
                summary { "All " (data.settings.len()) " of them, as they were when this page was made (" (time(data.made_at)) ")" }
                div.scroll role="region" aria-labelledby="settings" tabindex="0" {
                    table {
                        thead { tr { th scope="col" { "Key" } th scope="col" { "Value" } th scope="col" { "From" } } }
                        tbody {
                            @for setting in &data.settings {
                                tr {
                                    th scope="row" { code { (text(&setting.key)) } }
                                    td { @if setting.shown.is_some() { (optional(setting.shown.as_deref())) } @else { span.share { "not set" } } }
                                    td { (text(&setting.origin)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
