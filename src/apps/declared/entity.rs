//! What a key of a declared stream owns, by its projection.
//!
//! Invariant: parts of two partitions merge into what one would hold.
//! Not here: what an aggregate holds (`aggregate`), when an event is taken in (the step).

use crate::{
    aggregate::Aggregate,
    document::Json,
    json::spelled,
    record::Position,
    window::{Item, Newest, When},
};
use serde::{Deserialize, Serialize, Serializer};

/// As it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entity {
    /// `latest` by the record's key: the value as it came.
    Value(Json),
    /// `latest` by something else: one partition's newest.
    Dated(Dated),
    Log(Log),
    Recent(#[serde(serialize_with = "newest_first")] Newest<Kept>),
    Aggregate(Aggregate),
    /// What is shown of partials; never stored.
    Shown(Json),
}

/// A value with its record's time: of several partitions' the newest is shown (semantics 12).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dated {
    pub time_ms: i64,
    pub value: Json,
}

/// How many events a key has in its log, and which came last; the events are rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    pub count: u64,
    pub last_id: String,
    /// The record's time.
    #[serde(rename = "last_time", with = "spelled::time")]
    pub last_time_ms: i64,
    pub last: Json,
}

/// An event among the last ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(rename = "time", with = "spelled::time")]
    pub time_ms: i64,
    #[serde(with = "spelled::text")]
    pub position: Position,
    pub value: Json,
}

impl Item for Kept {
    fn when(&self) -> When {
        When::at(self.time_ms, self.position)
    }

    fn bytes(&self) -> usize {
        const AROUND: usize = 80;
        self.value.text().len() + AROUND
    }
}

fn newest_first<S: Serializer>(recent: &Newest<Kept>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(recent.iter())
}

impl Dated {
    pub fn merge(self, other: Dated) -> Dated {
        if self.time_ms < other.time_ms { other } else { self }
    }
}

impl Log {
    pub fn merge(self, other: Log) -> Log {
        let count = self.count + other.count;
        let newest = if self.last_time_ms < other.last_time_ms { other } else { self };
        Log { count, ..newest }
    }
}

impl Entity {
    /// About how many bytes it takes where it is stored. Asked before each record, so it is summed up rather than written out.
    pub fn size(&self) -> usize {
        const AROUND: usize = 100;
        match self {
            Entity::Value(json) | Entity::Shown(json) => json.text().len(),
            Entity::Dated(dated) => AROUND + dated.value.text().len(),
            Entity::Log(log) => AROUND + log.last_id.len() + log.last.text().len(),
            Entity::Recent(recent) => AROUND + recent.bytes(),
            Entity::Aggregate(aggregate) => aggregate.size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Keep;

    const MANY: usize = 1 << 20;

    fn kept(time_ms: i64, partition: u32, offset: u64, text: &str) -> Kept {
        Kept { time_ms, position: Position { epoch: 0, partition, offset }, value: Json::from_checked(text) }
    }

    fn values(recent: &Newest<Kept>) -> Vec<&str> {
        recent.iter().map(|kept| kept.value.text()).collect()
    }

    #[test]
    fn the_newest_by_their_own_time_stay_whatever_order_they_come_in() {
        let mut recent = Newest::default();
        for (time_ms, text) in [(5, "5"), (1, "1"), (9, "9"), (7, "7")] {
            recent.add(kept(time_ms, 0, time_ms as u64, text), Keep { items: 3, bytes: MANY });
        }
        assert_eq!(values(&recent), ["9", "7", "5"]);
        let stored = serde_json::to_string(&Entity::Recent(recent.clone())).expect("stored");
        assert!(
            stored.starts_with(r#"[{"time":"1970-01-01T00:00:00.009Z","position":"0.0.9","value":9},"#),
            "{stored}"
        );
        assert_eq!(serde_json::from_str::<Newest<Kept>>(&stored).expect("read back"), recent);
    }

    #[test]
    fn parts_of_partitions_merge_into_what_one_would_hold() {
        let ten = Keep { items: 10, bytes: MANY };
        let (mut one, mut parts) = (Newest::default(), [Newest::default(), Newest::default()]);
        for i in 0..50_u64 {
            let new = kept((i * 37 % 50) as i64, (i % 2) as u32, i, &i.to_string());
            one.add(new.clone(), ten);
            parts[(i % 2) as usize].add(new, ten);
        }
        let [mut merged, other] = parts;
        merged.merge(other, ten);
        assert_eq!(merged, one);
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_event_stays() {
        let few = Keep { items: 100, bytes: 3_000 };
        let mut recent = Newest::default();
        let large = format!("\"{}\"", "x".repeat(1_000));
        (0..9).for_each(|i| recent.add(kept(i, 0, i as u64, &large), few));
        assert_eq!(recent.len(), 2);
        recent.add(kept(99, 0, 99, &format!("\"{}\"", "y".repeat(9_000))), few);
        assert_eq!((recent.len(), recent.iter().next().map(|kept| kept.time_ms)), (1, Some(99)));
    }
}
