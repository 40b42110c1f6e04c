//! The one file that asks the time.
//!
//! Invariant: nothing below `engine` decides by this clock what an entity becomes; a step has only its stamp.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 UTC, by the system's clock.
pub fn now_ms() -> i64 {
    (now_us() / 1000) as i64
}

/// Microseconds since 1970 UTC, by the system's clock.
#[allow(clippy::disallowed_methods)] // the one place
pub fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros())
}

/// Monotonic time, which a test may pause.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// `2026-11-21T10:00:00.000Z`: how every time is written outside.
pub fn iso(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_with_three_digits_of_a_second() {
        assert_eq!(super::iso(1_792_576_800_000), "2026-10-21T10:00:00.000Z");
        assert_eq!(super::iso(1_792_576_800_007), "2026-10-21T10:00:00.007Z");
    }
}
