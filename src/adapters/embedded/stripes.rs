//! Whether what was read before a write still stands when the write is made.
//!
//! Invariant: a stripe moves after a change under it is visible and before the change is answered. So who reads a
//! stripe first and a value second, and later finds the stripe unmoved, has the value that stands, unless the group in
//! the making changes it (`Group::touches`). Reading can thus be done by many threads, and only the check by one.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many that batches of thousands of keys seldom move each other's; a wrong guess only costs a second read.
const STRIPES: usize = 1 << 16;

pub struct Stripes(Vec<AtomicU32>);

/// What was read, and the stripe it was read under.
#[derive(Debug, Clone, Copy)]
pub struct Seen<T> {
    pub held: Option<T>,
    stripe: u32,
}

impl Default for Stripes {
    fn default() -> Self {
        Stripes((0..STRIPES).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Stripes {
    /// Reads a value such that `stands` can tell later.
    pub fn see<T>(
        &self,
        hash: u64,
        read: impl FnOnce() -> fjall::Result<Option<T>>,
    ) -> fjall::Result<Seen<T>> {
        let stripe = self.of(hash).map_or(0, |stripe| stripe.load(Ordering::Acquire));
        Ok(Seen { held: read()?, stripe })
    }

    pub fn stands<T>(&self, hash: u64, seen: &Seen<T>) -> bool {
        self.of(hash).is_some_and(|stripe| stripe.load(Ordering::Acquire) == seen.stripe)
    }

    /// Something under this hash has changed.
    pub fn moved(&self, hash: u64) {
        if let Some(stripe) = self.of(hash) {
            stripe.fetch_add(1, Ordering::Release);
        }
    }

    fn of(&self, hash: u64) -> Option<&AtomicU32> {
        self.0.get(hash as usize % STRIPES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stands_until_its_stripe_moves() {
        let stripes = Stripes::default();
        let seen = stripes.see(7, || Ok(Some(1))).expect("see");
        stripes.moved(8);
        assert!(stripes.stands(7, &seen));
        stripes.moved(7 + STRIPES as u64);
        assert!(!stripes.stands(7, &seen));
    }
}
