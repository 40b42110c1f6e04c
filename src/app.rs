//! The one abstraction: an app is a pure step over one key's entity.
//!
//! *Given what this key was, and what just happened: what is it now, and who must hear?*
//! Invariant: no clock, no I/O, no randomness in `decode`, `check` and `step`; ids and times come from the stamp. So replay,
//! simulation and `verify` are the same function called again.
//! Not here: versions, positions, storing, telling. Those are the engine's, for every app.

use crate::{
    document::Json,
    record::{Key, Record, Stamp},
};
use serde::{Serialize, de::DeserializeOwned};

/// One stream's meaning. A system that reads several topics registers several apps.
pub trait App: Send + Sync + 'static {
    /// What a record reports, or asks for.
    type Event: Send;
    /// What a key owns: one document.
    type Entity: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// Reads a record that is no tombstone and whose JSON obeys the engine's limits.
    fn decode(&self, record: &Record<'_>) -> Result<Self::Event, Poison>;

    /// What a record without a value means. `None`: the key is removed without asking the step.
    fn decode_tombstone(&self, _record: &Record<'_>) -> Option<Self::Event> {
        None
    }

    /// The key of the entity this event belongs to. Only for streams routed by partition; else the record's key.
    fn group_key(&self, _event: &Self::Event) -> Option<Key> {
        None
    }

    /// The id of the row that says whether this event was seen before; the engine loads who inserted it first.
    fn row_id(&self, _event: &Self::Event) -> Option<String> {
        None
    }

    /// Whether the step may happen: poison and refusals are decided here, on the entity as it is.
    fn check(&self, _was: Option<&Self::Entity>, _event: &Self::Event, _at: &At<'_>) -> Result<(), Reject> {
        Ok(())
    }

    /// The pure step, asked only after `check` agreed. `was` is `None` for a key that is not there.
    fn step(&self, was: Option<Self::Entity>, event: Self::Event, at: &At<'_>) -> Step<Self::Entity>;

    /// Whether events add up, so that one that comes late takes the place of nothing. Where they do not, a dead letter is not
    /// replayed over something newer unless that is forced (semantics 23).
    fn adds_up(&self) -> bool {
        false
    }

    /// Bytes of the entity as it is stored; the bound on entities is held by it. Override where writing it out to
    /// measure it is too slow.
    fn size(&self, entity: &Self::Entity) -> usize {
        self.to_json(entity).map_or(usize::MAX, |json| json.text().len())
    }

    /// The entity as the store and the readers see it.
    fn to_json(&self, entity: &Self::Entity) -> Result<Json, serde_json::Error> {
        Json::of(entity)
    }

    /// The entity back from what `to_json` wrote.
    #[allow(clippy::wrong_self_convention)]
    fn from_json(&self, json: &Json) -> Result<Self::Entity, serde_json::Error> {
        serde_json::from_str(json.text())
    }

    /// What is shown of the partials of one key at `now_ms` (a window slides without a record). Only called for
    /// streams routed by partition; `partials` is never empty.
    fn merge(&self, partials: Vec<Self::Entity>, _now_ms: i64) -> Option<Self::Entity> {
        partials.into_iter().next()
    }

    /// Rooms beside the key's own and the stream's that hear of this entity: names after `STREAM:`. Not asked where a
    /// stream's rooms show all of it.
    fn rooms(&self, _key: &str) -> Vec<String> {
        Vec::new()
    }

    /// The keys a room is made of: those that begin so. Not asked where a stream's rooms show all of it.
    fn room_prefix(&self, _name: &str) -> String {
        String::new()
    }

    /// What the room of this name shows at `now_ms`, made of its entities in key order, partials merged. `None`: nothing.
    fn room(&self, _name: &str, _entities: Vec<(Key, Self::Entity)>, _now_ms: i64) -> Option<Json> {
        None
    }
}

/// Where and when a step happens, and what is known of its row.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub stamp: Stamp<'a>,
    /// The event's row was first inserted by another record: this one is a duplicate.
    pub seen_before: bool,
}

