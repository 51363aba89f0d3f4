//! Columns for `unnest`: the rows of an insert as one vector per column.

use crate::domain::{Destination, Reason};

/// Returns one column with a value for each row.
pub(super) fn column<'a, T, V>(rows: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// The columns of a destination.
pub(super) struct DestinationColumns<'a> {
    pub(super) apps: Vec<Option<&'a str>>,
    pub(super) users: Vec<Option<&'a str>>,
    pub(super) tenants: Vec<Option<&'a str>>,
}

impl<'a> DestinationColumns<'a> {
    /// Takes for each row its destination, and the app to use if it has none.
    pub(super) fn new<T>(
        rows: &'a [T],
        value: impl Fn(&'a T) -> (Option<&'a Destination>, Option<&'a str>),
    ) -> Self {
        let values = column(rows, value);
        Self {
            apps: column(&values, |(at, app)| {
                at.map_or(*app, |at| Some(at.app_id.as_str()))
            }),
            users: column(&values, |(at, _)| at.and_then(|at| at.user_id.as_deref())),
            tenants: column(&values, |(at, _)| at.and_then(|at| at.tenant_id.as_deref())),
        }
    }
}

/// The columns of a reason.
pub(super) struct ReasonColumns<'a> {
    pub(super) refused_by: Vec<Option<&'a str>>,
    pub(super) codes: Vec<Option<&'a str>>,
    pub(super) texts: Vec<Option<&'a str>>,
}

impl<'a> ReasonColumns<'a> {
    pub(super) fn new<T>(rows: &'a [T], value: impl Fn(&'a T) -> Option<&'a Reason>) -> Self {
        let reasons = column(rows, value);
        Self {
            refused_by: column(&reasons, |reason| reason.map(|reason| reason.refused_by.as_str())),
            codes: column(&reasons, |reason| reason.map(|reason| reason.code.as_ref())),
            texts: column(&reasons, |reason| reason.map(|reason| reason.text.as_str())),
        }
    }
}
