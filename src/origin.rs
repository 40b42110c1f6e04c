//! Where an emitted record comes from, and what an entity remembers of it, so that a repeat is known (semantics 8).
//!
//! Invariant: of one origin partition and lane, records reach a topic in the order of their origins, or once more after it:
//! a lane's records are folded by one writer, which emits what they lead to one after the other. So what is not newer than
//! what an entity has taken in of that partition and lane is a repeat of something it has seen.
//! Not here: appending (`engine::write`), skipping (`engine::fold`).

use crate::{
    config::names,
    partitioner::murmur2,
    record::{Headers, Key, Position},
};
use serde::{Serialize, Serializer};
use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// The header of what we append; of an emitted record `STREAM/POSITION/LANE/INDEX/TOPIC`, the topic being the one it is
/// emitted to: who passes a header on to another topic says nothing about the records there.
pub const ORIGIN_HEADER: &str = "statecast-origin";

/// What the headers of our dead letters begin with.
pub const DEAD_LETTER_PREFIX: &str = "statecast-dlq-";

/// Keys of a partition are split over so many lanes, each in order by itself. Never to be changed: what was emitted under
/// another number would be taken for older or newer than it is.
pub const LANES: usize = 64;

/// Origins that an entity remembers, one per stream, partition and lane: as many as the lanes of four partitions. Beyond
/// it, what was heard of least lately is forgotten, and its repeats count again. No setting, since an entity has to be the
/// same on every instance.
pub const ORIGINS_MAX: usize = 256;

/// The lane of a key, for ever.
pub fn lane_of(key: &[u8]) -> usize {
    // The upper bits: the lower ones have chosen the partition.
    ((u64::from(murmur2(key) as u32) * LANES as u64) >> 32) as usize
}

/// The record an emitted one comes from, and which of its emits it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub stream: Key,
    pub position: Position,
    /// That of the source record's key; 0 where one writer has the whole partition.
    pub lane: u32,
    /// Among the emits of one step, from 0.
    pub index: u32,
}

impl Origin {
    /// Of a record of this topic with these headers, if it was emitted to it. A dead letter that somebody sent back to
    /// its topic is no repeat, and is none.
    pub fn of(headers: Headers<'_>, topic: &str) -> Option<Self> {
        let text = std::str::from_utf8(headers.get(ORIGIN_HEADER)?).ok()?;
        let (origin, _) = text.rsplit_once('/').filter(|(_, to)| *to == topic)?;
        let came_back = headers.iter().any(|(name, _)| name.starts_with(DEAD_LETTER_PREFIX.as_bytes()));
        origin.parse().ok().filter(|_| !came_back)
    }

    /// The header of what is emitted to this topic.
    pub fn header(&self, topic: &str) -> (String, Option<Vec<u8>>) {
        (ORIGIN_HEADER.to_owned(), Some(format!("{self}/{topic}").into_bytes()))
    }

    /// The order of two origins of one stream, partition and lane; `None`: they have none.
    fn order(&self, other: &Origin) -> Option<Ordering> {
        let comparable = self.lane == other.lane && self.stream == other.stream;
        let order = self.position.order(&other.position).filter(|_| comparable)?;
        Some(order.then(self.index.cmp(&other.index)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.stream, self.position, self.lane, self.index)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A text that names no origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an origin reads STREAM/POSITION/LANE/INDEX")]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let mut parts = text.split('/');
        let (Some(stream), Some(position), Some(lane), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnOrigin);
        };
        // As streams may be called: what is kept for ever is bounded, and can be read back.
        if names::stream(stream).is_err() {
            return Err(NotAnOrigin);
        }
        let number = |text: &str| text.parse().map_err(|_| NotAnOrigin);
        let position = position.parse().map_err(|_| NotAnOrigin)?;
        Ok(Origin { stream: stream.into(), position, lane: number(lane)?, index: number(index)? })
    }
}

/// The newest origin that an entity has taken in of each stream, partition and lane, the latest heard of last. Nothing but
/// a pointer where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Option<Arc<Vec<Origin>>>);

impl Origins {
    /// As they were stored; `None`: one of them is none.
    pub fn parse<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Self> {
        texts.map(|text| text.parse().ok()).collect::<Option<Vec<_>>>().map(Origins::from)
    }

    pub fn as_slice(&self) -> &[Origin] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether this origin is not newer than the one held of its partition and lane.
    pub fn have_seen(&self, origin: &Origin) -> bool {
        self.as_slice().iter().any(|held| held.order(origin).is_some_and(Ordering::is_ge))
    }

    /// Remembers it in the place of the one held of its partition and lane.
    pub fn take(&mut self, origin: Origin) {
        let held = Arc::make_mut(self.0.get_or_insert_default());
        held.retain(|held| held.order(&origin).is_none());
        if held.len() >= ORIGINS_MAX {
            held.remove(0);
        }
        held.push(origin);
    }