/// What a step decides. Everything but `entity` is at least once, under ids made from the stamp.
#[derive(Debug)]
pub struct Step<E> {
    /// `None` removes the key.
    pub entity: Option<E>,
    /// Append-only documents, in `STREAM.NAME`.
    pub rows: Vec<Row>,
    /// Records for other topics.
    pub emits: Vec<Emit>,
}

impl<E> Step<E> {
    pub fn keep(entity: E) -> Self {
        Step { entity: Some(entity), rows: Vec::new(), emits: Vec::new() }
    }

    pub fn remove() -> Self {
        Step { entity: None, rows: Vec::new(), emits: Vec::new() }
    }
}

/// The name of rows that are a stream's events, each under its own id.
pub const EVENTS: &str = "events";

/// An append-only document. `id` is the event's own id where it has one (kept for ever, with who was first), else made
/// from the stamp.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The name after `STREAM.`: `events`, `audit`.
    pub name: &'static str,
    pub id: String,
    /// What kind of row it is, for who lists rows of one kind.
    pub label: Option<String>,
    /// When it happened, in ms since 1970 UTC, by which rows are listed; `None`: the record's time.
    pub time_ms: Option<i64>,
    pub json: Json,
}

impl Row {
    /// A row without a label, of the record's time.
    pub fn new(name: &'static str, id: impl Into<String>, json: Json) -> Self {
        Row { name, id: id.into(), label: None, time_ms: None, json }
    }
}

/// A record for another topic; carries `statecast-origin` so that a repeat is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Emit {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// Why a record was not taken in.
#[derive(Debug, Clone, PartialEq)]
pub enum Reject {
    /// To the dead letters; counts toward the partition's limit.
    Poison(Poison),
    /// A condition or a rule said no: counted, told to who waits, and finished.
    Refused(Refused),
}

impl From<Poison> for Reject {
    fn from(poison: Poison) -> Self {
        Reject::Poison(poison)
    }
}

/// A record nobody can take in, whatever the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    pub reason: Reason,
    /// One sentence; never holds the payload.
    pub detail: String,
    /// The byte of the value at which reading failed, where known.
    pub at_byte: Option<usize>,
}

impl Poison {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Poison { reason, detail: detail.into(), at_byte: None }
    }
}

/// The fixed codes of dead letters (semantics 23): a header, a filter, and a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    MalformedJson,
    InvalidKey,
    TooLarge,
    TooDeep,
    NumberRange,
    DuplicateName,
    SchemaInvalid,
    MissingField,
    UnknownVersion,
    StepRejected,
    /// A rule of the store's own does not allow what the record leads to.
    StoreRefused,
}

impl Reason {
    pub const ALL: [Reason; 11] = [
        Reason::MalformedJson,
        Reason::InvalidKey,
        Reason::TooLarge,
        Reason::TooDeep,
        Reason::NumberRange,
        Reason::DuplicateName,
        Reason::SchemaInvalid,
        Reason::MissingField,
        Reason::UnknownVersion,
        Reason::StepRejected,
        Reason::StoreRefused,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Reason::MalformedJson => "malformed_json",
            Reason::InvalidKey => "invalid_key",
            Reason::TooLarge => "too_large",
            Reason::TooDeep => "too_deep",
            Reason::NumberRange => "number_range",
            Reason::DuplicateName => "duplicate_name",
            Reason::SchemaInvalid => "schema_invalid",
            Reason::MissingField => "missing_field",
            Reason::UnknownVersion => "unknown_version",
            Reason::StepRejected => "step_rejected",
            Reason::StoreRefused => "store_refused",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// A command that was understood and not carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub kind: RefusedKind,
    /// One sentence for the caller.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// 409: the state does not allow it.
    Conflict,
    /// 412: the key is at another version than the condition says.
    Precondition,
    /// 422: a rule about the content.
    Rule,
}

impl RefusedKind {
    pub fn code(self) -> &'static str {
        match self {
            RefusedKind::Conflict => "conflict",
            RefusedKind::Precondition => "precondition",
            RefusedKind::Rule => "rule",
        }
    }
}
