//! A table whose rows become cards where the window is narrow.
//!
//! Each cell repeats the name of its column in `data-label`, which the style sheet shows in a card.

use maud::{Markup, html};

/// A column: its name, the class of its cells, and a name that is heard and not seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    class: &'static str,
    is_silent: bool,
}

impl Column {
    /// Returns its name.
    pub(super) fn name(self) -> &'static str {
        self.name
    }
}

/// Returns a column of text.
pub(super) fn column(name: &'static str) -> Column {
    of_class(name, "")
}

/// Returns a column of numbers.
pub(super) fn number(name: &'static str) -> Column {
    of_class(name, "number")
}

/// Returns a column of bars.
pub(super) fn bars() -> Column {
    Column {
        is_silent: true,
        ..of_class("Share", "bars")
    }
}

/// Returns a column whose cells have a class.
pub(super) fn of_class(name: &'static str, class: &'static str) -> Column {
    Column {
        name,
        class,
        is_silent: false,
    }
}

/// Renders a table under the heading `heading`. The first cell of a row names the row. The script sorts and
/// filters a table that `is_sortable`.
pub(super) fn table(
    heading: &str,
    columns: &[Column],
    is_sortable: bool,
    rows: impl Iterator<Item = Vec<Markup>>,
) -> Markup {
    html! {
        div.scroll role="region" aria-labelledby=(heading) tabindex="0" {
            table.cards data-sortable[is_sortable] {
                thead { tr { @for column in columns { (head(column)) } } }
                tbody { @for cells in rows { tr { @for (place, (column, content)) in columns.iter().zip(&cells).enumerate() { (cell(column, content, place == 0)) } } } }
            }
        }
    }
}

fn head(column: &Column) -> Markup {
    let class = (!column.class.is_empty()).then_some(column.class);
    html! {
        th class=[class] scope="col" {
            @if column.is_silent { span.hidden { (column.name) } } @else { (column.name) }
        }
    }
}

fn cell(column: &Column, content: &Markup, names_row: bool) -> Markup {
    let class = (!column.class.is_empty()).then_some(column.class);
    html! {
        @if names_row {
            th class=[class] scope="row" data-label=(column.name) { (content) }
        } @else {
            td class=[class] data-label=(column.name) { (content) }
        }
    }
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn every_cell_knows_its_column() {
        let rows = [vec![html! { "a" }, html! { "1" }]].into_iter();
        let table = table("id", &[column("Code"), number("Rows")], false, rows).into_string();
        assert!(
            table.contains("<th scope=\"row\" data-label=\"Code\">a</th>"),
            "{table}"
        );
        assert!(
            table.contains("<td class=\"number\" data-label=\"Rows\">1</td>"),
            "{table}"
        );
        assert!(!table.contains("data-sortable"));
    }
}
