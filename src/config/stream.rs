//! Settings of one stream, built in or declared: what each is for, and its bound.
//!
//! Invariant: as of all settings (`config`); docs/declared.md is the reference of those that declare a stream.
//! Not here: which streams there are (`streams`), what their declarations mean (`declaration`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a declared stream makes of its records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    #[default]
    Own,
    Latest,
    Log,
    Aggregate,
    Recent,
}

/// How the values of a declared stream are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    CloudEvents,
}

/// The stretch of time an aggregate is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    #[default]
    None,
    Tumbling,
    Sliding,
}

/// Settings of one stream, under its name. A name that is not built in declares a stream of its own, whose `projection`
/// has to be said; declared.md is its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// false: neither read nor served.
    pub enabled: bool,
    /// Empty: the stream's name.
    pub topic: String,
    /// Empty: PREFIX-STREAM, by kafka.group_prefix.
    pub group: String,
    /// Partitions of the topic where it is created here.
    pub partitions: u32,
    /// Retention of the topic where it is created here; 0: for ever.
    pub retention_s: u64,
    /// latest: the newest value of each key; log: every event once, by its id; aggregate: figures over events; recent: the
    /// last events; own: the stream is built in and has a meaning of its own.
    pub projection: Projection,
    /// json, or cloudevents (structured and binary).
    pub format: Format,
    /// Whose state a record belongs to. Empty: the record's key; a JSON Pointer: what stands there in the value; *: all
    /// records make one state, of the key all.
    pub key: String,
    /// JSON Pointers that make the key together, joined by a slash, for aggregate and recent; instead of `key`.
    pub group_by: Vec<String>,
    /// JSON Pointer to the id by which a log knows an event again; CloudEvents have one of their own.
    pub id: String,
    /// JSON Pointer to the time of an event (ISO 8601, or seconds or milliseconds since 1970), for aggregate and recent.
    /// Empty: the time of the record, or that of the CloudEvent.
    pub time: String,
    /// JSON Schema that every value (of a CloudEvent: its data) must obey: the schema itself, or the path of its file.
    pub schema: String,
    /// Events that recent keeps.
    pub recent_max: u32,
    /// Bytes of events that recent keeps of one key; older ones go first.
    pub recent_bytes_max: usize,
    /// none: aggregates are over all events; tumbling: over windows that follow each other; sliding: over the last
    /// `window_s`.
    pub window: Window,
    /// How long a window is.
    pub window_s: u64,
    /// By how much a sliding window moves on.
    pub slide_s: u64,
    /// How many tumbling windows are kept, the current one included.
    pub windows_max: u32,
    /// How long after its last record a key is forgotten; 0: never.
    pub ttl_s: u64,
    /// The collection that keeps the state; empty: the stream's name.
    pub collection: String,
    /// What an aggregate counts, by the names it is shown under: count, sum POINTER, min, max, mean, last, distinct,
    /// quantile 0.99 POINTER.
    pub aggregates: BTreeMap<String, String>,
    /// Rooms beside those of the keys and the stream: NAME = KEY opens STREAM:NAME, which shows the state of KEY.
    pub rooms: BTreeMap<String, String>,
}
