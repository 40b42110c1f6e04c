//! The newest few of what happened.
//!
//! Invariant: the newest of all that were taken in, in one order whatever they came in, so that the parts of several
//! partitions merge into what one would hold; number and bytes are bounded, and the newest stays whatever it weighs.
//! Not here: which time of an event counts (`Window`).

use crate::record::Position;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::VecDeque;

/// When an event was, and where its record stands, so that one of two is always the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct When {
    pub time_ms: i64,
    pub partition: u32,
    pub epoch: u32,
    pub offset: u64,
}

impl When {
    pub fn at(time_ms: i64, Position { epoch, partition, offset }: Position) -> Self {
        When { time_ms, partition, epoch, offset }
    }
}

/// What may be among the newest.
pub trait Item {
    fn when(&self) -> When;

    /// About how many bytes it takes where it is stored.
    fn bytes(&self) -> usize;
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub items: usize,
    pub bytes: usize,
}

/// As JSON an array, the oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest<T> {
    /// The oldest first.
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Newest { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Item> Newest<T> {
    /// Takes in one; what is beyond the bounds goes, the oldest first.
    pub fn add(&mut self, item: T, keep: Keep) {
        let when = item.when();
        // They come mostly in order, so the place is mostly the last.
        let at = match self.items.back() {
            Some(last) if last.when() < when => self.items.len(),
            _ => self.items.partition_point(|held| held.when() < when),
        };
        self.bytes += item.bytes();
        self.items.insert(at, item);
        while self.items.len() > keep.items || (self.bytes > keep.bytes && self.items.len() > 1) {
            let gone = self.items.pop_front();
            self.bytes -= gone.map_or(0, |item| item.bytes());
        }
    }

    pub fn merge(&mut self, other: Self, keep: Keep) {
        other.items.into_iter().for_each(|item| self.add(item, keep));
    }

    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().rev()
    }

    /// About how many bytes it takes where it is stored.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T: Serialize> Serialize for Newest<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(to)
    }
}

/// Whichever end was written first.
impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for Newest<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut items = Vec::<T>::deserialize(from)?;
        items.sort_by_key(Item::when);
        let bytes = items.iter().map(Item::bytes).sum();
        Ok(Newest { items: items.into(), bytes })
    }
}
