//! Bytes of what rooms remember, over all rooms, oldest first out.
//!
//! Invariant: what is remembered never exceeds `bytes_max`, and the order's own length stays within a constant of what is
//! live. Not here: what is remembered.

use std::collections::VecDeque;

/// A room, by a number that is never used twice.
pub type RoomId = u64;

/// What is remembered, in the order it came.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    bytes: usize,
    live: usize,
    order: VecDeque<Charge>,
}

/// One thing that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    pub room: RoomId,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An entry of its history.
    Entry(u64),
    /// A room that everyone left, by the number of the leaving.
    Left(u64),
}

/// Dead charges that may stand in the order beside as many as there are live ones.
const SLACK: usize = 1_024;

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        Budget { bytes_max, bytes: 0, live: 0, order: VecDeque::new() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn charge(&mut self, charge: Charge, bytes: usize) {
        self.bytes += bytes;
        self.live += 1;
        self.order.push_back(charge);
    }

    /// What was charged is no longer remembered. Its place in the order is passed over later.
    pub fn release(&mut self, charges: usize, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.live = self.live.saturating_sub(charges);
    }

    /// The oldest charge, if there are too many bytes: the caller forgets it, if it is live, and releases it.
    pub fn oldest_over(&mut self) -> Option<Charge> {
        if self.bytes > self.bytes_max { self.order.pop_front() } else { None }
    }

    /// Whether dead charges should be swept out.
    pub fn is_littered(&self) -> bool {
        self.order.len() > 2 * self.live + SLACK
    }

    pub fn sweep(&mut self, is_live: impl Fn(&Charge) -> bool) {
        self.order.retain(is_live);
    }
}
