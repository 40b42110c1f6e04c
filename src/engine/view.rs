//! The current entities, for readers: bounded memory beside the store.
//!
//! Invariant: an entry is shown only while this instance owns the partition it came from, under the same assignment;
//! an entry never goes back to an older position. Not here: asking the store on a miss (`read`).

use crate::{
    document::{Document, Positions, Shown},
    record::Key,
};
use dashmap::DashMap;
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The documents of one key: one, or one per partial.
type Documents = SmallVec<[Document; 1]>;

#[derive(Debug)]
struct Entry {
    documents: Documents,
    /// Every partial is here (always so without partials).
    complete: bool,
    used: bool,
    bytes: usize,
}

/// Which assignment of which partition is ours now.
#[derive(Debug, Default)]
pub struct Owned(DashMap<u32, u64>);

impl Owned {
    pub fn take(&self, partition: u32, assignment: u64) {
        self.0.insert(partition, assignment);
    }

    pub fn give_up(&self, partition: u32, assignment: u64) {
        self.0.remove_if(&partition, |_, held| *held == assignment);
    }

    pub fn has(&self, partition: u32) -> bool {
        self.0.contains_key(&partition)
    }

    pub fn assignment(&self, partition: u32) -> Option<u64> {
        self.0.get(&partition).map(|assignment| *assignment)
    }

    /// Partitions with the assignments under which they are ours, in order.
    pub fn assignments(&self) -> Vec<(u32, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|entry| (*entry.key(), *entry.value())).collect();
        all.sort_unstable();
        all
    }

    pub fn partitions(&self) -> Vec<u32> {
        let mut partitions: Vec<u32> = self.0.iter().map(|entry| *entry.key()).collect();
        partitions.sort_unstable();
        partitions
    }
}

