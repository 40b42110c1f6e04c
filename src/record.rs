//! What comes out of a log: positions, stamps, and records in slices.
//!
//! Invariant: a slice owns the bytes of its records in one buffer, so a record costs no allocation of its own,
//! and nothing here holds on to memory of the client library that read it.
//! Not here: what a record means (`app`), or where it comes from (`ports`).

use std::{fmt, ops::Range, str::FromStr, sync::Arc};

/// The key of an entity: 1 to 512 bytes of UTF-8, shared by everyone who names it.
pub type Key = Arc<str>;

/// Where a record stands: the recreation count of its topic, its partition, its offset.
///
/// Two positions are comparable only within one partition of one log (`Position::order`).
/// Outside it is the opaque string `EPOCH.PARTITION.OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: u32,
    pub partition: u32,
    pub offset: u64,
}

impl Position {
    /// The order of two positions of one partition; `None` across partitions, which have no order.
    pub fn order(&self, other: &Position) -> Option<std::cmp::Ordering> {
        (self.partition == other.partition)
            .then(|| (self.epoch, self.offset).cmp(&(other.epoch, other.offset)))
    }

    /// Whether this position has taken in `other`: same partition, and at or beyond it.
    pub fn covers(&self, other: &Position) -> bool {
        self.order(other).is_some_and(std::cmp::Ordering::is_ge)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.partition, self.offset)
    }
}

/// A string that is no position. The text says what one looks like.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a position reads EPOCH.PARTITION.OFFSET, three decimal numbers")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mut parts = text.split('.');
        let position = Position {
            epoch: decimal(parts.next())?,
            partition: decimal(parts.next())?,
            offset: decimal(parts.next())?,
        };
        if parts.next().is_some() { Err(NotAPosition) } else { Ok(position) }
    }
}

/// Reads plain digits only: what `FromStr` of integers also takes (`+1`) would give one position two spellings.
fn decimal<T: FromStr>(part: Option<&str>) -> Result<T, NotAPosition> {
    let part = part.ok_or(NotAPosition)?;
    let plain = !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_digit())
        && (part.len() == 1 || !part.starts_with('0'));
    if plain { part.parse().map_err(|_| NotAPosition) } else { Err(NotAPosition) }
}

/// The only clock and the only source of ids a step has.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    pub position: Position,
    /// The record's own time, in ms since 1970 UTC.
    pub time_ms: i64,
    pub key: &'a str,
    pub headers: Headers<'a>,
}

/// One record of a slice, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub position: Position,
    pub time_ms: i64,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// Bytes this record takes in a buffer, its headers included.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.0.len()
    }
}

/// The headers of a record, in their order, names possibly repeated.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(&'a [u8]);

const HEADER_NULL: u32 = u32::MAX;

impl<'a> Headers<'a> {
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter(self.0)
    }

    /// The last value of this name, as Kafka clients do.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(n, _)| *n == name.as_bytes()).filter_map(|(_, v)| v).last()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned())).finish()
    }
}

/// Walks the encoded headers: name length (u32), value length (u32, all ones for null), name, value.
pub struct HeaderIter<'a>(&'a [u8]);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, rest) = self.0.split_first_chunk::<4>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_len) as usize)?;
        let value_len = u32::from_le_bytes(*value_len);
        if value_len == HEADER_NULL {
            self.0 = rest;
            return Some((name, None));
        }
        let (value, rest) = rest.split_at_checked(value_len as usize)?;
        self.0 = rest;
        Some((name, Some(value)))
    }
}

/// Consecutive records of one partition, in offset order (offsets may have holes), in one buffer.
#[derive(Debug, Default)]
pub struct Slice {
    partition: u32,
    epoch: u32,
    bytes: Vec<u8>,
    records: Vec<Located>,
}

#[derive(Debug, Clone)]
struct Located {
    offset: u64,
    time_ms: i64,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Range<u32>,
}

impl Slice {
    /// What a record takes beside its key, value and headers.
    pub const RECORD_BYTES: usize = size_of::<Located>();

    pub fn new(epoch: u32, partition: u32) -> Self {
        Slice { partition, epoch, ..Slice::default() }
    }

