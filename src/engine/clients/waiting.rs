//! What waits for one client in one stream's room: the newest change per key, in the order keys came.
//!
//! Invariant: a key waits once, with its newest change and the sum of the versions it stands for.
//! Not here: how much may wait (`clients`).

use crate::{engine::rooms::change::Change, record::Key};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, sync::Arc};

/// A change on its way to a client, with how many versions it stands for.
#[derive(Debug, Clone)]
pub struct Item {
    pub change: Arc<Change>,
    pub covers: u64,
}

#[derive(Debug, Default)]
pub struct Waiting {
    items: VecDeque<Item>,
    /// Where a key stands: its place counted from the first item there ever was.
    places: FxHashMap<Key, u64>,
    taken: u64,
    bytes: usize,
}

impl Waiting {
    pub fn put(&mut self, change: Arc<Change>, covers: u64) {
        let place = self.places.get(&change.key).map(|place| (place - self.taken) as usize);
        self.bytes += change.bytes();
        match place.and_then(|place| self.items.get_mut(place)) {
            Some(held) => {
                self.bytes -= held.change.bytes();
                held.change = change;
                held.covers += covers;
            }
            None => {
                self.places.insert(change.key.clone(), self.taken + self.items.len() as u64);
                self.items.push_back(Item { change, covers });
            }
        }
    }

    pub fn first(&self) -> Option<&Item> {
        self.items.front()
    }

    pub fn take(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.taken += 1;
        self.bytes -= item.change.bytes();
        self.places.remove(&item.change.key);
        Some(item)
    }

    pub fn clear(&mut self) {
        *self = Waiting::default();
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Json, Shown};

    fn change(key: &str, version: u64) -> Arc<Change> {
        let positions = format!("0.0.{version}").parse().expect("position");
        let value = Some(Json::from_checked("1"));
        let shown = Shown { key: key.into(), version, created_ms: 0, updated_ms: 0, positions, value };
        Change::of("kv", &shown)
    }

    #[test]
    fn a_key_waits_once_with_its_newest_change() {
        let mut waiting = Waiting::default();
        for (key, version, covers) in [("a", 1, 1), ("b", 1, 1), ("a", 4, 3), ("c", 1, 1), ("b", 2, 1)] {
            waiting.put(change(key, version), covers);
        }
        let first = waiting.take().expect("an item");
        assert_eq!((&*first.change.key, first.change.version, first.covers), ("a", 4, 4));
        waiting.put(change("a", 5), 1);
        waiting.put(change("b", 3), 1);
        let mut rest = Vec::new();
        while let Some(item) = waiting.take() {
            rest.push((item.change.key.to_string(), item.change.version, item.covers));
        }
        assert_eq!(rest, [("b".into(), 3, 3), ("c".into(), 1, 1), ("a".into(), 5, 1)]);
        assert_eq!((waiting.bytes(), waiting.len()), (0, 0));
    }
}
