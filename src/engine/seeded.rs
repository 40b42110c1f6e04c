//! Bugs and panics put in on purpose, so that the oracle of the faults and the supervision are tried on what they are for.
//!
//! Invariant: without the feature `seeded-bugs`, which nothing that ships is built with, `is` is constantly false and
//! `end_point` is empty, so that nothing of this is left. With it, the variable `STATECAST_SEEDED` names what is put in.
//! Not here: the bugs of the simulation, which are put into what it has in place of actors, log and store (`tests::sim`).

use super::watermark::Watermark;
use crate::record::Slice;
use rustc_hash::FxHashMap;

/// What is received counts as stored.
pub const COMMIT_BEFORE_WRITE: &str = "commit-before-write";
/// Offset `o` is committed where `o + 1` is next.
pub const COMMIT_ONE_SHORT: &str = "commit-one-short";
/// What does not fit a writer's mailbox counts as finished.
pub const DROP_WHEN_FULL: &str = "drop-when-full";
/// The updates of one key in one slice change places.
pub const SWAP_UPDATES: &str = "swap-updates";
/// A dead letter counts as written when it is handed over.
pub const LETTER_NOT_AWAITED: &str = "letter-not-awaited";
/// An actor panics when the file `END_FILE` of the working directory holds its name, and stands still for ever when it holds
/// its name and `STILL`; the file is gone then.
pub const ENDS: &str = "ends";
pub const END_FILE: &str = "end";
pub const STILL: &str = " stands still";

#[cfg(feature = "seeded-bugs")]
fn is(bug: &str) -> bool {
    static NAMED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("STATECAST_SEEDED").unwrap_or_default());
    *NAMED == bug
}

#[cfg(not(feature = "seeded-bugs"))]
const fn is(_: &str) -> bool {
    false
}

/// The next offset to commit.
pub fn confirmed(watermark: &Watermark) -> Option<u64> {
    if is(COMMIT_BEFORE_WRITE) {
        watermark.received()
    } else if is(COMMIT_ONE_SHORT) {
        watermark.confirmed().map(|next| next.saturating_sub(1))
    } else {
        watermark.confirmed()
    }
}

pub fn drops_when_full() -> bool {
    is(DROP_WHEN_FULL)
}

pub fn forgets_letters() -> bool {
    is(LETTER_NOT_AWAITED)
}

/// The slice as the writers are given it.
pub fn taken(slice: Slice) -> Slice {
    if is(SWAP_UPDATES) { swapped(&slice) } else { slice }
}

/// The last value of each key first, at the places and with all else as they were.
fn swapped(slice: &Slice) -> Slice {
    let mut values: FxHashMap<&[u8], Vec<Option<&[u8]>>> = FxHashMap::default();
    for record in slice.iter() {
        values.entry(record.key.unwrap_or_default()).or_default().push(record.value);
    }
    let mut swapped = Slice::new(slice.epoch(), slice.partition());
    for record in slice.iter() {
        let value = values.get_mut(record.key.unwrap_or_default()).and_then(Vec::pop).flatten();
        swapped.push(record.position.offset, record.time_ms, record.key, value, record.headers.iter());
    }
    swapped
}

/// Where the actor of this name ends if it is told to.
#[cfg(feature = "seeded-bugs")]
#[allow(clippy::panic)] // what it is for
pub fn end_point(actor: &str) {
    if !is(ENDS) {
        return;
    }
    let Ok(named) = std::fs::read_to_string(END_FILE) else { return };
    let stands_still = match named.strip_prefix(actor) {
        Some("") => false,
        Some(STILL) => true,
        _ => return,
    };
    // Whoever removes the file is the one of its kind that ends.
    if std::fs::remove_file(END_FILE).is_err() {
        return;
    }
    if stands_still {
        loop {
            std::thread::park();
        }
    }
    panic!("a seeded panic in {actor}");
}

#[cfg(not(feature = "seeded-bugs"))]
pub const fn end_point(_: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_updates_of_a_key_keep_every_place() {
        let mut slice = Slice::new(1, 2);
        let sent = [("a", Some("1")), ("b", Some("2")), ("a", None), ("a", Some("3"))];
        for (offset, (key, value)) in (7..).zip(sent) {
            slice.push(offset, 0, Some(key.as_bytes()), value.map(str::as_bytes), std::iter::empty());
        }
        let swapped = swapped(&slice);
        let values: Vec<_> = swapped.iter().map(|record| record.value).collect();
        assert_eq!(values, [Some(&b"3"[..]), Some(b"2"), None, Some(b"1")]);
        let places = |slice: &Slice| -> Vec<_> {
            slice.iter().map(|record| (record.position, record.key.map(<[u8]>::to_vec))).collect()
        };
        assert_eq!(places(&swapped), places(&slice));
    }

    #[cfg(not(feature = "seeded-bugs"))]
    #[test]
    fn nothing_is_put_in_without_the_feature() {
        let mut watermark = Watermark::new(Some(5));
        watermark.open(9, 1, 0);
        assert_eq!(confirmed(&watermark), Some(5));
        assert!(!drops_when_full() && !forgets_letters());
    }
}
