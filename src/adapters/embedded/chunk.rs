//! Consecutive records of one partition as one value of the database.
//!
//! Invariant: offsets in a chunk are dense from the one in its name; what is decoded is byte for byte what was appended.
//! Layout: format (1), count (u32), newest time (i64), then per record: flags (1), time (i64), lengths of key, value and
//! headers (u32 each), key, value, headers (per header: lengths of name and value (u32, all ones for null), name, value).

use crate::{
    ports::PullLimit,
    record::{NewRecord, Slice},
};

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 13;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const NULL: u32 = u32::MAX;

/// A chunk is closed at this size or count, so that reading from its middle stays cheap.
const CHUNK_BYTES_MAX: usize = 16 << 10;
const CHUNK_RECORDS_MAX: u32 = 256;

/// A chunk in the making.
#[derive(Debug)]
pub struct Builder {
    pub first_offset: u64,
    count: u32,
    newest_ms: i64,
    bytes: Vec<u8>,
}

impl Builder {
    pub fn new(first_offset: u64) -> Self {
        Builder { first_offset, count: 0, newest_ms: i64::MIN, bytes: vec![0; HEAD_LEN] }
    }

    pub fn takes(&self, record: &NewRecord) -> bool {
        self.count == 0
            || (self.count < CHUNK_RECORDS_MAX && self.bytes.len() + size(record) <= CHUNK_BYTES_MAX)
    }

