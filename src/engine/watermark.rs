//! Which offsets of a partition are finished, so what may be committed.
//!
//! Invariant: the confirmed offset is the end of the unbroken prefix of *received* slices whose every record is
//! finished; it never goes back. Offsets have holes (compaction, transaction markers), so nothing is ever counted up:
//! only what was received is waited for.
//! Not here: committing, and the reason a record finished (stored, refused, dead letter, seen before).

use std::collections::VecDeque;

/// Names one slice within one assignment of one partition.
pub type SliceId = u64;

#[derive(Debug)]
pub struct Watermark {
    open: VecDeque<Open>,
    next_id: SliceId,
    confirmed: Option<u64>,
    received: Option<u64>,
}

#[derive(Debug)]
struct Open {
    last_offset: u64,
    records: u32,
    records_left: u32,
    opened_ms: i64,
    poison: Vec<u32>,
}

/// A slice all of whose records, and all before it, are finished.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    pub records: u32,
    /// Indices of the poisoned records, ascending.
    pub poison: Vec<u32>,
}

impl Watermark {
    /// `start`: the offset the assignment began at, where known; it counts as confirmed.
    pub fn new(start: Option<u64>) -> Self {
        Watermark { open: VecDeque::new(), next_id: 0, confirmed: start, received: start }
    }

    /// Opens a slice; slices come in offset order.
    pub fn open(&mut self, last_offset: u64, records: u32, now_ms: i64) -> SliceId {
        let id = self.next_id;
        self.next_id += 1;
        self.received = Some(last_offset + 1);
        self.open.push_back(Open {
            last_offset,
            records,
            records_left: records,
            opened_ms: now_ms,
            poison: Vec::new(),
        });
        id
    }

    /// Finishes some records of a slice. Returns the slices that closed by it, in order.
    pub fn finish(&mut self, id: SliceId, records: u32, poison: &[u32]) -> Vec<Closed> {
        let first = self.next_id - self.open.len() as u64;
        let at = id.checked_sub(first).map(|i| i as usize);
        let Some(open) = at.and_then(|i| self.open.get_mut(i)) else { return Vec::new() };
        open.records_left = open.records_left.saturating_sub(records);
        open.poison.extend_from_slice(poison);
        self.close()
    }

    fn close(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        while self.open.front().is_some_and(|open| open.records_left == 0) {
            let Some(mut open) = self.open.pop_front() else { break };
            self.confirmed = Some(open.last_offset + 1);
            open.poison.sort_unstable();
            closed.push(Closed { records: open.records, poison: open.poison });
        }
        closed
    }

    /// The next offset to commit: everything below it is finished.
    pub fn confirmed(&self) -> Option<u64> {
        self.confirmed
    }

    /// The offset after the last one received.
    pub fn received(&self) -> Option<u64> {
        self.received
    }

    /// When the oldest unfinished slice was received.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.open.front().map(|open| open.opened_ms)
    }

    pub fn is_drained(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slice_counts_only_when_all_before_it_are_finished() {
        let mut watermark = Watermark::new(Some(5));
        let first = watermark.open(9, 3, 100);
        let second = watermark.open(20, 1, 200);
        assert_eq!(watermark.finish(second, 1, &[0]), []);
        assert_eq!((watermark.confirmed(), watermark.oldest_ms()), (Some(5), Some(100)));
        assert_eq!(watermark.finish(first, 2, &[2]), []);
        let closed = watermark.finish(first, 1, &[0]);
        assert_eq!(
            closed,
            [Closed { records: 3, poison: vec![0, 2] }, Closed { records: 1, poison: vec![0] }]
        );
        assert_eq!((watermark.confirmed(), watermark.received()), (Some(21), Some(21)));
        assert!(watermark.is_drained());
    }

    #[test]
    fn a_late_confirmation_of_a_closed_slice_changes_nothing() {
        let mut watermark = Watermark::new(None);
        let id = watermark.open(3, 1, 0);
        watermark.finish(id, 1, &[]);
        assert_eq!(watermark.finish(id, 1, &[]), []);
        assert_eq!(watermark.finish(99, 1, &[]), []);
        assert_eq!(watermark.confirmed(), Some(4));
    }

    proptest! {
        /// The model: the set of finished slices; confirmed is the end of its longest prefix.
        #[test]
        fn confirmed_is_the_unbroken_prefix(holes in prop::collection::vec(1u64..50, 1..30), order in any::<u64>()) {
            let mut watermark = Watermark::new(Some(0));
            let mut ends = Vec::new();
            let mut offset = 0;
            for hole in &holes {
                offset += hole;
                ends.push(offset + 1);
                watermark.open(offset, 1, 0);
            }
            let mut finished = vec![false; ends.len()];
            let mut left: Vec<usize> = (0..ends.len()).collect();
            let mut seed = order | 1;
            while !left.is_empty() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = left.swap_remove((seed >> 33) as usize % left.len());
                finished[at] = true;
                watermark.finish(at as u64, 1, &[]);
                let prefix = finished.iter().take_while(|f| **f).count();
                let expected = if prefix == 0 { 0 } else { ends[prefix - 1] };
                prop_assert_eq!(watermark.confirmed(), Some(expected));
            }
            prop_assert!(watermark.is_drained());
        }
    }
}
