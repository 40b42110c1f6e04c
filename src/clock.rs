//! The one file that asks the time.
//!
//! Invariant: nothing below `engine` decides by this clock what an entity becomes; a step has only its stamp.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970 UTC, by the system's clock.
pub fn now_ms() -> i64 {
    #[cfg(test)]
    if let Some(ms) = standing::now_ms() {
        return ms;
    }
    (now_us() / 1000) as i64
}

/// A clock that stands until it is set on, for the thread that set it: simulations are functions of their seeds.
#[cfg(test)]
pub mod standing {
    use std::cell::Cell;

    thread_local! {
        static NOW_MS: Cell<Option<i64>> = const { Cell::new(None) };
    }

    pub fn now_ms() -> Option<i64> {
        NOW_MS.get()
    }

    pub fn set(ms: i64) {
        NOW_MS.set(Some(ms));
    }
}

/// Microseconds since 1970 UTC, by the system's clock.
#[allow(clippy::disallowed_methods)] // the one place
pub fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros())
}

/// Milliseconds on a clock that nobody sets, from 1 on: for how long something has not happened, whatever is done to the
/// system's clock meanwhile.
#[allow(clippy::disallowed_methods)] // the one place
pub fn steady_ms() -> i64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_millis() as i64 + 1
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

/// Reads what `iso` writes, and other forms of ISO 8601; without a zone it is UTC. `None`: it is no time.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let with_zone = text.parse::<jiff::Timestamp>().ok();
    let plain = || {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    with_zone.or_else(plain).map(|time| time.as_millisecond())
}

/// Seconds or milliseconds since 1970: seconds up to the year 5138 are fewer than milliseconds from 1973 on.
pub fn of_number(number: f64) -> Option<i64> {
    const MILLISECONDS_FROM: f64 = 1e11;
    let ms = if number.abs() < MILLISECONDS_FROM { number * 1_000.0 } else { number };
    let known = jiff::Timestamp::from_millisecond(ms as i64).is_ok();
    (ms.is_finite() && known).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read_as_they_are_commonly_written() {
        let ms = 1_792_576_800_000;
        for text in [
            "2026-10-21T10:00:00.000Z",
            "2026-10-21T10:00:00Z",
            "2026-10-21T12:00:00+02:00",
            "2026-10-21T10:00:00",
            "2026-10-21 10:00:00",
        ] {
            assert_eq!(super::parse(text), Some(ms), "{text}");
        }
        assert_eq!(super::parse("2026-10-21"), Some(ms - 10 * 3_600_000));
        assert_eq!((super::parse("yesterday"), super::parse("")), (None, None));
        assert_eq!((super::of_number(1_792_576_800.0), super::of_number(1.7925768e12)), (Some(ms), Some(ms)));
        assert_eq!((super::of_number(f64::NAN), super::of_number(1e300)), (None, None));
    }

    #[test]
    fn times_are_written_with_three_digits_of_a_second() {
        assert_eq!(super::iso(1_792_576_800_000), "2026-10-21T10:00:00.000Z");
        assert_eq!(super::iso(1_792_576_800_007), "2026-10-21T10:00:00.007Z");
    }
}