    pub fn push(&mut self, time_ms: i64, record: &NewRecord) {
        let flags = if record.key.is_some() { HAS_KEY } else { 0 }
            | if record.value.is_some() { HAS_VALUE } else { 0 };
        let (key, value) =
            (record.key.as_deref().unwrap_or_default(), record.value.as_deref().unwrap_or_default());
        self.bytes.push(flags);
        self.bytes.extend_from_slice(&time_ms.to_le_bytes());
        for len in [key.len(), value.len(), headers_len(record)] {
            self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        for (name, value) in &record.headers {
            self.bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            let value_len = value.as_ref().map_or(NULL, |value| value.len() as u32);
            self.bytes.extend_from_slice(&value_len.to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        self.count += 1;
        self.newest_ms = self.newest_ms.max(time_ms);
    }

    pub fn finish(mut self) -> Vec<u8> {
        let head = [FORMAT].into_iter().chain(self.count.to_le_bytes()).chain(self.newest_ms.to_le_bytes());
        self.bytes.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        self.bytes
    }
}

fn headers_len(record: &NewRecord) -> usize {
    record.headers.iter().map(|(name, value)| 8 + name.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

/// Bytes a record takes in a chunk.
pub fn size(record: &NewRecord) -> usize {
    let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    21 + part(&record.key) + part(&record.value) + headers_len(record)
}

/// Count of records and newest time of a chunk; `None`: it is broken.
pub fn head(chunk: &[u8]) -> Option<(u32, i64)> {
    let (format, rest) = chunk.split_first()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (newest_ms, _) = rest.split_first_chunk::<8>()?;
    (*format == FORMAT).then(|| (u32::from_le_bytes(*count), i64::from_le_bytes(*newest_ms)))
}

/// What came of taking a chunk into a slice.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    Whole,
    /// The limit was reached inside.
    Part,
    Broken,
}

/// Copies the records of a chunk from offset `from` on, until the limit of the pull is reached.
pub fn take(
    chunk: &[u8],
    first_offset: u64,
    from: u64,
    limit: PullLimit,
    slice: &mut Slice,
    bytes: &mut usize,
) -> Taken {
    let (Some((count, _)), Some(mut rest)) = (head(chunk), chunk.get(HEAD_LEN..)) else {
        return Taken::Broken;
    };
    for offset in first_offset..first_offset + u64::from(count) {
        let Some(record) = next(&mut rest) else { return Taken::Broken };
        if offset < from {
            continue;
        }
        let size =
            record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + record.headers.len();
        if !slice.is_empty() && (slice.len() >= limit.records_max || *bytes + size > limit.bytes_max) {
            return Taken::Part;
        }
        *bytes += size;
        slice.push(offset, record.time_ms, record.key, record.value, Headers(record.headers));
    }
    Taken::Whole
}

struct Read<'a> {
    time_ms: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [u8],
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Read<'a>> {
    let (flags, bytes) = rest.split_first()?;
    let (time_ms, bytes) = bytes.split_first_chunk::<8>()?;
    let (key_len, bytes) = len(bytes)?;
    let (value_len, bytes) = len(bytes)?;
    let (headers_len, bytes) = len(bytes)?;
    let (key, bytes) = bytes.split_at_checked(key_len as usize)?;
    let (value, bytes) = bytes.split_at_checked(value_len as usize)?;
    let (headers, bytes) = bytes.split_at_checked(headers_len as usize)?;
    *rest = bytes;
    Some(Read {
        time_ms: i64::from_le_bytes(*time_ms),
        key: (flags & HAS_KEY != 0).then_some(key),
        value: (flags & HAS_VALUE != 0).then_some(value),
        headers,
    })
}

fn len(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(len, rest)| (u32::from_le_bytes(*len), rest))
}

struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, bytes) = len(self.0)?;
        let (value_len, bytes) = len(bytes)?;
        let (name, bytes) = bytes.split_at_checked(name_len as usize)?;
        let (value, bytes) = match value_len {
            NULL => (None, bytes),
            some => bytes.split_at_checked(some as usize).map(|(value, bytes)| (Some(value), bytes))?,
        };
        self.0 = bytes;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<(i64, NewRecord)>> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        let record = (any::<i64>(), bytes(), bytes(), prop::collection::vec((".{0,5}", bytes()), 0..4));
        let record = record.prop_map(|(time_ms, key, value, headers)| {
            (time_ms, NewRecord { key, value, headers, ..NewRecord::default() })
        });
        prop::collection::vec(record, 1..20)
    }

    fn built(records: &[(i64, NewRecord)]) -> Vec<u8> {
        let mut builder = Builder::new(100);
        for (time_ms, record) in records {
            let before = builder.bytes.len();
            builder.push(*time_ms, record);
            assert_eq!(builder.bytes.len() - before, size(record));
        }
        builder.finish()
    }

    const ALL: PullLimit = PullLimit { records_max: 1_000, bytes_max: 1 << 20 };

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_appended(records in records(), skip in 0usize..20) {
            let chunk = built(&records);
            prop_assert_eq!(head(&chunk), Some((records.len() as u32, records.iter().map(|r| r.0).max().unwrap())));
            let (mut slice, mut bytes) = (Slice::new(0, 0), 0);
            prop_assert_eq!(take(&chunk, 100, 100 + skip as u64, ALL, &mut slice, &mut bytes), Taken::Whole);
            prop_assert_eq!(bytes, slice.iter().map(|r| r.size()).sum::<usize>());
            let expected: Vec<_> = records.iter().enumerate().skip(skip).collect();
            prop_assert_eq!(slice.len(), expected.len());
            for (got, (i, (time_ms, record))) in slice.iter().zip(expected) {
                prop_assert_eq!((got.position.offset, got.time_ms), (100 + i as u64, *time_ms));
                prop_assert_eq!((got.key, got.value), (record.key.as_deref(), record.value.as_deref()));
                let headers: Vec<_> = record.headers.iter().map(|(n, v)| (n.as_bytes(), v.as_deref())).collect();
                prop_assert_eq!(got.headers.iter().collect::<Vec<_>>(), headers);
            }
        }

        #[test]
        fn a_cut_chunk_is_broken_and_no_panic(records in records(), cut in 1usize..40) {
            let chunk = built(&records);
            let cut = &chunk[..chunk.len().saturating_sub(cut)];
            let taken = take(cut, 100, 100, ALL, &mut Slice::new(0, 0), &mut 0);
            prop_assert_eq!(taken, Taken::Broken);
        }
    }

    #[test]
    fn a_limit_inside_a_chunk_leaves_the_rest() {
        let record = NewRecord { value: Some(vec![1; 10]), ..NewRecord::default() };
        let chunk = built(&vec![(0, record); 5]);
        let limit = PullLimit { records_max: 9, bytes_max: 25 };
        let (mut slice, mut bytes) = (Slice::new(0, 0), 0);
        assert_eq!(take(&chunk, 100, 101, limit, &mut slice, &mut bytes), Taken::Part);
        assert_eq!((slice.len(), slice.last_offset()), (2, Some(102)));
    }

    #[test]
    fn a_full_chunk_takes_no_more_but_any_first_record() {
        let large = NewRecord { value: Some(vec![0; CHUNK_BYTES_MAX]), ..NewRecord::default() };
        let mut builder = Builder::new(0);
        assert!(builder.takes(&large));
        builder.push(0, &large);
        assert!(!builder.takes(&NewRecord::default()));
    }
}
