//! A byte buffer that is wiped before its memory is used for anything else.

use std::{io, mem, sync::Arc};

use super::{BufferPool, buffer_pool};

/// A buffer that is overwritten with zeros on drop, its spare room included.
///
/// `zeroize` writes one byte at a time, so that no compiler may leave a write out. That is right for keys.
/// For all bytes of all tokens, wiped four times on their way, it would be a quarter of a migration's CPU
/// time. Here the whole buffer is filled at once, and [`black_box`](std::hint::black_box) makes the compiler
/// assume that it is read afterwards. The standard library calls that best effort.
#[derive(Default)]
pub struct ZeroizingBuf {
    bytes: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl ZeroizingBuf {
    /// Returns a buffer with room for `bytes`: until they are used up it never moves, and leaves no copy
    /// behind.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self::new(None, bytes)
    }

    /// Returns a buffer with room for `bytes` whose memory comes from the pool, and goes back there.
    #[must_use]
    pub fn pooled(pool: &Arc<BufferPool>, bytes: usize) -> Self {
        Self::new(Some(Arc::clone(pool)), bytes)
    }

    fn new(pool: Option<Arc<BufferPool>>, room: usize) -> Self {
        let bytes = buffer_pool::take(pool.as_deref(), room);
        Self { bytes, pool }
    }

    /// Appends. If the room does not suffice, the content moves to a larger buffer, and the smaller one is
    /// wiped.
    pub fn extend(&mut self, bytes: &[u8]) {
        if let Some(room) = larger(self.bytes.len(), self.bytes.capacity(), bytes.len()) {
            let outgrown = mem::replace(self, Self::new(self.pool.clone(), room));
            self.bytes.extend_from_slice(&outgrown.bytes);
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// Returns the room of the next larger buffer, if `more` bytes do not fit.
pub(super) fn larger(used: usize, room: usize, more: usize) -> Option<usize> {
    (room - used < more).then(|| (used + more).max(2 * room))
}

impl io::Write for ZeroizingBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Vec<u8>> for ZeroizingBuf {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, pool: None }
    }
}

impl AsRef<[u8]> for ZeroizingBuf {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ZeroizingBuf {
    fn drop(&mut self) {
        buffer_pool::give_back(self.pool.as_deref(), mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_buffer_keeps_its_content_and_wipes_the_outgrown_memory() {
        let pool = Arc::default();
        let mut buffer = ZeroizingBuf::pooled(&pool, 200 << 10);
        let half = vec![b'a'; 150 << 10];
        buffer.extend(&half);
        assert_eq!(pool.count_wiped(), 0);
        buffer.extend(&half);
        assert_eq!(buffer.as_ref(), [half.clone(), half].concat());
        assert_eq!(pool.count_wiped(), 1);
        drop(buffer);
        assert_eq!(pool.count_wiped(), 2);
    }
}
