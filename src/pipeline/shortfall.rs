//! Shortfall: a source with fewer rows than expected at the end of a run. A table that is emptied and
//! refilled in two transactions, or loses a partition, ends early but looks complete.

use tracing::warn;

use crate::{
    domain::Selection,
    ledger::{Ledger, LedgerError, Run},
    reader::Source,
};

/// Rows may come and go during a run; differences up to this are ignored.
const FEW: i64 = 20;

/// The expected number of rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    /// At the start of the process, if they could be counted.
    counted: Option<i64>,
    /// In earlier complete runs.
    before: Option<i64>,
}

impl Expected {
    /// Counts the rows if all are selected. If that takes too long, the number of an earlier complete run is
    /// expected, or else the planner's estimate.
    pub(super) async fn of(
        source: &mut Source,
        ledger: &Ledger,
        run: &Run,
        selection: &Selection,
    ) -> Result<(Self, Option<u64>), LedgerError> {
        // For a partial selection, the expected number is unknown.
        if *selection != Selection::All {
            return Ok((Self::default(), None));
        }
        let counted = source.count_rows().await;
        let before = ledger.rows_read_before(run).await?;
        let about = match known(counted, before) {
            Some(rows) => Some(rows),
            None => source.expected_rows().await,
        };
        let expected = Self {
            counted: counted.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX)),
            before,
        };
        Ok((expected, about))
    }

    /// Returns a remark for a run that read fewer rows than expected.
    pub(super) fn shortfall(self, read: i64) -> Option<String> {
        // If all rows are gone, any number counts.
        let is_short = |rows: i64, least: i64| (rows > 0 && read == 0) || (rows - read > FEW && read < least);
        let (what, until) = match self {
            // More than a tenth is missing.
            Self {
                counted: Some(rows), ..
            } if is_short(rows, rows / 10 * 9) => (
                format!("the source had {rows} rows at the start, but only {read} could be read"),
                "",
            ),
            // Between runs, more rows may have been deleted for good.
            Self {
                before: Some(rows), ..
            } if is_short(rows, rows / 2) => (
                format!("an earlier complete run read {rows} rows, but this one found {read}"),
                "; if they were, runs report this for 30 days",
            ),
            _ => return None,
        };
        warn!(
            "{what}: the source may have been emptied and refilled, or have lost a partition. Run again once it is complete"
        );
        Some(format!(
            "{what}; if the others were not deleted permanently, run again once the source is complete{until}"
        ))
    }
}

/// Returns the number of rows as counted now or, as that beats the planner, by a run that read all of them.
fn known(counted: Option<u64>, before: Option<i64>) -> Option<u64> {
    let before = before.and_then(|rows| u64::try_from(rows).ok());
    counted.or(before.filter(|rows| *rows > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_complete_run_stands_in_for_a_count() {
        assert_eq!(known(Some(5), Some(7)), Some(5));
        assert_eq!(known(None, Some(7)), Some(7));
        assert_eq!((known(None, Some(0)), known(None, None)), (None, None));
    }

    #[test]
    fn what_comes_and_goes_is_no_shortfall() {
        let short = |counted, before, read| Expected { counted, before }.shortfall(read).is_some();
        assert!(short(Some(6000), None, 1500) && short(Some(6000), Some(6000), 5000));
        assert!(!short(Some(6000), None, 5990) && !short(Some(30), None, 15) && !short(None, None, 0));
        assert!(short(Some(1500), Some(6000), 1500) && !short(Some(4000), Some(6000), 4000));
        assert!(short(Some(0), Some(3), 0) && short(Some(3), None, 0) && !short(Some(3), Some(5), 3));
        assert!(!short(Some(0), None, 0) && !short(Some(0), Some(0), 0) && !short(Some(6000), None, 7000));
    }
}
