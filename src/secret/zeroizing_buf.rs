//! Bytes that do not outlive their use.

use std::{hint::black_box, io, mem};

use super::buffer_pool;

/// A buffer that is overwritten with zeros on drop, its spare room included.
///
/// `zeroize` writes one byte at a time, so that no compiler may leave a write out. That is right for keys; every byte of
/// every token, wiped four times on its way, makes it a quarter of a migration's CPU time. Here the whole buffer is filled
/// at once, and [`black_box`] has the compiler take it as read afterwards: it leaves the writes in, which the standard
/// library calls best effort.
#[derive(Clone, Default)]
pub struct ZeroizingBuf(Vec<u8>);

impl ZeroizingBuf {
    /// A buffer with room for so many bytes: within them it never moves, and leaves no copy behind.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(buffer_pool::take(bytes))
    }

    /// Appends. What does not fit moves into a larger buffer, and the smaller one is wiped.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            let room = (self.0.len() + bytes.len()).max(2 * self.0.capacity());
            let outgrown = mem::replace(self, Self::with_capacity(room));
            self.0.extend_from_slice(outgrown.as_ref());
        }
        self.0.extend_from_slice(bytes);
    }
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
        Self(bytes)
    }
}

impl AsRef<[u8]> for ZeroizingBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for ZeroizingBuf {
    fn drop(&mut self) {
        wipe(&mut self.0);
        buffer_pool::give_back(mem::take(&mut self.0));
    }
}

/// The same for text.
#[derive(Default)]
pub(super) struct ZeroizingText(String);

impl ZeroizingText {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        // Nothing is text in any encoding.
        Self(String::from_utf8(buffer_pool::take(bytes)).unwrap_or_default())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends, as [`ZeroizingBuf::extend`] does.
    pub(super) fn extend(&mut self, text: &str) {
        if self.0.capacity() - self.0.len() < text.len() {
            let room = (self.0.len() + text.len()).max(2 * self.0.capacity());
            let outgrown = mem::replace(self, Self::with_capacity(room));
            self.0.push_str(outgrown.as_str());
        }
        self.0.push_str(text);
    }
}

impl From<String> for ZeroizingText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Drop for ZeroizingText {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.0).into_bytes();
        wipe(&mut bytes);
        buffer_pool::give_back(bytes);
    }
}

fn wipe(bytes: &mut Vec<u8>) {
    let room = bytes.capacity();
    bytes.clear();
    bytes.resize(room, 0);
    black_box(bytes);
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
    fn a_buffer_that_grows_keeps_what_it_holds() {
        let mut buffer = ZeroizingBuf::with_capacity(4);
        for part in [b"ab", b"cd", b"ef"] {
            buffer.extend(part);
        }
        assert_eq!(buffer.as_ref(), b"abcdef");
    }
}
