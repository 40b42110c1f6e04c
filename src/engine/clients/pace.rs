//! How much may be handed to one client now, and whether it takes anything at all.
//!
//! Invariant: what is handed over and unsent stays within the bound, but for one packet that alone is larger; a client
//! that shows no progress gets nothing more; the socket layer's own buffer of packets never fills, so its ping finds a
//! slot. Not here: measuring what is unsent (a `Listener` does).

use std::time::Duration;
use tokio::time::Instant;

/// Packets that may be on their way at once: half of what the socket layer buffers before it drops.
const PACKETS_MAX: usize = 64;

/// A client that took nothing for so long is handed nothing more until it does.
const PATIENCE: Duration = Duration::from_millis(100);

/// So few bytes count as none: a transport cannot count every byte of its framing, and a remainder that is never taken
/// must not look like a client that takes nothing.
const REMAINDER: usize = 512;

/// What may be handed over now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub bytes: usize,
    /// Nothing is on its way, so one packet may go, however large.
    pub one_of_any_size: bool,
}

impl Allowance {
    pub fn admits(&self, bytes: usize) -> bool {
        self.one_of_any_size || bytes <= self.bytes
    }
}

#[derive(Debug)]
pub struct Pace {
    handed: u64,
    delivered: u64,
    on_the_way: usize,
    progressed: Instant,
    last_changes: Option<Instant>,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Pace { handed: 0, delivered: 0, on_the_way: 0, progressed: now, last_changes: None }
    }

    /// Takes in what is unsent now.
    pub fn observe(&mut self, now: Instant, unsent: usize) {
        let delivered = self.handed.saturating_sub(unsent as u64);
        if unsent <= REMAINDER {
            self.on_the_way = 0;
        }
        if unsent <= REMAINDER || delivered > self.delivered {
            self.progressed = now;
        }
        self.delivered = delivered;
    }

    pub fn allowance(&self, now: Instant, unsent: usize, unsent_max: usize) -> Option<Allowance> {
        if unsent <= REMAINDER {
            return Some(Allowance { bytes: unsent_max, one_of_any_size: true });
        }
        let open = unsent < unsent_max
            && self.on_the_way < PACKETS_MAX
            && now.saturating_duration_since(self.progressed) < PATIENCE;
        open.then(|| Allowance { bytes: unsent_max - unsent, one_of_any_size: false })
    }

    pub fn handed(&mut self, now: Instant, bytes: usize) {
        if self.on_the_way == 0 {
            self.progressed = now;
        }
        self.on_the_way += 1;
        self.handed += bytes as u64;
    }

    /// When the next packet of changes may go: at once after a pause, else one per tick.
    pub fn next_changes(&self, tick: Duration) -> Option<Instant> {
        self.last_changes.map(|last| last + tick)
    }

    pub fn changes_handed(&mut self, now: Instant) {
        self.last_changes = Some(now);
    }

    /// Whether something is on its way and nothing of it was taken for so long.
    pub fn is_stalled(&self, now: Instant, unsent: usize, after: Duration) -> bool {
        unsent > REMAINDER && now.saturating_duration_since(self.progressed) >= after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    fn pace() -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(now), now)
    }

    #[test]
    fn a_free_line_takes_one_packet_of_any_size() {
        let (pace, now) = pace();
        assert!(pace.allowance(now, 0, MAX).expect("open").admits(1 << 20));
    }

    #[test]
    fn a_busy_line_takes_no_more_than_the_bound() {
        let (mut pace, now) = pace();
        pace.handed(now, 600);
        let allowance = pace.allowance(now, 600, MAX).expect("open");
        assert!(allowance.admits(400) && !allowance.admits(401));
        assert_eq!(pace.allowance(now, MAX, MAX), None);
    }

    #[test]
    fn without_progress_nothing_more_is_handed_and_with_it_again() {
        let (mut pace, now) = pace();
        pace.handed(now, 600);
        let later = now + PATIENCE;
        pace.observe(later, 600);
        assert_eq!(pace.allowance(later, 600, MAX), None);
        pace.observe(later, 599);
        assert!(pace.allowance(later, 599, MAX).is_some());
    }

    #[test]
    fn packets_on_the_way_are_counted_too() {
        let (mut pace, now) = pace();
        for _ in 0..PACKETS_MAX {
            pace.handed(now, 10);
        }
        assert_eq!(pace.allowance(now, 640, MAX), None);
        pace.observe(now, 0);
        assert!(pace.allowance(now, 0, MAX).is_some());
    }

    #[test]
    fn stalled_is_who_takes_nothing_of_what_is_on_its_way() {
        let (mut pace, now) = pace();
        let after = Duration::from_secs(20);
        pace.handed(now, 600);
        assert!(!pace.is_stalled(now + Duration::from_secs(19), 600, after));
        assert!(pace.is_stalled(now + after, 600, after));
        pace.observe(now + Duration::from_secs(10), 599);
        assert!(!pace.is_stalled(now + after, 599, after));
        assert!(!pace.is_stalled(now + after * 9, 0, after));
    }

    #[test]
    fn a_remainder_that_was_miscounted_harms_nobody() {
        let (mut pace, now) = pace();
        pace.handed(now, 40);
        let later = now + Duration::from_secs(60);
        pace.observe(later, 40);
        assert!(pace.allowance(later, 40, MAX).is_some() && !pace.is_stalled(later, 40, PATIENCE));
    }

    #[test]
    fn time_idle_does_not_count_as_stalled() {
        let (mut pace, now) = pace();
        let much_later = now + Duration::from_secs(3_600);
        pace.observe(much_later, 0);
        pace.handed(much_later, 1_000);
        assert!(!pace.is_stalled(much_later, 1_000, Duration::from_secs(20)));
    }
}