#[derive(Debug)]
pub struct View {
    entries: DashMap<Key, Entry, rustc_hash::FxBuildHasher>,
    /// Keys in the order they came, for eviction; a key used since gets a second turn.
    order: Mutex<VecDeque<Key>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// What an entry costs beside the text of key and value: its place in a table that is two thirds full, its place in the
/// order, and the heads of two shared texts with what an allocator rounds up.
const ENTRY_BYTES: usize =
    (size_of::<Entry>() + size_of::<Key>()) * 3 / 2 + 2 * size_of::<Key>() + 2 * (16 + 8);

impl View {
    pub fn new(bytes_max: usize) -> Self {
        View {
            entries: DashMap::with_hasher(rustc_hash::FxBuildHasher),
            order: Mutex::default(),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Takes in a document the store has confirmed. `false`: something newer is already here.
    pub fn take_in(&self, document: &Document) -> bool {
        if self.bytes_max == 0 {
            return true;
        }
        let bytes = size(document);
        if let Some(mut entry) = self.entries.get_mut(&document.key) {
            return self.replace(&mut entry, document, bytes);
        }
        let complete = document.partial.is_none();
        let documents = SmallVec::from_elem(document.clone(), 1);
        self.entries.insert(document.key.clone(), Entry { documents, complete, used: false, bytes });
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.remember(document.key.clone());
        self.evict();
        true
    }

    fn remember(&self, key: Key) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(key);
        // Keys that were forgotten, or dropped with their partition, leave their places behind.
        if order.len() > 2 * self.entries.len() + 1024 {
            let mut seen = rustc_hash::FxHashSet::default();
            order.retain(|key| self.entries.contains_key(key) && seen.insert(key.clone()));
        }
    }

    fn replace(&self, entry: &mut Entry, document: &Document, bytes: usize) -> bool {
        match entry.documents.iter_mut().find(|held| held.partial == document.partial) {
            Some(held) if is_older(document, held) => return false,
            Some(held) => {
                entry.bytes += bytes;
                entry.bytes = entry.bytes.saturating_sub(size(held));
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.bytes.fetch_sub(size(held), Ordering::Relaxed);
                *held = document.clone();
            }
            None => {
                entry.bytes += bytes;
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                entry.documents.push(document.clone());
            }
        }
        true
    }

    /// Makes an entry of partials whole with what the store has of the others.
    pub fn complete(&self, key: &str, others: &[Document]) {
        for document in others {
            self.take_in(document);
        }
        if let Some(mut entry) = self.entries.get_mut(key) {
            entry.complete = true;
        }
    }

    /// The documents of a key, if all of them are here and current.
    pub fn documents(&self, key: &str, owned: &Owned) -> Option<SmallVec<[Document; 1]>> {
        let mut entry = self.entries.get_mut(key)?;
        entry.used = true;
        let current = entry.complete && entry.documents.iter().all(|d| owned.has(d.position.partition));
        current.then(|| entry.documents.clone())
    }

    /// Drops what came from a partition that is no longer ours, or not yet ours again.
    pub fn drop_partition(&self, partition: u32) {
        self.entries.retain(|_, entry| {
            let keep = entry.documents.iter().all(|d| d.position.partition != partition);
            if !keep {
                self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
            }
            keep
        });
    }

    /// Drops a key whose tombstone was forgotten.
    pub fn forget(&self, key: &str) {
        if let Some((_, entry)) = self.entries.remove(key) {
            self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
        }
    }

    fn evict(&self) {
        let mut turns = 0;
        while self.bytes.load(Ordering::Relaxed) > self.bytes_max && turns < 64 {
            turns += 1;
            let oldest = self.order.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(key) = oldest else { return };
            let kept = self.entries.get_mut(&key).is_some_and(|mut entry| std::mem::take(&mut entry.used));
            if kept {
                self.order.lock().unwrap_or_else(PoisonError::into_inner).push_back(key);
            } else {
                self.forget(&key);
            }
        }
    }

    /// What the bound is held against.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn size(document: &Document) -> usize {
    ENTRY_BYTES + document.key.len() + document.value.as_ref().map_or(0, |v| v.text().len())
}

/// Within a partition by position; across partitions (the key moved) by record time.
fn is_older(new: &Document, held: &Document) -> bool {
    match new.position.order(&held.position) {
        Some(order) => order.is_lt(),
        None => new.updated_ms < held.updated_ms,
    }
}

/// One entity out of its documents as they stand, without the app's merge: for streams that have no partials.
pub fn shown(documents: &[Document]) -> Option<Shown> {
    let first = documents.first()?;
    let mut shown: Shown = first.into();
    shown.version = documents.iter().map(|d| d.version).sum();
    shown.positions = positions(documents);
    shown.updated_ms = documents.iter().map(|d| d.updated_ms).max().unwrap_or(first.updated_ms);
    shown.created_ms = documents.iter().map(|d| d.created_ms).min().unwrap_or(first.created_ms);
    Some(shown)
}

fn positions(documents: &[Document]) -> Positions {
    let mut positions: SmallVec<[_; 1]> = documents.iter().map(|d| d.position).collect();
    positions.sort_unstable_by_key(|p| p.partition);
    Positions(positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Json, record::Position};

    fn document(key: &str, partition: u32, offset: u64, partial: bool) -> Document {
        Document {
            key: key.into(),
            partial: partial.then_some(partition),
            version: offset,
            created_ms: 0,
            updated_ms: offset as i64,
            position: Position { epoch: 0, partition, offset },
            value: Some(Json::from_checked("1")),
            origins: Default::default(),
        }
    }

    #[test]
    fn an_entry_never_goes_back() {
        let (view, owned) = (View::new(1 << 20), Owned::default());
        owned.take(0, 1);
        assert!(view.take_in(&document("a", 0, 5, false)));
        assert!(!view.take_in(&document("a", 0, 4, false)));
        assert_eq!(view.documents("a", &owned).expect("entry")[0].version, 5);
    }

    #[test]
    fn what_is_not_owned_is_not_shown() {
        let (view, owned) = (View::new(1 << 20), Owned::default());
        view.take_in(&document("a", 0, 5, false));
        assert!(view.documents("a", &owned).is_none());
        owned.take(0, 1);
        assert!(view.documents("a", &owned).is_some());
        owned.give_up(0, 9);
        assert!(view.documents("a", &owned).is_some(), "a late end of another assignment");
        owned.give_up(0, 1);
        view.drop_partition(0);
        owned.take(0, 2);
        assert!(view.documents("a", &owned).is_none());
    }

    #[test]
    fn partials_are_shown_when_all_are_known_and_their_positions_are_joined() {
        let (view, owned) = (View::new(1 << 20), Owned::default());
        (0..3).for_each(|p| owned.take(p, 1));
        view.take_in(&document("a", 2, 5, true));
        assert!(view.documents("a", &owned).is_none());
        view.complete("a", &[document("a", 0, 7, true), document("a", 2, 4, true)]);
        let documents = view.documents("a", &owned).expect("whole");
        let shown = shown(&documents).expect("shown");
        assert_eq!((shown.positions.to_string(), shown.version), ("0.0.7,0.2.5".into(), 12));
    }

    #[test]
    fn the_bound_holds_and_what_is_read_stays() {
        let (view, owned) = (View::new(50 * (ENTRY_BYTES + 5)), Owned::default());
        owned.take(0, 1);
        view.take_in(&document("read", 0, 1, false));
        for i in 0..1000 {
            view.take_in(&document(&format!("{i:04}"), 0, i, false));
            view.documents("read", &owned).expect("still there");
        }
        assert!(view.bytes.load(Ordering::Relaxed) <= view.bytes_max, "{}", view.len());
    }
}
