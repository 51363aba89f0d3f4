//! Large buffers that were wiped, and wait for their next use. A run needs the same few again and again, on one thread after
//! the other: taken from the allocator each time, their memory comes from the system and goes back to it, page by page.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Smaller ones the allocator has at hand, and larger ones are seldom.
const KEPT: RangeInclusive<usize> = 128 << 10..=4 << 20;

/// So many may wait.
const MOST: usize = 8;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for so many bytes, and not with room for many more.
pub(super) fn take(room: usize) -> Vec<u8> {
    let pool = KEPT.contains(&room).then(|| {
        let mut pool = lock();
        let fits = |buffer: &Vec<u8>| (room..=2 * room).contains(&buffer.capacity());
        let position = pool.iter().position(fits)?;
        Some(pool.swap_remove(position))
    });
    pool.flatten().unwrap_or_else(|| Vec::with_capacity(room))
}

/// Takes a buffer back that holds nothing but zeros.
pub(super) fn give_back(mut wiped: Vec<u8>) {
    if KEPT.contains(&wiped.capacity()) {
        wiped.clear();
        let mut pool = lock();
        if pool.len() < MOST {
            pool.push(wiped);
        }
    }
}

fn lock() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // Every change under the lock is complete before anything can panic.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_empty_and_has_the_room_that_was_asked_for() {
        for room in [0, 100, 200 << 10, 300 << 10, 5 << 20] {
            give_back(vec![0; 400 << 10]);
            let buffer = take(room);
            assert!(buffer.is_empty() && buffer.capacity() >= room, "{room}");
        }
    }
}
