//! What is refused, how it is kept, and how much refusal is too much.
//!
//! Invariant: a dead letter holds the original key, value and headers byte for byte, and says where it came from and
//! why; a partition that is mostly poison is held, because a dead-letter topic full of good records is a silent loss.
//! Not here: appending it (the writer does, before anything past it is committed).

use crate::{
    app::Poison,
    clock,
    record::{NewRecord, Record},
};
use std::collections::VecDeque;

/// Headers we add, in `TOPIC.dlq`.
pub mod header {
    pub const TOPIC: &str = "statecast-dlq-topic";
    pub const PARTITION: &str = "statecast-dlq-partition";
    pub const OFFSET: &str = "statecast-dlq-offset";
    pub const TIMESTAMP: &str = "statecast-dlq-timestamp";
    pub const STREAM: &str = "statecast-dlq-stream";
    pub const REASON: &str = "statecast-dlq-reason";
    pub const DETAIL: &str = "statecast-dlq-detail";
    pub const AT: &str = "statecast-dlq-at";
    /// Further, beside the fixed ones: the epoch of the topic, and the byte at which reading failed.
    pub const EPOCH: &str = "statecast-dlq-epoch";
    pub const BYTE: &str = "statecast-dlq-byte";
}

/// The dead-letter topic of a topic.
pub fn topic_of(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// The record for `TOPIC.dlq`.
pub fn letter(record: &Record<'_>, topic: &str, stream: &str, poison: &Poison) -> NewRecord {
    let mut headers: Vec<(String, Option<Vec<u8>>)> = record
        .headers
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), Some(value.into_bytes())));
    add(header::TOPIC, topic.to_owned());
    add(header::PARTITION, record.position.partition.to_string());
    add(header::OFFSET, record.position.offset.to_string());
    add(header::EPOCH, record.position.epoch.to_string());
    add(header::TIMESTAMP, record.time_ms.to_string());
    add(header::STREAM, stream.to_owned());
    add(header::REASON, poison.reason.code().to_owned());
    add(header::DETAIL, poison.detail.clone());
    add(header::AT, clock::iso(clock::now_ms()));
    if let Some(byte) = poison.at_byte {
        add(header::BYTE, byte.to_string());
    }
    NewRecord {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers,
        partition: None,
        time_ms: None,
    }
}

/// How much poison a partition may have before it is held: a run, or a share of the last `WINDOW` records.
#[derive(Debug)]
pub struct Limit {
    run_max: u32,
    share_max: u32,
    run: u32,
    window: VecDeque<bool>,
    poisoned: u32,
}

/// The share is taken of so many records.
pub const WINDOW: usize = 1000;

impl Limit {
    pub fn new(run_max: u32, share_max: u32) -> Self {
        Limit { run_max, share_max, run: 0, window: VecDeque::with_capacity(WINDOW), poisoned: 0 }
    }

    /// Takes in `records` consecutive records, of which those at `poison` (ascending indices) were poison.
    /// `true`: the limit is reached.
    pub fn take(&mut self, records: u32, poison: &[u32]) -> bool {
        if poison.is_empty() && self.poisoned == 0 {
            self.run = 0;
            return false;
        }
        let mut poison = poison.iter().copied().peekable();
        let mut reached = false;
        for index in 0..records {
            let bad = poison.next_if_eq(&index).is_some();
            self.push(bad);
            reached |= self.run >= self.run_max || self.poisoned >= self.share_max;
        }
        reached
    }

    fn push(&mut self, bad: bool) {
        self.run = if bad { self.run + 1 } else { 0 };
        if self.window.len() == WINDOW && self.window.pop_front() == Some(true) {
            self.poisoned -= 1;
        }
        self.window.push_back(bad);
        self.poisoned += u32::from(bad);
    }

    /// Share of the limit used, 0 to 1 and beyond.
    pub fn used(&self) -> f64 {
        let run = f64::from(self.run) / f64::from(self.run_max.max(1));
        let share = f64::from(self.poisoned) / f64::from(self.share_max.max(1));
        run.max(share)
    }

    /// Starts over, after someone released the partition.
    pub fn reset(&mut self) {
        *self = Limit::new(self.run_max, self.share_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::Reason, record::Slice};

    #[test]
    fn a_letter_keeps_the_original_bytes_and_says_why() {
        let mut slice = Slice::new(1, 3);
        let own: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"\xff\x00")), (b"n", None)];
        slice.push(42, 1_000, Some(b"\xfe"), Some(b"{bad"), own.into_iter());
        let record = slice.get(0).expect("record");
        let poison = Poison { at_byte: Some(1), ..Poison::new(Reason::MalformedJson, "why") };
        let letter = letter(&record, "kv", "kv", &poison);
        assert_eq!(
            (letter.key.as_deref(), letter.value.as_deref()),
            (Some(&b"\xfe"[..]), Some(&b"{bad"[..]))
        );
        assert_eq!(letter.headers[0], ("h".into(), Some(b"\xff\x00".to_vec())));
        assert_eq!(letter.headers[1], ("n".into(), None));
        let value = |name: &str| {
            let found = letter.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.clone());
            String::from_utf8(found.expect(name)).expect("text")
        };
        assert_eq!(value(header::PARTITION), "3");
        assert_eq!(value(header::OFFSET), "42");
        assert_eq!(value(header::REASON), "malformed_json");
        assert_eq!(value(header::BYTE), "1");
    }

    #[test]
    fn a_run_reaches_the_limit_and_one_good_record_ends_a_run() {
        let mut limit = Limit::new(3, 500);
        assert!(!limit.take(4, &[0, 1, 3]));
        assert!(!limit.take(1, &[0]));
        assert!(limit.take(1, &[0]));
        limit.reset();
        assert!(!limit.take(2, &[0, 1]));
    }

    #[test]
    fn half_of_the_last_thousand_reaches_the_limit_and_old_poison_is_forgotten() {
        let mut limit = Limit::new(100, 500);
        let every_second: Vec<u32> = (0..998).step_by(2).collect();
        assert!(!limit.take(998, &every_second));
        assert!(limit.take(2, &[0]));
        let mut limit = Limit::new(100, 500);
        limit.take(998, &every_second);
        assert!(!limit.take(1000, &[]));
        assert_eq!(limit.used(), 0.0);
    }
}
