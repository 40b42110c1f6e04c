//! How things are named in the keyspaces.
//!
//! Invariant: byte order of these names is the order the ports promise: records by offset, documents by the bytes of
//! their key with the partials of one key together, rows by time and id.

use fjall::Slice;

/// Tags under the number of a collection of rows, or of a stream.
const ROW_BY_ID: u8 = 0;
const ROW_BY_TIME: u8 = 1;
const TOMBSTONE_BY_EXPIRY: u8 = 2;
const ROW_BY_KEY: u8 = 3;
const ROW_BY_LABEL: u8 = 4;

/// topic, partition, offset of the first record.
pub fn chunk(topic: u32, partition: u32, offset: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key.iter_mut()
        .zip(topic.to_be_bytes().into_iter().chain(partition.to_be_bytes()).chain(offset.to_be_bytes()))
        .for_each(|(to, from)| *to = from);
    key
}

/// The offset out of a chunk's name.
pub fn chunk_offset(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Everything of a number: `[number, number + 1)`.
pub fn all_of(number: u32) -> std::ops::Range<Vec<u8>> {
    number.to_be_bytes().to_vec()..number.saturating_add(1).to_be_bytes().to_vec()
}

/// stream, key with its NULs escaped, end of key, partial. The end sorts before any escaped NUL, so `a` and its
/// partials stand before `a\0`.
pub fn document(stream: u32, key: &str, partial: Option<u32>) -> Slice {
    let mut bytes = stem(stream, key, 6);
    match partial {
        None => bytes.extend_from_slice(&[0, 0]),
        Some(partial) => {
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(&partial.to_be_bytes());
        }
    }
    bytes.into()
}

/// Where documents begin whose keys begin with `prefix`, or are not less than it.
pub fn documents_from(stream: u32, prefix: &str) -> Vec<u8> {
    stem(stream, prefix, 2)
}

/// The partials of one key: `[first, last)`.
pub fn partials(stream: u32, key: &str) -> std::ops::Range<Vec<u8>> {
    let (mut first, mut last) = (stem(stream, key, 2), stem(stream, key, 2));
    first.extend_from_slice(&[0, 1]);
    last.extend_from_slice(&[0, 2]);
    first..last
}

/// Where documents begin whose keys come after `key`.
pub fn documents_after(stream: u32, key: &str) -> Vec<u8> {
    partials(stream, key).end
}

fn stem(stream: u32, key: &str, more: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len() + more);
    bytes.extend_from_slice(&stream.to_be_bytes());
    escaped(bytes, key)
}

