//! The last events of a key, newest first, by their own time.
//!
//! Invariant: the newest `events_max` of all that were taken in, in one order whatever they arrived in, so that the parts of
//! several partitions merge into what one would hold; bytes are bounded, and the newest event stays whatever it weighs.

use crate::{clock, document::Json, record::Position};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::cmp::Reverse;

/// One event that is kept; shown and stored alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    #[serde(rename = "time", serialize_with = "iso", deserialize_with = "from_iso")]
    pub time_ms: i64,
    #[serde(serialize_with = "spelled", deserialize_with = "from_spelled")]
    pub position: Position,
    pub value: Json,
}

/// The newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(pub Vec<Item>);

impl Item {
    fn order(&self) -> Reverse<(i64, u32, u32, u64)> {
        let Position { epoch, partition, offset } = self.position;
        Reverse((self.time_ms, partition, epoch, offset))
    }

    fn size(&self) -> usize {
        const AROUND: usize = 80;
        self.value.text().len() + AROUND
    }
}

impl Recent {
    pub fn take(&mut self, item: Item, events_max: usize, bytes_max: usize) {
        let at = self.0.partition_point(|held| held.order() < item.order());
        self.0.insert(at, item);
        self.trim(events_max, bytes_max);
    }

    /// About how many bytes it takes where it is stored.
    pub fn size(&self) -> usize {
        self.0.iter().map(Item::size).sum()
    }

    pub fn merge(&mut self, other: Recent, events_max: usize, bytes_max: usize) {
        self.0.extend(other.0);
        self.0.sort_by_key(Item::order);
        self.trim(events_max, bytes_max);
    }

    fn trim(&mut self, events_max: usize, bytes_max: usize) {
        let mut bytes = 0_usize;
        let fits = self.0.iter().take(events_max).take_while(|item| {
            bytes += item.size();
            bytes <= bytes_max
        });
        let fits = fits.count().max(1);
        self.0.truncate(fits);
    }
}

fn iso<S: Serializer>(time_ms: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&clock::iso(*time_ms))
}

fn from_iso<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    clock::parse(&text).ok_or_else(|| D::Error::custom("an event's time cannot be read"))
}

fn spelled<S: Serializer>(position: &Position, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(position)
}

fn from_spelled<'de, D: Deserializer<'de>>(from: D) -> Result<Position, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(time_ms: i64, partition: u32, offset: u64, text: &str) -> Item {
        Item { time_ms, position: Position { epoch: 0, partition, offset }, value: Json::from_checked(text) }
    }

    fn values(recent: &Recent) -> Vec<&str> {
        recent.0.iter().map(|item| item.value.text()).collect()
    }

    #[test]
    fn the_newest_by_their_own_time_stay_whatever_order_they_come_in() {
        let mut recent = Recent::default();
        for (time_ms, text) in [(5, "5"), (1, "1"), (9, "9"), (7, "7")] {
            recent.take(item(time_ms, 0, time_ms as u64, text), 3, 1 << 20);
        }
        assert_eq!(values(&recent), ["9", "7", "5"]);
        let stored = serde_json::to_string(&recent).expect("stored");
        assert!(
            stored.starts_with(r#"[{"time":"1970-01-01T00:00:00.009Z","position":"0.0.9","value":9},"#),
            "{stored}"
        );
        assert_eq!(serde_json::from_str::<Recent>(&stored).expect("read back"), recent);
    }

    #[test]
    fn parts_of_partitions_merge_into_what_one_would_hold() {
        let (mut one, mut parts) = (Recent::default(), [Recent::default(), Recent::default()]);
        for i in 0..50_u64 {
            let new = item((i * 37 % 50) as i64, (i % 2) as u32, i, &i.to_string());
            one.take(new.clone(), 10, 1 << 20);
            parts[(i % 2) as usize].take(new, 10, 1 << 20);
        }
        let [mut merged, other] = parts;
        merged.merge(other, 10, 1 << 20);
        assert_eq!(merged, one);
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_event_stays() {
        let mut recent = Recent::default();
        let large = format!("\"{}\"", "x".repeat(1_000));
        (0..9).for_each(|i| recent.take(item(i, 0, i as u64, &large), 100, 3_000));
        assert_eq!(recent.0.len(), 2);
        recent.take(item(99, 0, 99, &format!("\"{}\"", "y".repeat(9_000))), 100, 3_000);
        assert_eq!((recent.0.len(), recent.0[0].time_ms), (1, 99));
    }
}
