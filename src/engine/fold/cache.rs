//! The entities a writer holds between batches, in slots, under a byte bound.
//!
//! Invariant: what is held belongs to one assignment of its partition; under another assignment it counts as not held
//! and is loaded again (semantics 2). Slots in use by a batch are never evicted: eviction runs between batches.
//! Not here: steps, and what readers see (`view`).

use crate::{
    document::Document,
    origin::Origins,
    record::{Key, Position},
};
use rustc_hash::FxHashMap;

/// Names a slot until the next eviction.
pub type SlotId = u32;

/// What a key holds, decoded.
#[derive(Debug, Clone)]
pub struct Held<E> {
    pub version: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub position: Position,
    pub origins: Origins,
    /// `None`: removed.
    pub entity: Option<E>,
}

#[derive(Debug)]
pub struct Slot<E> {
    pub key: Key,
    pub partial: Option<u32>,
    pub assignment: u64,
    /// `None`: the store has nothing of this key.
    pub held: Option<Held<E>>,
    /// The version the batch under way folds from.
    pub base_version: u64,
    /// Records of the batch under way that this key took in.
    pub applied: u64,
    /// The batch under way names this slot.
    pub in_batch: bool,
    /// What the batch under way is to write.
    pub pending: Option<Document>,
    bytes: usize,
    referenced: bool,
}

#[derive(Debug)]
pub struct Cache<E> {
    /// One map per partial partition; streams routed by key have the one of `None`.
    index: Vec<(Option<u32>, FxHashMap<Key, SlotId>)>,
    slots: Vec<Slot<E>>,
    free: Vec<SlotId>,
    bytes: usize,
    bytes_max: usize,
    hand: usize,
}

/// What a look into the cache found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub slot: SlotId,
    /// Nothing valid is held: it has to be loaded.
    pub missing: bool,
}

/// What a slot costs beside the text of its key and its entity: its place in a list that has grown by half too much, its
/// place in an index that is two thirds full, and the heads of two shared texts with what an allocator rounds up.
const fn slot_bytes<E>() -> usize {
    size_of::<Slot<E>>() * 3 / 2 + (size_of::<Key>() + size_of::<SlotId>()) * 3 / 2 + 2 * (16 + 8)
}

impl<E> Cache<E> {
    pub fn new(bytes_max: usize) -> Self {
        Cache { index: Vec::new(), slots: Vec::new(), free: Vec::new(), bytes: 0, bytes_max, hand: 0 }
    }

    /// The slot of a key under an assignment; makes an empty one where there is none.
    pub fn find(&mut self, key: &str, partial: Option<u32>, assignment: u64) -> Found {
        let map = self.map(partial);
        if let Some(&slot) = map.get(key) {
            return self.hit(slot, assignment);
        }
        let key: Key = key.into();
        let slot = self.allocate(key.clone(), partial, assignment);
        self.map(partial).insert(key, slot);
        Found { slot, missing: true }
    }

    fn hit(&mut self, slot: SlotId, assignment: u64) -> Found {
        let Some(held) = self.slots.get_mut(slot as usize) else { return Found { slot, missing: true } };
        held.referenced = true;
        let missing = held.assignment != assignment;
        if missing {
            held.assignment = assignment;
            held.held = None;
        }
        Found { slot, missing }
    }

    fn map(&mut self, partial: Option<u32>) -> &mut FxHashMap<Key, SlotId> {
        let at = match self.index.iter().position(|(p, _)| *p == partial) {
            Some(at) => at,
            None => {
                self.index.push((partial, FxHashMap::default()));
                self.index.len() - 1
            }
        };
        #[allow(clippy::indexing_slicing)] // `at` was found or pushed just above
        &mut self.index[at].1
    }

