//! One state of one key as it is told: encoded once, shared by every room, history and client it goes to.
//!
//! Invariant: what a change says never changes, and of two states of a key everyone decides alike which is newer.
//! Not here: who is told.

use crate::{
    document::{Positions, Shown},
    record::Key,
};
use std::sync::Arc;

/// What the allocator and the maps add to an entry of any kind, roughly.
pub const OVERHEAD_BYTES: usize = 96;

/// A state of a key, with its JSON.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub key: Key,
    pub version: u64,
    pub updated_ms: i64,
    pub positions: Positions,
    pub removed: bool,
    /// Members of the entity's JSON object, as `Shown::members` writes them.
    pub members: Box<str>,
}

/// How a state stands to the one held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Older, or of another partition and not newer by record time.
    Old,
    /// At the same position.
    Same,
    Newer,
    /// Newer by position, though its version is not: the key was forgotten and begun again.
    Anew,
}

impl Change {
    pub fn of(stream: &str, shown: &Shown) -> Arc<Self> {
        Arc::new(Change {
            key: shown.key.clone(),
            version: shown.version,
            updated_ms: shown.updated_ms,
            positions: shown.positions.clone(),
            removed: shown.value.is_none(),
            members: shown.members(stream).into(),
        })
    }

    /// Bytes it takes in memory, shared or not.
    pub fn bytes(&self) -> usize {
        self.members.len() + self.key.len() + OVERHEAD_BYTES
    }

    /// How `version` at `positions` stands to this one. Within a partition the position decides, across partitions the
    /// record's time, where equal is old (semantics 9); of partials one is newer that has taken in all of the other.
    pub fn step(&self, positions: &Positions, version: u64, updated_ms: i64) -> Step {
        if self.positions == *positions {
            return Step::Same;
        }
        let newer = match (self.positions.0.as_slice(), positions.0.as_slice()) {
            ([held], [other]) => match held.order(other) {
                Some(order) => order.is_lt(),
                None => updated_ms > self.updated_ms,
            },
            _ => {
                positions.cover(&self.positions)
                    || updated_ms > self.updated_ms && !self.positions.cover(positions)
            }
        };
        match newer {
            false => Step::Old,
            true if version > self.version => Step::Newer,
            true => Step::Anew,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Json;

    fn change(positions: &str, version: u64, updated_ms: i64) -> Arc<Change> {
        let value = Some(Json::from_checked("1"));
        let positions = positions.parse().expect("positions");
        Change::of("kv", &Shown { key: "k".into(), version, created_ms: 0, updated_ms, positions, value })
    }

    fn step(held: (&str, u64, i64), other: (&str, u64, i64)) -> Step {
        let other = change(other.0, other.1, other.2);
        change(held.0, held.1, held.2).step(&other.positions, other.version, other.updated_ms)
    }

    #[test]
    fn within_a_partition_the_position_decides() {
        assert_eq!(step(("0.1.5", 2, 9), ("0.1.6", 3, 1)), Step::Newer);
        assert_eq!(step(("0.1.5", 2, 9), ("0.1.5", 2, 9)), Step::Same);
        assert_eq!(step(("0.1.5", 2, 9), ("0.1.4", 9, 99)), Step::Old);
        assert_eq!(step(("0.1.5", 2, 9), ("1.1.0", 3, 9)), Step::Newer);
    }

    #[test]
    fn across_partitions_the_record_time_decides_and_equal_is_old() {
        assert_eq!(step(("0.1.5", 2, 9), ("0.2.1", 3, 10)), Step::Newer);
        assert_eq!(step(("0.1.5", 2, 9), ("0.2.1", 3, 9)), Step::Old);
    }

    #[test]
    fn a_newer_position_with_a_lower_version_was_begun_again() {
        assert_eq!(step(("0.1.5", 9, 9), ("0.1.80", 1, 99)), Step::Anew);
    }

    #[test]
    fn partials_are_newer_when_they_cover_all_that_is_held() {
        assert_eq!(step(("0.0.5,0.1.5", 10, 9), ("0.0.5,0.1.6", 11, 9)), Step::Newer);
        assert_eq!(step(("0.0.5,0.1.5", 10, 9), ("0.0.4,0.1.5", 9, 9)), Step::Old);
        assert_eq!(step(("0.0.5", 5, 9), ("0.0.5,0.1.0", 6, 9)), Step::Newer);
    }
}
