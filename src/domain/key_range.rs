//! Key ranges of the source, and digests of their rows.

use std::ops::AddAssign;

use super::SourceKey;

/// A digest of rows that does not depend on their order: the sum of a keyed hash of each row. The sum of two
/// digests is the digest of both sets of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsDigest {
    /// The number of rows.
    pub rows: i64,
    /// The sum of their hashes.
    pub sum: i128,
}

impl RowsDigest {
    /// Adds a row.
    pub fn add(&mut self, hash: i64) {
        self.rows += 1;
        self.sum += i128::from(hash);
    }
}

impl AddAssign for RowsDigest {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum += other.sum;
    }
}

/// The rows with keys after one key, up to another one and including it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange<D> {
    /// The key before the range; `None` if it begins with the first row.
    pub after: Option<SourceKey>,
    /// The last key.
    pub until: SourceKey,
    /// The digest of its rows.
    pub digest: D,
}

/// Ranges of which every row is stored as it is in the source, in the order of their keys.
#[derive(Debug, Default)]
pub struct CleanRanges {
    ranges: Vec<KeyRange<RowsDigest>>,
}

impl CleanRanges {
    /// Adds the range that follows. Neighbours become one range of at most `max_rows` rows, so that ranges
    /// that were split by changes do not stay small.
    pub fn push(&mut self, next: KeyRange<RowsDigest>, max_rows: i64) {
        match self.ranges.last_mut() {
            Some(last)
                if next.after.as_ref() == Some(&last.until)
                    && last.digest.rows + next.digest.rows <= max_rows =>
            {
                last.until = next.until;
                last.digest += next.digest;
            }
            _ => self.ranges.push(next),
        }
    }

    /// Returns the ranges.
    #[must_use]
    pub fn into_vec(self) -> Vec<KeyRange<RowsDigest>> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: Option<&str>, until: &str, rows: i64) -> KeyRange<RowsDigest> {
        KeyRange {
            after: after.map(SourceKey::from),
            until: SourceKey::from(until),
            digest: RowsDigest {
                rows,
                sum: i128::from(rows),
            },
        }
    }

    #[test]
    fn neighbours_become_one_range_and_others_do_not() {
        let mut clean = CleanRanges::default();
        clean.push(range(None, "a", 3), 5);
        clean.push(range(Some("a"), "b", 2), 5);
        clean.push(range(Some("b"), "c", 1), 5);
        // Between c and d something is not clean.
        clean.push(range(Some("d"), "e", 1), 5);
        assert_eq!(
            clean.into_vec(),
            [
                range(None, "b", 5),
                range(Some("b"), "c", 1),
                range(Some("d"), "e", 1)
            ]
        );
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_each_row_does() {
        let of = |hashes: &[i64]| {
            let mut digest = RowsDigest::default();
            for &hash in hashes {
                digest.add(hash);
            }
            digest
        };
        assert_eq!(of(&[i64::MAX, i64::MIN, 3]), of(&[3, i64::MAX, i64::MIN]));
        assert_ne!(of(&[1, 2]), of(&[3, 0, 0]));
        assert_ne!(of(&[1]), of(&[2]));
    }
}