fn escaped(mut bytes: Vec<u8>, key: &str) -> Vec<u8> {
    if !key.as_bytes().contains(&0) {
        bytes.extend_from_slice(key.as_bytes());
        return bytes;
    }
    for (i, part) in key.as_bytes().split(|byte| *byte == 0).enumerate() {
        if i > 0 {
            bytes.extend_from_slice(&[0, 0xff]);
        }
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Key and partial out of a document's name without its stream.
pub fn parse_document(name: &[u8]) -> Option<(String, Option<u32>)> {
    let (mut key, mut rest) = (Vec::with_capacity(name.len()), name);
    loop {
        let nul = rest.iter().position(|byte| *byte == 0)?;
        let (part, end) = rest.split_at_checked(nul)?;
        key.extend_from_slice(part);
        match end {
            [0, 0xff, more @ ..] => {
                key.push(0);
                rest = more;
            }
            [0, 0] => return Some((String::from_utf8(key).ok()?, None)),
            [0, 1, partial @ ..] => {
                let partial = u32::from_be_bytes(partial.try_into().ok()?);
                return Some((String::from_utf8(key).ok()?, Some(partial)));
            }
            _ => return None,
        }
    }
}

pub fn row_by_id(rows: u32, id: &str) -> Slice {
    tagged(rows, ROW_BY_ID, &[id.as_bytes()]).into()
}

/// What names of rows begin with, in one of the orders they are kept in; behind it stand time and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOrder(Vec<u8>);

impl RowOrder {
    /// Every row.
    pub fn by_time(rows: u32) -> Self {
        RowOrder(tagged(rows, ROW_BY_TIME, &[]))
    }

    /// The rows of one key.
    pub fn by_key(rows: u32, key: &str) -> Self {
        RowOrder(tagged(rows, ROW_BY_KEY, &[&whole(key)]))
    }

    /// The rows of one label.
    pub fn by_label(rows: u32, label: &str) -> Self {
        RowOrder(tagged(rows, ROW_BY_LABEL, &[&whole(label)]))
    }

    pub fn name(&self, time_ms: i64, id: &str) -> Vec<u8> {
        [self.0.as_slice(), &ordered(time_ms), id.as_bytes()].concat()
    }

    /// The rows from one time on, up to another: `[first, last)`.
    pub fn between(&self, from_ms: Option<i64>, until_ms: Option<i64>) -> std::ops::Range<Vec<u8>> {
        let at = |time_ms: i64| [self.0.as_slice(), &ordered(time_ms)].concat();
        let first = from_ms.map_or_else(|| self.0.clone(), at);
        // No time reads so: behind the last one.
        let last = until_ms.map_or_else(|| [self.0.as_slice(), &[0xff; 9]].concat(), at);
        first..last
    }

    /// Time and id out of a name of this order.
    pub fn parse(&self, name: &[u8]) -> Option<(i64, String)> {
        let (time, id) = name.strip_prefix(self.0.as_slice())?.split_first_chunk::<8>()?;
        Some((unordered(*time), String::from_utf8(id.to_vec()).ok()?))
    }
}

/// A text that no other text begins with: NULs escaped, and an end.
fn whole(text: &str) -> Vec<u8> {
    let mut bytes = escaped(Vec::with_capacity(text.len() + 2), text);
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// A tombstone by the time it may be forgotten; `document` is its name in the documents.
pub fn tombstone(stream: u32, expires_ms: i64, document: &[u8]) -> Slice {
    tagged(stream, TOMBSTONE_BY_EXPIRY, &[&ordered(expires_ms), document.get(4..).unwrap_or_default()]).into()
}

/// Tombstones that may be forgotten at `now_ms`: `[first, last)`.
pub fn expired(stream: u32, now_ms: i64) -> std::ops::Range<Vec<u8>> {
    let first = tagged(stream, TOMBSTONE_BY_EXPIRY, &[]);
    let last = match now_ms.checked_add(1) {
        Some(after_ms) => tagged(stream, TOMBSTONE_BY_EXPIRY, &[&ordered(after_ms)]),
        None => tagged(stream, TOMBSTONE_BY_EXPIRY + 1, &[]),
    };
    first..last
}

/// The document's name out of a tombstone's.
pub fn parse_tombstone(name: &[u8]) -> Option<Vec<u8>> {
    let mut document = name.get(..4)?.to_vec();
    document.extend_from_slice(name.get(13..)?);
    Some(document)
}

fn tagged(number: u32, tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(&number.to_be_bytes());
    key.push(tag);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// Signed numbers whose bytes sort as they do.
fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ 1 << 63).to_be_bytes()
}

fn unordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ 1 << 63) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn documents_sort_as_their_keys_and_partials(
            a in "[\u{0}-\u{2}ab\u{10FFFF}]{0,4}", b in "[\u{0}-\u{2}ab\u{10FFFF}]{0,4}",
            p in prop::option::of(0u32..600), q in prop::option::of(0u32..600),
        ) {
            let (x, y) = (document(7, &a, p), document(7, &b, q));
            prop_assert_eq!(x.cmp(&y), (a.as_bytes(), p).cmp(&(b.as_bytes(), q)));
            prop_assert_eq!(parse_document(&x[4..]), Some((a.clone(), p)));
            prop_assert_eq!(*x >= *documents_from(7, &b), a.as_bytes() >= b.as_bytes());
            prop_assert_eq!(*x >= *documents_after(7, &b), a.as_bytes() > b.as_bytes());
            prop_assert_eq!(partials(7, &b).contains(&x.to_vec()), a == b && p.is_some());
            prop_assert_eq!(x.starts_with(&documents_from(7, &b)), a.starts_with(&b));
        }

        #[test]
        fn rows_sort_by_time_and_id(t: i64, u: i64, a in "[ab\u{0}\u{10FFFF}]{0,3}", b in "[ab]{0,3}") {
            for order in [RowOrder::by_time(1), RowOrder::by_key(1, "k"), RowOrder::by_label(1, "\u{0}")] {
                let (x, y) = (order.name(t, &a), order.name(u, &b));
                prop_assert_eq!(x.cmp(&y), (t, &a).cmp(&(u, &b)));
                prop_assert!(order.between(None, None).contains(&x));
                prop_assert_eq!(order.between(Some(u), None).contains(&x), t >= u);
                prop_assert_eq!(order.between(None, Some(u)).contains(&x), t < u);
                prop_assert_eq!(order.parse(&x), Some((t, a.clone())));
            }
        }

        #[test]
        fn rows_of_two_keys_do_not_mix(
            a in "[ab\u{0}\u{1}\u{10FFFF}]{0,3}", b in "[ab\u{0}\u{1}\u{10FFFF}]{0,3}", t: i64,
        ) {
            let (mine, theirs) = (RowOrder::by_key(1, &a), RowOrder::by_key(1, &b));
            prop_assert_eq!(mine.between(None, None).contains(&theirs.name(t, "i")), a == b);
            prop_assert_eq!(mine.parse(&theirs.name(t, "i")).is_some(), a == b);
            prop_assert!(!mine.between(None, None).contains(&RowOrder::by_label(1, &a).name(t, "i")));
        }

        #[test]
        fn a_tombstone_is_expired_from_its_time_on(at: i64, now: i64, key in "[a\u{0}]{1,3}") {
            let document = document(3, &key, None);
            let name = tombstone(3, at, &document);
            prop_assert_eq!(expired(3, now).contains(&name.to_vec()), at <= now);
            prop_assert_eq!(parse_tombstone(&name), Some(document.to_vec()));
        }
    }

    #[test]
    fn the_last_millisecond_expires_too() {
        let name = tombstone(3, i64::MAX, &document(3, "k", None));
        assert!(expired(3, i64::MAX).contains(&name.to_vec()));
    }
}
