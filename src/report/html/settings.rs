//! The settings section, without secrets.

use maud::{Markup, html};

use super::{
    PageData, Setting,
    format::{text, time},
    table::{column, of_class, table},
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
                (table("settings", &[column("Key"), of_class("Value", "value"), column("From")], false, data.settings.iter().map(line)))
            }
        }
    }
}

fn line(setting: &Setting) -> Vec<Markup> {
    vec![
        html! { code { (text(&setting.key)) } },
        match &setting.shown {
            Some(shown) => html! { code { (text(shown)) } },
            None => html! { span.share { "not set" } },
        },
        text(&setting.origin),
    ]
}
