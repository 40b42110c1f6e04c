//! A room that shows every key of a stream: its position per partition, and the newest changes in the order told.
//!
//! Invariant: the history is one unbroken run that ends at the room's position. A `since` is found only where it names
//! one place in that run, and the replay from there ends at the head; anything else is a resync (B1-B3).
//! Not here: pages (`page`), members, bytes over all rooms.

use super::change::{Change, OVERHEAD_BYTES, Step};
use crate::{
    document::Positions,
    record::{Key, Position},
};
use rustc_hash::FxHashMap;
use std::{cmp::Ordering, collections::VecDeque, sync::Arc};

/// The state of a stream's room.
#[derive(Debug, Default)]
pub struct Many {
    /// The last change per partition, by partition.
    positions: Positions,
    /// Oldest first; the number of the first is `first`.
    run: VecDeque<Entry>,
    first: u64,
    /// The newest entry of each key in the run.
    newest: FxHashMap<Key, u64>,
}

#[derive(Debug)]
struct Entry {
    change: Arc<Change>,
    covers: u64,
    partition: u32,
    moved: Moved,
}

/// What an entry did to the room's position. Shards confirm out of offset order, so a change may leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Not,
    From(Option<Position>),
}

/// One key's newest state among several changes, and how many versions it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    pub change: Arc<Change>,
    pub covers: u64,
}

impl Many {
    pub fn new(mut positions: Positions) -> Self {
        positions.0.sort_by_key(|p| p.partition);
        Many { positions, ..Many::default() }
    }

    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The number the next entry will have.
    pub fn next_number(&self) -> u64 {
        self.first + self.run.len() as u64
    }

    pub fn run_len(&self) -> usize {
        self.run.len()
    }

    /// Whether every entry from this number on is still there.
    pub fn reaches_back_to(&self, number: u64) -> bool {
        number >= self.first
    }

    /// Whether this state is told. What was only read (`read`) and lies behind the room's position was told before.
    pub fn is_news(&self, change: &Change, partition: u32, read: bool) -> bool {
        if let Some(held) = self.newest.get(&change.key).and_then(|number| self.entry(*number)) {
            let step = held.change.step(&change.positions, change.version, change.updated_ms);
            return match step {
                Step::Old => false,
                Step::Same => held.change.members != change.members,
                Step::Newer | Step::Anew => true,
            };
        }
        let Some(position) = change.positions.of(partition) else { return !read };
        !read || self.positions.of(partition).is_some_and(|held| !held.covers(position))
    }

    /// Whether some change of this key is in the run.
    pub fn remembers(&self, key: &str) -> bool {
        self.newest.contains_key(key)
    }

    /// Takes a change in; returns its number.
    pub fn tell(&mut self, change: Arc<Change>, partition: u32, covers: u64) -> u64 {
        let moved = change.positions.of(partition).copied().map_or(Moved::Not, |p| self.advance(p));
        let number = self.next_number();
        self.newest.insert(change.key.clone(), number);
        self.run.push_back(Entry { change, covers, partition, moved });
        number
    }

    fn advance(&mut self, position: Position) -> Moved {
        let at = self.positions.0.binary_search_by_key(&position.partition, |p| p.partition);
        match at {
            Err(at) => {
                self.positions.0.insert(at, position);
                Moved::From(None)
            }
            Ok(at) => match self.positions.0.get_mut(at) {
                Some(held) if held.order(&position) == Some(Ordering::Less) => {
                    Moved::From(Some(std::mem::replace(held, position)))
                }
                _ => Moved::Not,
            },
        }
    }

    /// What was told after `since`, newest per key; `None`: not known here, or not one place in the run.
    pub fn since(&self, since: &Positions) -> Option<Vec<Missed>> {
        let mut state = self.positions.clone();
        for (back, entry) in self.run.iter().rev().enumerate() {
            if state == *since {
                // A change that moved nothing stood at the same position as the one before it: was it told or not?
                return (entry.moved != Moved::Not).then(|| self.after(self.run.len() - back));
            }
            let Moved::From(before) = entry.moved else { continue };
            let at = state.0.binary_search_by_key(&entry.partition, |p| p.partition).ok()?;
            match before {
                Some(before) => *state.0.get_mut(at)? = before,
                None => drop(state.0.remove(at)),
            }
        }
        None
    }

    /// The changes from the number `from` on, newest per key.
    pub fn told_from(&self, from: u64) -> Vec<Missed> {
        self.after(from.saturating_sub(self.first) as usize)
    }

    fn after(&self, skip: usize) -> Vec<Missed> {
        let mut missed: Vec<Missed> = Vec::new();
        let mut at: FxHashMap<&Key, usize> = FxHashMap::default();
        for entry in self.run.iter().skip(skip) {
            match at.get(&entry.change.key).and_then(|i| missed.get_mut(*i)) {
                Some(held) => {
                    held.change = entry.change.clone();
                    held.covers += entry.covers;
                }
                None => {
                    at.insert(&entry.change.key, missed.len());
                    missed.push(Missed { change: entry.change.clone(), covers: entry.covers });
                }
            }
        }
        missed
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.run.get(number.checked_sub(self.first)? as usize)
    }

    /// Bytes an entry counts for, if it is there.
    pub fn bytes_of(&self, number: u64) -> Option<usize> {
        self.entry(number).map(|entry| entry.change.bytes() + OVERHEAD_BYTES)
    }

    /// Forgets the oldest change, if it is this one; returns the bytes it counted for.
    pub fn evict(&mut self, number: u64) -> Option<usize> {
        if number != self.first {
            return None;
        }
        let bytes = self.bytes_of(number)?;
        let entry = self.run.pop_front()?;
        if self.newest.get(&entry.change.key) == Some(&number) {
            self.newest.remove(&entry.change.key);
        }
        self.first += 1;
        Some(bytes)
    }

    pub fn is_remembered(&self, number: u64) -> bool {
        (self.first..self.next_number()).contains(&number)
    }

    /// Forgets every change, since something was left out, and takes these positions; returns the bytes they counted
    /// for.
    pub fn begin_anew(&mut self, positions: Positions) -> usize {
        let mut bytes = 0;
        while let Some(gone) = self.evict(self.first) {
            bytes += gone;
        }
        // A number is never used twice: whoever reads a page from before sees that the run does not reach back to it.
        self.first += 1;
        let Positions(mut list) = positions;
        list.sort_by_key(|p| p.partition);
        self.positions = Positions(list);
        bytes
    }
}
