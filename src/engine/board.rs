//! All entities of one stream, decoded, for the rooms that show the whole of it.
//!
//! Invariant: a document never goes back to an older position; bytes are bounded, and the keys that changed longest ago go
//! first; a document is decoded once, when it is first shown. The position of a room never goes back, whatever is dropped.
//! Not here: when to look (`app_rooms`), or what a room shows (`App::room`).

use super::shows;
use crate::{
    app::App,
    document::{Document, Json, Positions, Shown},
    record::{Key, Position},
};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use std::{collections::BTreeMap, sync::Arc};

/// `Board<A>` for any `A`.
pub trait KeptBoard: Send {
    /// Takes in documents the store has confirmed; older ones than what is held are passed over.
    fn take_in(&mut self, document: Document);
    /// Drops every key that is not among these: the store holds nothing else.
    fn keep_only(&mut self, keys: &FxHashSet<Key>);
    /// What each of these rooms shows at `now_ms`; a room that shows nothing is left out.
    fn rooms(&mut self, names: &[String], now_ms: i64) -> Vec<Shown>;
    /// What the bound is held against.
    fn bytes(&self) -> usize;
    /// Keys dropped since the last look for want of room.
    fn dropped(&mut self) -> u64;
}

/// What the board holds of a document, its bytes counted as they were stored.
struct Held<E> {
    partial: Option<u32>,
    position: Position,
    updated_ms: i64,
    bytes: usize,
    state: State<E>,
}

enum State<E> {
    Raw(Json),
    Decoded(E),
    Removed,
}

pub struct Board<A: App> {
    app: Arc<A>,
    by_partition: bool,
    entries: BTreeMap<Key, SmallVec<[Held<A::Entity>; 1]>>,
    bytes: usize,
    bytes_max: usize,
    /// The newest position per partition ever seen, by partition.
    positions: BTreeMap<u32, Position>,
    created_ms: i64,
    updated_ms: i64,
    dropped: u64,
}

/// Bytes a document is counted with, as it is stored.
pub fn size(document: &Document) -> usize {
    /// An entry costs about so much beside its entity.
    const ENTRY_BYTES: usize = 200;
    ENTRY_BYTES + document.key.len() + document.value.as_ref().map_or(0, |value| value.text().len())
}

impl<A: App> Board<A> {
    pub fn new(app: Arc<A>, by_partition: bool, bytes_max: usize) -> Self {
        Board {
            app,
            by_partition,
            entries: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            positions: BTreeMap::new(),
            created_ms: i64::MAX,
            updated_ms: 0,
            dropped: 0,
        }
    }

    fn note(&mut self, document: &Document) {
        self.created_ms = self.created_ms.min(document.created_ms);
        self.updated_ms = self.updated_ms.max(document.updated_ms);
        let position = document.position;
        let held = self.positions.entry(position.partition).or_insert(position);
        if held.order(&position).is_some_and(std::cmp::Ordering::is_lt) {
            *held = position;
        }
    }

    /// Keys that changed longest ago make room.
    fn evict(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let newest = |held: &SmallVec<[Held<A::Entity>; 1]>| held.iter().map(|h| h.updated_ms).max();
        let mut by_age: Vec<_> = self.entries.iter().map(|(key, held)| (newest(held), key.clone())).collect();
        by_age.sort_unstable();
        // Somewhat below the bound, so that the next document does not sort them all again.
        let target = self.bytes_max / 10 * 9;
        for (_, key) in by_age {
            if self.bytes <= target {
                break;
            }
            self.drop_key(&key);
            self.dropped += 1;
        }
    }

    fn drop_key(&mut self, key: &Key) {
        if let Some(held) = self.entries.remove(key) {
            self.bytes -= held.iter().map(|held| held.bytes).sum::<usize>();
        }
    }

    fn decode(&mut self) {
        let app = &*self.app;
        for held in self.entries.values_mut().flatten() {
            if let State::Raw(json) = &held.state {
                let decoded = app.from_json(json).inspect_err(|error| {
                    tracing::error!(position = %held.position, %error, "entity cannot be read back");
                });
                held.state = decoded.map_or(State::Removed, State::Decoded);
            }
        }
    }

    fn entities(&self, now_ms: i64) -> Vec<(Key, A::Entity)> {
        let of_key = |(key, held): (&Key, &SmallVec<[Held<A::Entity>; 1]>)| {
            let decoded = held.iter().filter_map(|held| match &held.state {
                State::Decoded(entity) => Some(entity.clone()),
                _ => None,
            });
            let mut partials: Vec<A::Entity> = decoded.collect();
            let entity = match self.by_partition {
                true => shows::merge(&*self.app, partials, now_ms)?,
                false => partials.pop()?,
            };
            Some((key.clone(), entity))
        };
        self.entries.iter().filter_map(of_key).collect()
    }
}

impl<A: App> KeptBoard for Board<A> {
    fn take_in(&mut self, document: Document) {
        self.note(&document);
        let bytes = size(&document);
        let entry = self.entries.entry(document.key.clone()).or_default();
        let new = Held {
            partial: document.partial,
            position: document.position,
            updated_ms: document.updated_ms,
            bytes,
            state: document.value.clone().map_or(State::Removed, State::Raw),
        };
        match entry.iter_mut().find(|held| held.partial == new.partial) {
            Some(held) => {
                let newer = match held.position.order(&new.position) {
                    Some(order) => order.is_lt(),
                    None => held.updated_ms < new.updated_ms,
                };
                if newer {
                    self.bytes = self.bytes + bytes - held.bytes;
                    *held = new;
                }
            }
            None => {
                self.bytes += bytes;
                entry.push(new);
            }
        }
        self.evict();
    }

    fn keep_only(&mut self, keys: &FxHashSet<Key>) {
        let gone: Vec<Key> = self.entries.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        gone.iter().for_each(|key| self.drop_key(key));
    }

    fn rooms(&mut self, names: &[String], now_ms: i64) -> Vec<Shown> {
        self.decode();
        if self.positions.is_empty() {
            return Vec::new();
        }
        let positions = Positions(self.positions.values().copied().collect());
        // One that never goes down, whatever keys were dropped, and is the same on every instance that saw the same.
        let version = self.positions.values().map(|position| position.offset + 1).sum();
        let shown = |name: &String| {
            Some(Shown {
                key: name.as_str().into(),
                version,
                created_ms: self.created_ms,
                updated_ms: self.updated_ms,
                positions: positions.clone(),
                value: Some(self.app.room(name, self.entities(now_ms), now_ms)?),
            })
        };
        names.iter().filter_map(shown).collect()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
