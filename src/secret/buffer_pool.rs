//! Buffers of one run that were wiped and can be used again. A run needs the same few large ones over and
//! over, on one thread after the other. From the allocator, their memory would come from the system and go
//! back to it each time.

use std::{
    fmt,
    hint::black_box,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Capacities that are kept: the allocator has smaller ones at hand, and larger ones are rare.
const KEPT: RangeInclusive<usize> = 128 << 10..=4 << 20;

/// The most buffers that are kept.
const MAX_IDLE: usize = 8;

/// The idle buffers of a run. They hold nothing but zeros.
#[derive(Default)]
pub struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} idle)", self.idle().len())
    }
}

/// Returns an empty buffer that has `room` bytes, and at most twice as many if it comes from the pool.
pub(super) fn take(pool: Option<&BufferPool>, room: usize) -> Vec<u8> {
    let idle = pool.filter(|_| KEPT.contains(&room)).and_then(|pool| {
        let mut idle = pool.idle();
        let fits = |buffer: &Vec<u8>| (room..=2 * room).contains(&buffer.capacity());
        let position = idle.iter().position(fits)?;
        Some(idle.swap_remove(position))
    });
    match idle {
        Some(mut buffer) => {
            buffer.clear();
            buffer
        }
        None => Vec::with_capacity(room),
    }
}

/// Wipes a buffer, and keeps it for reuse if there is a pool.
pub(super) fn give_back(pool: Option<&BufferPool>, mut buffer: Vec<u8>) {
    wipe(&mut buffer);
    if let Some(pool) = pool.filter(|_| KEPT.contains(&buffer.capacity())) {
        let mut idle = pool.idle();
        if idle.len() < MAX_IDLE {
            idle.push(buffer);
        }
    }
}

/// Fills the whole capacity with zeros.
fn wipe(bytes: &mut Vec<u8>) {
    let room = bytes.capacity();
    bytes.clear();
    bytes.resize(room, 0);
    black_box(bytes);
}

#[cfg(test)]
impl BufferPool {
    /// Counts the idle buffers, all of which must hold zeros only.
    pub(super) fn count_wiped(&self) -> usize {
        let idle = self.idle();
        for buffer in idle.iter() {
            assert_eq!(buffer.len(), buffer.capacity());
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
        idle.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_reaches_the_spare_room_and_moves_nothing() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"ya29.secret");
        let place = bytes.as_ptr();
        bytes.truncate(4);
        wipe(&mut bytes);
        assert_eq!((bytes.as_ptr(), bytes.len()), (place, bytes.capacity()));
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_buffer_is_empty_and_has_the_requested_room() {
        let pool = BufferPool::default();
        for room in [0, 100, 200 << 10, 300 << 10, 5 << 20] {
            give_back(Some(&pool), vec![1; 400 << 10]);
            let buffer = take(Some(&pool), room);
            assert!(buffer.is_empty() && buffer.capacity() >= room, "{room}");
        }
    }

    #[test]
    fn only_a_limited_number_of_large_wiped_buffers_is_kept() {
        let pool = BufferPool::default();
        give_back(Some(&pool), vec![1; 100]);
        assert_eq!(pool.count_wiped(), 0);
        for _ in 0..2 * MAX_IDLE {
            give_back(Some(&pool), vec![1; 200 << 10]);
        }
        assert_eq!(pool.count_wiped(), MAX_IDLE);
    }
}
