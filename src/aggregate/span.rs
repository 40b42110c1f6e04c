//! The stretch of event time that an aggregate is over, and the slots it is made of.
//!
//! Invariant: beside the slots that are shown a few are kept, and no more.
//! Not here: which slot an event counts in (`window`).

use crate::window::Window;

/// Slots kept beside those that are shown: so many wrong clocks cost nothing of a window.
pub(super) const SPARE: i64 = 8;

/// Which stretch of event time an aggregate is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All events.
    All,
    Tumbling {
        window_ms: i64,
        windows_max: usize,
    },
    Sliding {
        window_ms: i64,
        slide_ms: i64,
    },
}

impl Span {
    /// The slots it is made of; all that is kept of `Span::All` is one.
    pub(super) fn window(self) -> Window {
        let of = |slot_ms: i64, shown: i64| Window {
            slot_ms,
            slots: (shown - 1).max(0) as usize,
            // No event is ahead of its record: what is kept for those is kept for wrong clocks.
            ahead_ms: slot_ms.saturating_mul(SPARE).min(i64::MAX / 4),
        };
        match self {
            Span::All => Window { slot_ms: 1, slots: 0, ahead_ms: 0 },
            Span::Tumbling { window_ms, windows_max } => of(window_ms, windows_max as i64),
            Span::Sliding { window_ms, slide_ms } => of(slide_ms, window_ms / slide_ms),
        }
    }
}