    /// Bytes they take beside their entity, in memory and, about, in the store.
    pub fn size(&self) -> usize {
        self.as_slice().iter().map(|origin| size_of::<Origin>() + origin.stream.len()).sum()
    }
}

impl From<Vec<Origin>> for Origins {
    fn from(origins: Vec<Origin>) -> Self {
        Origins((!origins.is_empty()).then(|| Arc::new(origins)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    #[test]
    fn an_origin_is_read_as_it_is_written() {
        let one = origin("agents-routing/1.3.1041/63/2");
        let position = Position { epoch: 1, partition: 3, offset: 1041 };
        assert_eq!(one, Origin { stream: "agents-routing".into(), position, lane: 63, index: 2 });
        assert_eq!(one.to_string(), "agents-routing/1.3.1041/63/2");
        // A replay is an order of a person, and is none of a stream's emits.
        let long = format!("{}/0.0.1/1/1", "k".repeat(101));
        for other in [
            "dlq/0.0.1",
            "kv/0.0.1",
            "kv/0.0/1/1",
            "kv/0.0.1/1/1/1",
            "kv/0.0.1/-1/0",
            "",
            "a,b/0.0.1/0/0",
            &long,
        ] {
            assert_eq!(other.parse::<Origin>(), Err(NotAnOrigin), "{other}");
        }
    }

    #[test]
    fn an_origin_counts_in_the_topic_it_was_emitted_to_and_not_of_a_dead_letter_sent_back() {
        let one = origin("kv/0.0.1/2/3");
        let read = |headers: &[(String, Option<Vec<u8>>)], topic: &str| {
            let mut slice = crate::record::Slice::new(0, 0);
            let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
            slice.push(0, 0, None, None, headers);
            Origin::of(slice.get(0).expect("a record").headers, topic)
        };
        let header = one.header("orders.v1");
        assert_eq!(read(from_ref(&header), "orders.v1"), Some(one));
        assert_eq!(read(from_ref(&header), "orders"), None, "passed on to another topic");
        let letter = (format!("{DEAD_LETTER_PREFIX}reason"), Some(b"too_deep".to_vec()));
        assert_eq!(read(&[header, letter], "orders.v1"), None, "a dead letter that somebody sent back");
        assert_eq!(read(&[(ORIGIN_HEADER.into(), Some(b"kv/0.0.1/2/3".to_vec()))], "3"), None);
    }

    #[test]
    fn what_is_not_newer_than_the_one_held_of_its_partition_and_lane_was_seen() {
        let mut origins = Origins::default();
        assert!(origins.is_empty() && !origins.have_seen(&origin("a/0.0.0/0/0")));
        origins.take(origin("a/0.1.5/7/1"));
        for seen in ["a/0.1.5/7/1", "a/0.1.5/7/0", "a/0.1.4/7/9"] {
            assert!(origins.have_seen(&origin(seen)), "{seen}");
        }
        for new in ["a/0.1.5/7/2", "a/0.1.6/7/0", "a/1.1.0/7/0", "a/0.2.1/7/0", "a/0.1.1/8/0", "b/0.1.1/7/0"]
        {
            assert!(!origins.have_seen(&origin(new)), "{new}");
        }
        origins.take(origin("b/0.1.1/7/0"));
        origins.take(origin("a/1.1.0/7/0"));
        assert!(origins.have_seen(&origin("a/0.1.99/7/0")), "of the topic before");
        let texts: Vec<String> = origins.as_slice().iter().map(Origin::to_string).collect();
        assert_eq!(texts, ["b/0.1.1/7/0", "a/1.1.0/7/0"]);
        assert_eq!(Origins::parse(texts.iter().map(String::as_str)), Some(origins));
        assert_eq!(Origins::parse(["a/0.1.5/7/1", "?"].into_iter()), None);
    }

    #[test]
    fn the_one_heard_of_least_lately_goes() {
        let mut origins = Origins::default();
        for partition in 0..ORIGINS_MAX {
            origins.take(origin(&format!("a/0.{partition}.1/0/0")));
        }
        origins.take(origin("a/0.0.2/0/0"));
        origins.take(origin("b/0.0.1/0/0"));
        assert_eq!(origins.as_slice().len(), ORIGINS_MAX);
        assert!(origins.have_seen(&origin("a/0.0.2/0/0")) && origins.have_seen(&origin("b/0.0.1/0/0")));
        assert!(!origins.have_seen(&origin("a/0.1.1/0/0")));
    }

    #[test]
    fn a_key_has_its_lane_for_ever_and_they_are_even() {
        // Of hashes from Kafka's own tests: -973932308, -790332482 and 479470107.
        assert_eq!(["21", "foobar", "abc"].map(|key| lane_of(key.as_bytes())), [49, 52, 7]);
        let mut counts = [0_usize; LANES];
        for i in 0..64_000 {
            counts[lane_of(format!("user-{i}").as_bytes())] += 1;
        }
        assert!(counts.iter().all(|n| (800..1_200).contains(n)), "{counts:?}");
    }
}
