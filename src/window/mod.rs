//! Windows by event time, as pure values: slots that slide, and aggregates that merge.
//!
//! Invariant: merging is associative and commutative, so an entity may be split by partition and put together in any
//! order; memory is bounded by the number of slots, whatever times producers claim. No clock: `now_ms` is given.
//! Rules: an event counts in the slot of its own time. One that claims to be more than `ahead_ms` later than its record
//! counts at its record's time (*future*); one older than the window at its record's time is not counted (*late*). More
//! slots than the window has are never kept: the oldest go first, so one wrong clock costs one slot and not the window.
//! Not here: what is aggregated by what key (apps and declared streams).

mod newest;
pub mod parts;
mod sketch;
mod sliding;
#[cfg(test)]
mod tests;

pub(crate) use parts::merges;

pub use newest::{Item, Keep, Newest, When};
pub use parts::{Latest, Merge, Numbers};
pub use sketch::{Distinct, Sketch};
pub use sliding::Sliding;

/// How long, and how fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub slot_ms: i64,
    /// Slots that make up the span.
    pub slots: usize,
    /// An event may be so much later than its record before its own time is no longer believed.
    pub ahead_ms: i64,
}

const MINUTE_MS: i64 = 60_000;
/// Clocks of producers and brokers differ by less.
pub const AHEAD_MS: i64 = 5 * MINUTE_MS;

impl Window {
    /// A span made of slots of `slot_ms`; a span that is no whole number of slots is rounded up.
    pub const fn sliding(span_ms: i64, slot_ms: i64) -> Self {
        let slot_ms = if slot_ms > 0 { slot_ms } else { 1 };
        Window { slot_ms, slots: ((span_ms + slot_ms - 1) / slot_ms) as usize, ahead_ms: AHEAD_MS }
    }

    /// The last day in slots of so many minutes.
    pub const fn day(slot_minutes: i64) -> Self {
        Window::sliding(24 * 60 * MINUTE_MS, slot_minutes * MINUTE_MS)
    }

    pub const fn span_ms(&self) -> i64 {
        self.slot_ms * self.slots as i64
    }

    /// The number of the slot a time falls into.
    pub const fn slot(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.slot_ms)
    }

    /// Slots kept at most: those of the span, the one it begins in, and those of events that are ahead.
    pub const fn slots_max(&self) -> usize {
        self.slots + 1 + ((self.ahead_ms + self.slot_ms - 1) / self.slot_ms) as usize
    }

    /// When a slot begins.
    pub const fn begins_ms(&self, slot: i64) -> i64 {
        slot.saturating_mul(self.slot_ms)
    }

    /// The time an event counts at: its own, or its record's where it has none or claims a future. `None`: it is late.
    pub fn event_ms(&self, claimed_ms: Option<i64>, record_ms: i64) -> Option<i64> {
        let time_ms = believed_ms(claimed_ms, record_ms, self.ahead_ms);
        (self.slot(time_ms) >= self.slot(record_ms) - self.slots as i64).then_some(time_ms)
    }

    /// First and last slot of the window at a time; the slots of events that are ahead of it are among them.
    pub fn range(&self, now_ms: i64) -> std::ops::RangeInclusive<i64> {
        self.slot(now_ms) - self.slots as i64..=self.slot(now_ms + self.ahead_ms)
    }
}

/// An event's own time, unless it has none or it is further ahead of its record than clocks differ.
pub fn believed_ms(claimed_ms: Option<i64>, record_ms: i64, ahead_ms: i64) -> i64 {
    claimed_ms.filter(|claimed| *claimed <= record_ms.saturating_add(ahead_ms)).unwrap_or(record_ms)
}
