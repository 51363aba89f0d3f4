//! Order keys: texts whose byte order is that of the source's keys, as far as it can be told.
//!
//! A packed batch is found by the range of its tokens' order keys. Nothing depends on their order but how
//! many batches a lookup meets: the same key always has the same order key, so it is never outside of the
//! range of its batch. So it must stay what it is: ledgers hold ranges of it.

use std::{borrow::Cow, ops::RangeInclusive};

/// More characters do not help to tell ranges apart, and an index cannot hold texts of any length.
const MOST_CHARS: usize = 128;

/// Returns the order key of a row. Keys of digits come in the order of their numbers: the number of digits
/// stands in front. Most databases order texts by letters first, and by case after that.
pub(super) fn order_key(key: &str) -> Cow<'_, str> {
    let mut order_key = if key.bytes().all(|byte| byte.is_ascii_digit()) {
        Cow::Owned(format!("{:03}{key}", key.len()))
    } else if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(key.to_ascii_lowercase())
    } else {
        Cow::Borrowed(key)
    };
    if let Some((end, _)) = order_key.char_indices().nth(MOST_CHARS) {
        order_key = Cow::Owned(order_key[..end].to_owned());
    }
    order_key
}

/// Returns the least and the greatest order key; `None` if there are no keys.
pub(super) fn order_key_range<'a>(keys: impl Iterator<Item = &'a str>) -> Option<RangeInclusive<String>> {
    let mut range: Option<(Cow<'a, str>, Cow<'a, str>)> = None;
    for key in keys.map(order_key) {
        match &mut range {
            None => range = Some((key.clone(), key)),
            Some((least, _)) if key < *least => *least = key,
            Some((_, greatest)) if key > *greatest => *greatest = key,
            Some(_) => {}
        }
    }
    range.map(|(least, greatest)| least.into_owned()..=greatest.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_their_order_and_letters_without_regard_to_case() {
        let ordered = ["7", "10", "99", "100", "20000", "a", "A1", "B10", "b9", "ä"];
        assert!(
            ordered
                .windows(2)
                .all(|pair| order_key(pair[0]) < order_key(pair[1]))
        );
    }

    #[test]
    fn every_key_is_within_the_range_of_its_batch_however_long_it_is() {
        let long = "ä".repeat(500);
        let keys = ["5", "", "-3", "12", &long, "0012", "Zürich"];
        let range = order_key_range(keys.into_iter()).unwrap();
        assert!(
            keys.iter()
                .all(|key| range.contains(&order_key(key).into_owned()))
        );
        assert!(range.end().len() <= 2 * MOST_CHARS);
        assert_eq!(order_key_range(std::iter::empty()), None);
    }
}