    fn allocate(&mut self, key: Key, partial: Option<u32>, assignment: u64) -> SlotId {
        let bytes = slot_bytes::<E>() + key.len();
        self.bytes += bytes;
        let slot = Slot {
            key,
            partial,
            assignment,
            held: None,
            base_version: 0,
            applied: 0,
            in_batch: false,
            pending: None,
            bytes,
            referenced: false,
        };
        match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.slots.get_mut(id as usize) {
                    *place = slot;
                }
                id
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as SlotId
            }
        }
    }

    /// What the bound is held against.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, slot: SlotId) -> Option<&Slot<E>> {
        self.slots.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: SlotId) -> Option<&mut Slot<E>> {
        self.slots.get_mut(slot as usize)
    }

    /// Forgets what an ended batch left in doubt: the next use loads it.
    pub fn doubt(&mut self, slot: SlotId) {
        if let Some(slot) = self.get_mut(slot) {
            slot.assignment = 0;
            slot.held = None;
        }
    }

    /// Accounts for the size of what a slot now holds.
    pub fn weigh(&mut self, slot: SlotId, entity_bytes: usize) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let origins_bytes = place.held.as_ref().map_or(0, |held| held.origins.size());
        let bytes = slot_bytes::<E>() + place.key.len() + entity_bytes + origins_bytes;
        self.bytes = self.bytes - place.bytes + bytes;
        place.bytes = bytes;
    }

    /// Drops slots that were not used lately until the bound holds; returns how many went.
    pub fn evict(&mut self) -> u64 {
        let (mut evicted, mut looked) = (0, 0);
        while self.bytes > self.bytes_max && looked < self.slots.len() * 2 {
            looked += 1;
            self.hand = if self.hand + 1 >= self.slots.len() { 0 } else { self.hand + 1 };
            evicted += u64::from(self.evict_at(self.hand));
        }
        evicted
    }

    fn evict_at(&mut self, at: usize) -> bool {
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot.bytes == 0 || slot.in_batch {
            return false;
        }
        if std::mem::take(&mut slot.referenced) {
            return false;
        }
        self.bytes -= std::mem::take(&mut slot.bytes);
        slot.held = None;
        let (key, partial) = (slot.key.clone(), slot.partial);
        self.map(partial).remove(&key);
        self.free.push(at as SlotId);
        true
    }
}

impl<E> Slot<E> {
    /// The document of this slot, with its entity as the caller encoded it.
    pub fn document(&self, held: &Held<E>, value: Option<crate::document::Json>) -> Document {
        Document {
            key: self.key.clone(),
            partial: self.partial,
            version: held.version,
            created_ms: held.created_ms,
            updated_ms: held.updated_ms,
            position: held.position,
            value,
            origins: held.origins.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(version: u64) -> Held<u32> {
        let position = Position { epoch: 0, partition: 0, offset: version };
        Held { version, created_ms: 0, updated_ms: 0, position, origins: Origins::default(), entity: Some(1) }
    }

    #[test]
    fn what_another_assignment_held_is_loaded_again() {
        let mut cache = Cache::new(1 << 20);
        let found = cache.find("k", None, 1);
        assert!(found.missing);
        cache.get_mut(found.slot).expect("slot").held = Some(held(1));
        assert_eq!(cache.find("k", None, 1), Found { slot: found.slot, missing: false });
        assert_eq!(cache.find("k", None, 2), Found { slot: found.slot, missing: true });
        assert!(cache.get(found.slot).expect("slot").held.is_none());
    }

    #[test]
    fn partials_of_one_key_are_apart() {
        let mut cache = Cache::<u32>::new(1 << 20);
        assert_ne!(cache.find("k", Some(0), 1).slot, cache.find("k", Some(1), 1).slot);
    }

    #[test]
    fn the_bound_holds_and_what_was_used_again_stays() {
        let mut cache = Cache::<u32>::new(100 * (slot_bytes::<u32>() + 4));
        for i in 0..150 {
            cache.find(&format!("{i:04}"), None, 1);
        }
        cache.find("0003", None, 1);
        assert!(cache.evict() >= 50);
        assert!(cache.bytes <= cache.bytes_max);
        assert!(!cache.find("0003", None, 1).missing);
        for i in 0..1000 {
            cache.find(&format!("{i:04}"), None, 1);
            cache.evict();
        }
        assert!(cache.slots.len() <= 152, "slots are used again: {}", cache.slots.len());
    }

    #[test]
    fn a_slot_in_a_batch_is_not_evicted() {
        let mut cache = Cache::<u32>::new(0);
        let found = cache.find("k", None, 1);
        cache.get_mut(found.slot).expect("slot").in_batch = true;
        assert_eq!(cache.evict(), 0);
        assert_eq!(cache.find("k", None, 1).slot, found.slot);
    }
}
