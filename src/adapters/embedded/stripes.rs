//! Whether what was read before a write still stands when the write is made.
//!
//! Invariant: a stripe moves after a change under it is visible and before the change is answered. So who reads a
//! stripe first and a value second, and later finds the stripe unmoved, has the value that stands, unless the group in
//! the making changes it (`Group::touches`). Reading can thus be done by many threads, and only the check by one; and
//! what was read for the engine (`load`) need not be read again for the guard of the write that follows.

use super::document::Head;
use fjall::Slice;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

/// So many that batches of thousands of keys seldom move each other's; a wrong guess only costs a second read.
const STRIPES: usize = 1 << 16;
/// Heads remembered: what the batches of a few writers load before they write. About 4 MiB when full.
const REMEMBERED: usize = 1 << 15;

pub struct Stripes {
    moves: Vec<AtomicU32>,
    remembered: Vec<Place>,
}

/// The document last remembered under some hash: its name, and what was seen of it.
type Place = Mutex<Option<(Slice, Seen<Head>)>>;

/// What was read, and the stripe it was read under.
#[derive(Debug, Clone, Copy)]
pub struct Seen<T> {
    pub held: Option<T>,
    stripe: u32,
}

impl Default for Stripes {
    fn default() -> Self {
        Stripes {
            moves: (0..STRIPES).map(|_| AtomicU32::new(0)).collect(),
            remembered: (0..REMEMBERED).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Stripes {
    /// The stripe to read before a value that `Seen::new` is to hold.
    pub fn now(&self, hash: u64) -> u32 {
        self.moves.get(hash as usize % STRIPES).map_or(0, |stripe| stripe.load(Ordering::Acquire))
    }

    pub fn stands<T>(&self, hash: u64, seen: &Seen<T>) -> bool {
        self.now(hash) == seen.stripe
    }

    /// Something under this hash has changed.
    pub fn moved(&self, hash: u64) {
        if let Some(stripe) = self.moves.get(hash as usize % STRIPES) {
            stripe.fetch_add(1, Ordering::Release);
        }
    }

    /// Keeps what was seen of a document until another takes its place.
    pub fn remember(&self, hash: u64, name: Slice, seen: Seen<Head>) {
        if let Some(place) = self.place(hash) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, seen));
        }
    }

    /// What was seen of a document, if that still stands.
    pub fn recall(&self, hash: u64, name: &[u8]) -> Option<Seen<Head>> {
        let place = self.place(hash)?.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, seen) = place.as_ref().filter(|(held, _)| **held == *name)?;
        self.stands(hash, seen).then_some(*seen)
    }

    fn place(&self, hash: u64) -> Option<&Place> {
        self.remembered.get((hash >> 32) as usize % REMEMBERED)
    }
}

impl<T> Seen<T> {
    pub fn new(held: Option<T>, stripe: u32) -> Self {
        Seen { held, stripe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Position;

    #[test]
    fn what_was_seen_stands_until_its_stripe_moves() {
        let stripes = Stripes::default();
        let seen = Seen::new(Some(1), stripes.now(7));
        stripes.moved(8);
        assert!(stripes.stands(7, &seen));
        stripes.moved(7 + STRIPES as u64);
        assert!(!stripes.stands(7, &seen));
    }

    #[test]
    fn a_head_is_recalled_by_its_own_name_while_it_stands() {
        let stripes = Stripes::default();
        let position = Position { epoch: 0, partition: 0, offset: 1 };
        let head = Head { version: 1, created_ms: 0, updated_ms: 0, position, alive: true, expires_ms: None };
        stripes.remember(7, b"a".into(), Seen::new(Some(head), stripes.now(7)));
        assert_eq!(stripes.recall(7, b"a").and_then(|seen| seen.held), Some(head));
        assert!(stripes.recall(7, b"b").is_none(), "another name of the same hash");
        stripes.moved(7);
        assert!(stripes.recall(7, b"a").is_none());
    }
}
