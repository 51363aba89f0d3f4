//! The one type that holds a token, a key or a password, and the arena that many of them share.

use std::{fmt, mem, ops::Range, sync::Arc};

use serde::{Deserialize, Deserializer};

use super::{BufferPool, buffer_pool, zeroizing_buf::larger};

/// A value that must never be printed: `Debug` is redacted, and there is no `Display` and no `Serialize`. The
/// memory is wiped once nobody holds the value, nor another one of the same arena.
#[derive(Clone)]
pub struct Secret {
    arena: Arc<SecretArena>,
    range: Range<usize>,
}

impl Secret {
    /// Takes the value. If the caller has a copy, wiping it is up to the caller.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        let text = value.into();
        let range = 0..text.len();
        let arena = Arc::new(SecretArena { text, pool: None });
        Self { arena, range }
    }

    /// Returns the value itself. Called only to encode a request, take a fingerprint or open a connection.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.arena.text[self.range.clone()]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Collects values that are dropped together, such as the tokens of a page: one piece of memory in place of
/// thousands that one thread allocates and another frees. No value can be read before the arena is frozen.
/// The memory is wiped on drop, frozen or not.
#[derive(Default)]
pub struct SecretArena {
    text: String,
    pool: Option<Arc<BufferPool>>,
}

/// A value in an arena that is not frozen yet.
#[derive(Debug)]
pub struct PendingSecret(Range<usize>);

/// An arena to which nothing more is added: its values can be read.
#[derive(Debug)]
pub struct FrozenArena(Arc<SecretArena>);

impl SecretArena {
    /// Returns an arena with room for `bytes` whose memory comes from the pool, and goes back there.
    #[must_use]
    pub fn pooled(pool: &Arc<BufferPool>, bytes: usize) -> Self {
        Self::new(Some(Arc::clone(pool)), bytes)
    }

    fn new(pool: Option<Arc<BufferPool>>, room: usize) -> Self {
        // An empty buffer is valid text.
        let text = String::from_utf8(buffer_pool::take(pool.as_deref(), room)).unwrap_or_default();
        Self { text, pool }
    }

    /// Adds a value.
    pub fn add(&mut self, value: &str) -> PendingSecret {
        if let Some(room) = larger(self.text.len(), self.text.capacity(), value.len()) {
            let outgrown = mem::replace(self, Self::new(self.pool.clone(), room));
            self.text.push_str(&outgrown.text);
        }
        let begin = self.text.len();
        self.text.push_str(value);
        PendingSecret(begin..self.text.len())
    }

    /// Returns the number of bytes that were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Tells whether no bytes were added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Ends adding.
    #[must_use]
    pub fn freeze(self) -> FrozenArena {
        FrozenArena(Arc::new(self))
    }
}

impl FrozenArena {
    /// Returns a value of this arena.
    #[must_use]
    pub fn secret(&self, pending: PendingSecret) -> Secret {
        Secret {
            arena: Arc::clone(&self.0),
            range: pending.0,
        }
    }
}

impl Drop for SecretArena {
    fn drop(&mut self) {
        buffer_pool::give_back(self.pool.as_deref(), mem::take(&mut self.text).into_bytes());
    }
}

impl fmt::Debug for SecretArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes, redacted]", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 200 << 10;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = Secret::new("ya29.very-secret");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert!(!format!("{:#?}", Some(&secret)).contains("secret"));
        let mut arena = SecretArena::default();
        let pending = arena.add("ya29.very-secret");
        assert!(!format!("{arena:?} {pending:?}").contains("secret"));
        assert!(!format!("{:?}", arena.freeze()).contains("secret"));
    }

    #[test]
    fn values_of_an_arena_are_kept_apart_although_it_grows() {
        let mut arena = SecretArena::pooled(&Arc::default(), 2);
        let pending = ["a", "", "\u{fc}", "bcd"].map(|value| arena.add(value));
        let frozen = arena.freeze();
        let secrets = pending.map(|pending| frozen.secret(pending));
        drop(frozen);
        assert_eq!(secrets.each_ref().map(Secret::reveal), ["a", "", "\u{fc}", "bcd"]);
    }

    #[test]
    fn memory_is_wiped_with_the_last_secret_of_an_arena() {
        let pool = Arc::default();
        let mut arena = SecretArena::pooled(&pool, ROOM);
        let pending = [arena.add("ya29.first"), arena.add("ya29.second")];
        let frozen = arena.freeze();
        let [first, second] = pending.map(|pending| frozen.secret(pending));
        drop((frozen, first));
        assert_eq!(pool.count_wiped(), 0);
        assert_eq!(second.reveal(), "ya29.second");
        drop(second);
        assert_eq!(pool.count_wiped(), 1);
    }

    #[test]
    fn memory_is_wiped_if_an_error_ends_the_page_before_it_is_frozen() {
        let pool = Arc::default();
        let fail = || -> Result<FrozenArena, fmt::Error> {
            let mut arena = SecretArena::pooled(&pool, ROOM);
            arena.add("ya29.secret");
            Err(fmt::Error)?;
            Ok(arena.freeze())
        };
        assert!(fail().is_err());
        assert_eq!(pool.count_wiped(), 1);
    }

    #[test]
    fn outgrown_memory_is_wiped() {
        let pool = Arc::default();
        let mut arena = SecretArena::pooled(&pool, ROOM);
        arena.add("ya29.secret");
        arena.add(&"x".repeat(ROOM));
        assert_eq!(pool.count_wiped(), 1);
    }
}
