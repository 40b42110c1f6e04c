//! A room that shows one entity: its newest state, and the positions it had before.
//!
//! Invariant: the head's version never goes down but by `Anew` or `forget`, which void what members hold; a position is
//! remembered only if every state from it to the head was the head here, so "resumed" never hides a hole.
//! Each change is the whole entity, so a resume needs only the newest: of the past, positions and versions are enough.
//! Not here: members, bytes over all rooms.

use super::change::{Change, OVERHEAD_BYTES, Step};
use crate::document::{Positions, Shown};
use std::{collections::VecDeque, sync::Arc};

/// Bytes a remembered position counts for.
pub const PAST_BYTES: usize = OVERHEAD_BYTES;

/// The state of a room of one entity.
#[derive(Debug, Default)]
pub struct One {
    head: Option<Arc<Change>>,
    /// Oldest first; the number of the first is `first`.
    past: VecDeque<Past>,
    first: u64,
    /// What the key is has been read since the room opened.
    read: bool,
    /// Counts what the head has been.
    turns: u64,
}

#[derive(Debug)]
struct Past {
    positions: Positions,
    version: u64,
}

/// What became of a state that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Not newer: nobody is told.
    Old,
    /// The head moved on; `remembered` numbers the position it left, if any.
    Newer { remembered: Option<u64> },
    /// The head was replaced by one whose version starts again: members resync.
    Anew,
}

/// Where a `since` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At the head: nothing was missed.
    Current,
    /// At a remembered position with this version; the head is what was missed.
    Behind { version: u64 },
    /// Beyond the head: the store has to be read.
    Ahead,
    /// Not known here: the entity has to be given.
    Unknown,
}

impl One {
    /// Whoever reads notes this first: if it has moved on when the read comes back, "not there" is out of date.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    pub fn head(&self) -> Option<&Arc<Change>> {
        self.head.as_ref()
    }

    /// Whether an answer can be given from memory alone while the store is away.
    pub fn is_held(&self) -> bool {
        self.read || self.head.is_some()
    }

    /// Offers a state; `encode` is called only if it becomes the head. `slid`: a merge of partials may differ at one and
    /// the same position, since its window moved.
    pub fn offer(&mut self, shown: &Shown, slid: bool, encode: impl FnOnce() -> Arc<Change>) -> Offer {
        self.read = true;
        let Some(held) = &self.head else {
            self.set_head(Some(encode()));
            return Offer::Newer { remembered: None };
        };
        match held.step(&shown.positions, shown.version, shown.updated_ms) {
            Step::Old => Offer::Old,
            Step::Same if !slid => Offer::Old,
            Step::Same => self.slide(encode()),
            Step::Newer => {
                self.past.push_back(Past { positions: held.positions.clone(), version: held.version });
                self.set_head(Some(encode()));
                Offer::Newer { remembered: Some(self.first + self.past.len() as u64 - 1) }
            }
            Step::Anew => {
                self.clear_past();
                self.set_head(Some(encode()));
                Offer::Anew
            }
        }
    }

    fn slide(&mut self, change: Arc<Change>) -> Offer {
        if self.head.as_ref().is_some_and(|held| held.members == change.members) {
            return Offer::Old;
        }
        self.set_head(Some(change));
        Offer::Newer { remembered: None }
    }

    fn set_head(&mut self, head: Option<Arc<Change>>) -> Option<Arc<Change>> {
        self.turns += 1;
        std::mem::replace(&mut self.head, head)
    }

    /// The key was read and is not there. `true`: something was held of it, so members resync.
    pub fn absent(&mut self) -> bool {
        self.read = true;
        self.clear_past();
        self.head.is_some() && self.set_head(None).is_some()
    }

    pub fn since(&self, since: &Positions) -> Since {
        let Some(head) = &self.head else { return Since::Unknown };
        if head.positions == *since {
            return Since::Current;
        }
        if let Some(past) = self.past.iter().rev().find(|past| past.positions == *since) {
            return Since::Behind { version: past.version };
        }
        if since.cover(&head.positions) { Since::Ahead } else { Since::Unknown }
    }

    pub fn past_len(&self) -> usize {
        self.past.len()
    }

    /// Forgets the oldest position, if it is this one. Returns whether it was.
    pub fn evict(&mut self, number: u64) -> bool {
        let there = self.first == number && self.past.pop_front().is_some();
        self.first += u64::from(there);
        there
    }

    pub fn oldest(&self) -> Option<u64> {
        (!self.past.is_empty()).then_some(self.first)
    }

    pub fn is_remembered(&self, number: u64) -> bool {
        (self.first..self.first + self.past.len() as u64).contains(&number)
    }

    /// Forgets every position; returns how many they were.
    pub fn clear_past(&mut self) -> usize {
        let gone = self.past.len();
        self.first += gone as u64;
        self.past.clear();
        gone
    }
}
