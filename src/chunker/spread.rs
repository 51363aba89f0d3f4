//! Spreads witnesses over a page, so that each batch made of it holds one where there are enough.

use crate::domain::Item;

/// Moves items that `can_testify` into stretches that have none, each half as long as a batch may be:
/// wherever the batches begin, each then holds a whole stretch.
pub fn spread_witnesses(items: &mut [Item], max_tokens: usize, can_testify: impl Fn(&Item) -> bool) {
    let stretch = (max_tokens / 2).max(1);
    let lacking: Vec<usize> = items
        .chunks(stretch)
        .enumerate()
        .filter(|(_, items)| !items.iter().any(&can_testify))
        .map(|(number, _)| number * stretch)
        .collect();
    if lacking.is_empty() {
        return;
    }
    let spare: Vec<usize> = items
        .chunks(stretch)
        .enumerate()
        .flat_map(|(number, items)| {
            let able = items.iter().enumerate().filter(|(_, item)| can_testify(item));
            // The first of a stretch stays.
            able.skip(1).map(move |(position, _)| number * stretch + position)
        })
        .take(lacking.len())
        .collect();
    for (to, from) in lacking.into_iter().zip(spare) {
        items.swap(to, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Destination;

    fn items(keys: usize) -> Vec<Item> {
        (0..keys)
            .map(|key| Item::example(&key.to_string(), Destination::user("app", key.to_string())))
            .collect()
    }

    #[test]
    fn every_batch_of_a_page_holds_a_witness_wherever_batches_begin() {
        // All witnesses stand at the end, as rows that are new do.
        let mut page = items(1000);
        let is_new = |item: &Item| item.key.as_str().parse::<usize>().unwrap() >= 960;
        spread_witnesses(&mut page, 100, is_new);
        for begin in 0..100 {
            for batch in page[begin..].chunks_exact(100) {
                assert!(batch.iter().any(is_new), "from {begin}");
            }
        }
        let mut keys: Vec<usize> = page
            .iter()
            .map(|item| item.key.as_str().parse().unwrap())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_spread_already_stays_in_its_order() {
        let mut page = items(300);
        spread_witnesses(&mut page, 100, |_| true);
        spread_witnesses(&mut page, 100, |_| false);
        assert!(
            page.iter()
                .enumerate()
                .all(|(at, item)| item.key.as_str() == at.to_string())
        );
    }
}
