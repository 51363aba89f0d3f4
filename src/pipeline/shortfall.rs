//! Shortfall: whether a source held fewer rows than expected when a run ended: a table that is emptied and filled again in two
//! transactions, or loses a partition meanwhile, ends early like one that was read to its end.

use tracing::warn;

use crate::{
    domain::Selection,
    ledger::{Ledger, LedgerError, Run},
    reader::Source,
};

/// Rows may come and go while a run is on its way; so many make no difference.
const FEW: i64 = 20;

/// How many rows there should be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    /// When the process began, if they could be counted.
    counted: Option<i64>,
    /// In earlier runs that came to the end of them.
    before: Option<i64>,
}

impl Expected {
    /// Counts, where all rows are read, and gives the planner's idea besides where that takes too long.
    pub(super) async fn of(
        source: &mut Source,
        ledger: &Ledger,
        run: &Run,
        selection: &Selection,
    ) -> Result<(Self, Option<u64>), LedgerError> {
        // How many of the rows a part of them is, nobody knows.
        if *selection != Selection::All {
            return Ok((Self::default(), None));
        }
        let counted = source.count_rows().await;
        let about = match counted {
            Some(rows) => Some(rows),
            None => source.expected_rows().await,
        };
        let expected = Self {
            counted: counted.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX)),
            before: ledger.rows_read_before(run).await?,
        };
        Ok((expected, about))
    }

    /// What is to be said of a run that read so many rows and found no more.
    pub(super) fn shortfall(self, read: i64) -> Option<String> {
        // Where all are gone, there need not have been many.
        let is_short = |rows: i64, least: i64| (rows > 0 && read == 0) || (rows - read > FEW && read < least);
        let (what, until) = match self {
            // More than a tenth is gone.
            Self {
                counted: Some(rows), ..
            } if is_short(rows, rows / 10 * 9) => (
                format!("the source held {rows} rows when it began, and only {read} were there to be read"),
                "",
            ),
            // From one run to the next, more may have gone for good.
            Self {
                before: Some(rows), ..
            } if is_short(rows, rows / 2) => (
                format!("an earlier complete run read {rows} rows, and this one found {read}"),
                "; if they were, runs say so for 30 days",
            ),
            _ => return None,
        };
        warn!(
            "{what}: it may have been emptied and filled again, or have lost a partition. Run again once it is whole"
        );
        Some(format!(
            "{what}; if the others were not deleted for good, run again once the source is whole{until}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
