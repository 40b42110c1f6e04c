//! What is known of a stream's dead letters without reading them again: newest first, bounded.
//!
//! Invariant: one entry per original position (a letter may be written twice), at most `letters_max` entries; what was
//! dropped for room stays in its topic and is counted.
//! Not here: the letters' bytes, which stay in the log.

use crate::{
    app::Reason,
    engine::{api::DeadLetterFilter, dead_letter::header},
    record::{Position, Record},
};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Where a letter lies and what it says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub position: Position,
    /// Where in `TOPIC.dlq`.
    pub letter: (u32, u64),
    pub reason: Reason,
    pub detail: String,
    pub key: Option<Vec<u8>>,
    pub bytes: usize,
    /// The record's own time.
    pub time_ms: i64,
    pub at: String,
    pub failed_at: Option<u64>,
    pub mark: Option<Mark>,
}

/// What somebody did about a letter.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// `replayed` or `discarded`.
    pub mark: String,
    pub at: String,
    /// Where a replay was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

#[derive(Debug)]
pub struct Index {
    letters_max: usize,
    next: u64,
    by_order: BTreeMap<u64, Entry>,
    by_position: FxHashMap<Position, u64>,
    marks: FxHashMap<Position, Mark>,
    pub dropped: u64,
}

impl Index {
    pub fn new(letters_max: usize, marks: FxHashMap<Position, Mark>) -> Self {
        Index {
            letters_max,
            next: 0,
            by_order: BTreeMap::new(),
            by_position: FxHashMap::default(),
            marks,
            dropped: 0,
        }
    }

    pub fn take(&mut self, mut entry: Entry) {
        entry.mark = self.marks.get(&entry.position).cloned();
        if let Some(before) = self.by_position.insert(entry.position, self.next) {
            self.by_order.remove(&before);
        }
        self.by_order.insert(self.next, entry);
        self.next += 1;
        if self.by_order.len() > self.letters_max
            && let Some((_, oldest)) = self.by_order.pop_first()
        {
            self.by_position.remove(&oldest.position);
            self.dropped += 1;
        }
    }

    pub fn get(&self, position: Position) -> Option<&Entry> {
        self.by_order.get(self.by_position.get(&position)?)
    }

    pub fn mark(&mut self, position: Position, mark: Mark) {
        self.marks.insert(position, mark.clone());
        if let Some(entry) = self.by_position.get(&position).and_then(|at| self.by_order.get_mut(at)) {
            entry.mark = Some(mark);
        }
    }

    /// Position and time of the letter that was replayed to this position.
    pub fn origin_of(&self, replayed: Position) -> Option<(Position, i64)> {
        let replayed = replayed.to_string();
        let is_it =
            |entry: &&Entry| entry.mark.as_ref().and_then(|mark| mark.position.as_ref()) == Some(&replayed);
        self.by_order.values().find(is_it).map(|entry| (entry.position, entry.time_ms))
    }

    /// Newest first; the cursor is the order of the last one shown.
    pub fn list(&self, filter: &DeadLetterFilter) -> (Vec<&Entry>, Option<String>) {
        let before = filter.after.as_deref().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        let wanted = |entry: &Entry| {
            filter.reason.is_none_or(|reason| reason == entry.reason)
                && filter.partition.is_none_or(|partition| partition == entry.position.partition)
        };
        let mut found = self.by_order.range(..before).rev().filter(|(_, entry)| wanted(entry));
        let page: Vec<(&u64, &Entry)> = found.by_ref().take(filter.limit).collect();
        let next = found.next().and(page.last()).map(|(order, _)| order.to_string());
        (page.into_iter().map(|(_, entry)| entry).collect(), next)
    }

    /// Letters nobody has dealt with, by reason.
    pub fn open(&self) -> BTreeMap<&'static str, u64> {
        let mut reasons = BTreeMap::new();
        for entry in self.by_order.values().filter(|entry| entry.mark.is_none()) {
            *reasons.entry(entry.reason.code()).or_default() += 1;
        }
        reasons
    }
}

/// Reads a letter's headers; `None`: it is none of this stream's. Streams of one topic share its dead letters, and one may
/// refuse what another took; a letter that names no stream (another tool's) is everybody's.
pub fn entry(record: &Record<'_>, stream: &str) -> Option<Entry> {
    if record.headers.get(header::STREAM).is_some_and(|named| named != stream.as_bytes()) {
        return None;
    }
    let text = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok().map(str::to_owned);
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    Some(Entry {
        position: Position {
            epoch: number(header::EPOCH).unwrap_or(0) as u32,
            partition: number(header::PARTITION)? as u32,
            offset: number(header::OFFSET)?,
        },
        letter: (record.position.partition, record.position.offset),
        reason: Reason::from_code(&text(header::REASON)?)?,
        detail: text(header::DETAIL).unwrap_or_default(),
        key: record.key.map(<[u8]>::to_vec),
        bytes: record.value.map_or(0, <[u8]>::len),
        time_ms: text(header::TIMESTAMP).and_then(|ms| ms.parse().ok()).unwrap_or(0),
        at: text(header::AT).unwrap_or_default(),
        failed_at: number(header::BYTE),
        mark: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(offset: u64, reason: Reason) -> Entry {
        Entry {
            position: Position { epoch: 0, partition: (offset % 2) as u32, offset },
            letter: (0, offset),
            reason,
            detail: String::new(),
            key: None,
            bytes: 1,
            time_ms: 0,
            at: String::new(),
            failed_at: None,
            mark: None,
        }
    }

    fn offsets(index: &Index, filter: &DeadLetterFilter) -> (Vec<u64>, Option<String>) {
        let (entries, next) = index.list(filter);
        (entries.iter().map(|entry| entry.position.offset).collect(), next)
    }

    #[test]
    fn pages_go_from_the_newest_and_miss_none() {
        let mut index = Index::new(100, FxHashMap::default());
        (0..7).for_each(|offset| index.take(letter(offset, Reason::TooDeep)));
        let mut filter = DeadLetterFilter { limit: 3, ..DeadLetterFilter::default() };
        let mut seen = Vec::new();
        loop {
            let (page, next) = offsets(&index, &filter);
            seen.extend(page);
            match next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, [6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn filters_and_marks_are_kept_to() {
        let mut index = Index::new(100, FxHashMap::default());
        index.take(letter(0, Reason::TooDeep));
        index.take(letter(1, Reason::InvalidKey));
        index.take(letter(0, Reason::TooDeep));
        let filter = DeadLetterFilter { reason: Some(Reason::TooDeep), limit: 9, ..Default::default() };
        assert_eq!(offsets(&index, &filter), (vec![0], None));
        let position = letter(0, Reason::TooDeep).position;
        index.mark(position, Mark { mark: "discarded".into(), at: String::new(), position: None });
        assert_eq!(index.open(), BTreeMap::from([("invalid_key", 1)]));
    }

    #[test]
    fn the_oldest_gives_room_and_is_counted() {
        let mut index = Index::new(2, FxHashMap::default());
        (0..5).for_each(|offset| index.take(letter(offset, Reason::TooDeep)));
        assert_eq!((index.by_order.len(), index.by_position.len(), index.dropped), (2, 2, 3));
    }
}
