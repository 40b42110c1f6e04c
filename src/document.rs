//! What is stored of a key, and how it is shown outside.
//!
//! Invariant: a document is a pure function of its position: same records, same bytes, on every instance.
//! Not here: how a database spells it (`adapters`), or who may see it (`http`).

use crate::{
    clock,
    origin::Origins,
    record::{Key, NotAPosition, Position},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use std::{fmt, fmt::Write as _, str::FromStr, sync::Arc};

/// JSON text that has been read once and found well-formed; cheap to share.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Takes text that the caller has already parsed (`json::check`, or serde_json wrote it).
    pub fn from_checked(text: &str) -> Self {
        Json(text.into())
    }

    /// Parses, then keeps the text as it is.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Json(raw.get().into()))
    }

    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Json(text.into()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|raw| Json(raw.get().into()))
    }
}

/// What the store holds of one entity (or of one partial of it).
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub key: Key,
    /// The source partition, where the group key is not the partition key.
    pub partial: Option<u32>,
    /// How many records this key took in, dense from 1.
    pub version: u64,
    pub created_ms: i64,
    /// The time of the newest record taken in; decides between positions of two partitions.
    pub updated_ms: i64,
    pub position: Position,
    /// `None`: removed. What is left is a tombstone that its owner forgets after `tombstone_keep`.
    pub value: Option<Json>,
    /// Of the emitted records among those taken in, so that a repeat is known.
    pub origins: Origins,
}

impl Document {
    /// Whether what stands at `position` with record time `time_ms` is reflected here already, or too old to be
    /// (semantics 9): within one partition the position decides, across partitions the record time, where equal is old.
    pub fn has_seen(&self, position: &Position, time_ms: i64) -> bool {
        match self.position.order(position) {
            Some(order) => order.is_ge(),
            None => self.updated_ms >= time_ms,
        }
    }
}

/// One position, or one per partial, joined by `,` outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub SmallVec<[Position; 1]>);

impl From<Position> for Positions {
    fn from(position: Position) -> Self {
        Positions(SmallVec::from_elem(position, 1))
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, position) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{position}")?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Positions)
    }
}

impl Positions {
    /// Whether everything in `other` has been taken in here.
    pub fn cover(&self, other: &Positions) -> bool {
        other.0.iter().all(|theirs| self.0.iter().any(|ours| ours.covers(theirs)))
    }

    pub fn of(&self, partition: u32) -> Option<&Position> {
        self.0.iter().find(|p| p.partition == partition)
    }
}

/// An entity as it is shown: a document, or the merge of its partials.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub key: Key,
    pub version: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub positions: Positions,
    pub value: Option<Json>,
}

impl From<&Document> for Shown {
    fn from(document: &Document) -> Self {
        Shown {
            key: document.key.clone(),
            version: document.version,
            created_ms: document.created_ms,
            updated_ms: document.updated_ms,
            positions: document.position.into(),
            value: document.value.clone(),
        }
    }
}

impl Shown {
    /// The members of the entity's JSON object without its braces, so that `room` and `skipped` can stand beside:
    /// `"stream":"kv","key":"user-1","value":{...},"version":7,"created":"...","updated":"...","position":"0.3.1041"`.
    pub fn members(&self, stream: &str) -> String {
        let value = self.value.as_ref().map_or("null", Json::text);
        let mut out = String::with_capacity(value.len() + self.key.len() + 160);
        out.push_str("\"stream\":");
        push_json_string(&mut out, stream);
        out.push_str(",\"key\":");
        push_json_string(&mut out, &self.key);
        let _ = write!(out, ",\"value\":{value},\"version\":{}", self.version);
        if self.value.is_none() {
            out.push_str(",\"deleted\":true");
        }
        let (created, updated) = (clock::iso(self.created_ms), clock::iso(self.updated_ms));
        let _ = write!(
            out,
            ",\"created\":\"{created}\",\"updated\":\"{updated}\",\"position\":\"{}\"",
            self.positions
        );
        out
    }

    /// The whole entity as a JSON object.
    pub fn json(&self, stream: &str) -> String {
        format!("{{{}}}", self.members(stream))
    }

    /// Bytes this entity takes in memory, for byte-bounded caches.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |v| v.text().len()) + size_of::<Self>()
    }
}

/// Appends `text` as a JSON string, quotes and escapes included.
pub fn push_json_string(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_shown_as_wire_md_says() {
        let position = Position { epoch: 0, partition: 3, offset: 1041 };
        let mut shown = Shown {
            key: "user \"1\"".into(),
            version: 7,
            created_ms: 0,
            updated_ms: 1,
            positions: position.into(),
            value: Some(Json::from_checked("{\"a\":1.50}")),
        };
        assert_eq!(
            shown.json("kv"),
            r#"{"stream":"kv","key":"user \"1\"","value":{"a":1.50},"version":7,"created":"1970-01-01T00:00:00.000Z","updated":"1970-01-01T00:00:00.001Z","position":"0.3.1041"}"#
        );
        shown.value = None;
        assert!(shown.json("kv").contains(r#""value":null,"version":7,"deleted":true"#));
    }

    #[test]
    fn positions_of_partials_are_joined_and_compared_one_by_one() {
        let held: Positions = "0.0.5,0.2.9".parse().expect("positions");
        assert_eq!(held.to_string(), "0.0.5,0.2.9");
        assert!(held.cover(&"0.2.9".parse().expect("position")));
        assert!(!held.cover(&"0.1.0".parse().expect("position")));
    }
}
