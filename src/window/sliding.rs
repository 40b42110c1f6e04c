//! Slots in the order of time, each with its part of an aggregate.
//!
//! Invariant: slot numbers rise strictly, and there are never more than `Window::slots_max`.
//! Not here: which slot a time falls into (`Window`).

use super::{Merge, Window};
use serde::{Deserialize, Serialize};

/// Parts of an aggregate by slot, oldest first; only slots in which something happened. As JSON `[[SLOT, PART], ...]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sliding<T>(Vec<(i64, T)>);

impl<T> Default for Sliding<T> {
    fn default() -> Self {
        Sliding(Vec::new())
    }
}

impl<T: Default> Sliding<T> {
    /// The part an event at this time belongs to. `None`: every slot that may be kept is newer.
    pub fn at(&mut self, window: &Window, time_ms: i64) -> Option<&mut T> {
        let slot = window.slot(time_ms);
        // Events come mostly in order, so the place is mostly the last.
        let place = match self.0.last() {
            Some((last, _)) if *last == slot => Ok(self.0.len() - 1),
            Some((last, _)) if *last < slot => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&slot, |(number, _)| *number),
        };
        let place = match place {
            Ok(place) => place,
            Err(0) if self.is_full(window) => return None,
            Err(place) => {
                self.0.insert(place, (slot, T::default()));
                place - self.trim(window)
            }
        };
        self.0.get_mut(place).map(|(_, part)| part)
    }
}

impl<T> Sliding<T> {
    fn is_full(&self, window: &Window) -> bool {
        self.0.len() >= window.slots_max()
    }

    /// The oldest make room. Returns how many went.
    fn trim(&mut self, window: &Window) -> usize {
        let over = self.0.len().saturating_sub(window.slots_max());
        self.0.drain(..over);
        over
    }

    /// Slots of the window at this time, oldest first.
    pub fn within(&self, window: &Window, now_ms: i64) -> impl Iterator<Item = (i64, &T)> {
        let range = window.range(now_ms);
        self.iter().filter(move |(slot, _)| range.contains(slot))
    }

    /// Every slot that is kept, with its part, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        self.0.iter().map(|(slot, part)| (*slot, part))
    }

    /// Numbers of the slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = i64> {
        self.iter().map(|(slot, _)| slot)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops what is older than the window at this time, and what is further ahead of it than clocks differ.
    pub fn slide(&mut self, window: &Window, now_ms: i64) {
        let range = window.range(now_ms);
        self.0.retain(|(slot, _)| range.contains(slot));
    }
}

impl<T: Merge + Clone + Default> Sliding<T> {
    /// Parts of several partitions as one, as far as they are of the window at this time.
    pub fn merged<'a>(parts: impl Iterator<Item = &'a Self>, window: &Window, now_ms: i64) -> Self
    where
        T: 'a,
    {
        let mut all = Sliding::default();
        parts.for_each(|part| all.merge(part, window));
        all.slide(window, now_ms);
        all
    }

    /// The whole window at this time as one part.
    pub fn sum(&self, window: &Window, now_ms: i64) -> T {
        let mut sum = T::default();
        self.within(window, now_ms).for_each(|(_, part)| sum.merge(part));
        sum
    }

    /// Takes another's slots in; the newest of both are kept.
    pub fn merge(&mut self, other: &Self, window: &Window) {
        for (slot, part) in &other.0 {
            match self.0.binary_search_by_key(slot, |(number, _)| *number) {
                Ok(place) => {
                    if let Some((_, held)) = self.0.get_mut(place) {
                        held.merge(part);
                    }
                }
                Err(place) => self.0.insert(place, (*slot, part.clone())),
            }
        }
        self.trim(window);
    }
}