    /// An empty slice with room for what is expected, so that a long run of slices of one size grows no buffer.
    pub fn with_capacity(epoch: u32, partition: u32, records: usize, bytes: usize) -> Self {
        let bytes = Vec::with_capacity(bytes);
        Slice { partition, epoch, bytes, records: Vec::with_capacity(records) }
    }

    /// Makes room for so many records and bytes, where a reader knows what will come.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.records.reserve(records);
        self.bytes.reserve(bytes);
    }

    /// Copies one record to the end. The caller keeps a slice under 4 GiB (`slice_bytes_max` is far below).
    pub fn push<'h>(
        &mut self,
        offset: u64,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        let key = key.map(|k| self.copy(k));
        let value = value.map(|v| self.copy(v));
        let from = self.end();
        for (name, value) in headers {
            encode_header(&mut self.bytes, name, value);
        }
        let headers = from..self.end();
        self.records.push(Located { offset, time_ms, key, value, headers });
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<u32> {
        let from = self.end();
        self.bytes.extend_from_slice(bytes);
        from..self.end()
    }

    fn end(&self) -> u32 {
        self.bytes.len() as u32
    }

    pub fn partition(&self) -> u32 {
        self.partition
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn bytes_len(&self) -> usize {
        self.bytes.len() + self.records.len() * Self::RECORD_BYTES
    }

    pub fn last_offset(&self) -> Option<u64> {
        self.records.last().map(|r| r.offset)
    }

    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let at = self.records.get(index)?;
        Some(Record {
            position: Position { epoch: self.epoch, partition: self.partition, offset: at.offset },
            time_ms: at.time_ms,
            key: at.key.as_ref().map(|r| self.part(r)),
            value: at.value.as_ref().map(|r| self.part(r)),
            headers: Headers(self.part(&at.headers)),
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    fn part(&self, range: &Range<u32>) -> &[u8] {
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

fn encode_header(bytes: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&value.map_or(HEADER_NULL, |v| v.len() as u32).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// A record to be appended: owned, not yet in any log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub key: Option<Vec<u8>>,
    /// `None` removes.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: the partitioner chooses by the key (murmur2, as Java clients do).
    pub partition: Option<u32>,
    /// `None`: the log's clock.
    pub time_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_spelling() {
        let p = Position { epoch: 0, partition: 3, offset: 1041 };
        assert_eq!(p.to_string(), "0.3.1041");
        assert_eq!("0.3.1041".parse(), Ok(p));
        for bad in
            ["", "0.3", "0.3.1.2", "0.3.+1", "0.03.1", "a.b.c", "0.3.", "-1.3.4", "0.3.99999999999999999999"]
        {
            assert_eq!(bad.parse::<Position>(), Err(NotAPosition), "{bad}");
        }
    }

    #[test]
    fn positions_of_two_partitions_have_no_order() {
        let a = Position { epoch: 0, partition: 1, offset: 5 };
        assert_eq!(a.order(&Position { partition: 2, ..a }), None);
        assert!(Position { epoch: 1, offset: 0, ..a }.covers(&a));
        assert!(!a.covers(&Position { offset: 6, ..a }));
    }

    #[test]
    fn a_slice_gives_back_what_was_pushed() {
        let mut slice = Slice::new(2, 7);
        let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", Some(b"")), (b"n", None)];
        slice.push(10, 99, Some(b"k"), Some(b"value"), headers.into_iter());
        slice.push(12, 100, None, None, std::iter::empty());
        let first = slice.get(0).expect("first");
        assert_eq!((first.key, first.value, first.time_ms), (Some(&b"k"[..]), Some(&b"value"[..]), 99));
        assert_eq!(first.headers.iter().collect::<Vec<_>>(), headers.to_vec());
        assert_eq!(first.headers.get("a"), Some(&b""[..]));
        assert_eq!(first.position, Position { epoch: 2, partition: 7, offset: 10 });
        let second = slice.get(1).expect("second");
        assert_eq!((second.key, second.value, second.headers.is_empty()), (None, None, true));
        assert_eq!(slice.last_offset(), Some(12));
    }
}
