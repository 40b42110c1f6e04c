//! What the outside may ask of the engine: the one boundary that `http` and `live` are written against.
//!
//! Invariant: nothing here knows HTTP or Socket.IO, and every answer carries position and freshness.
//! Not here: how any of it is done (`handle`).

use crate::{
    app::{Poison, Reason, RefusedKind},
    document::{Positions, Shown},
    ports::{RowScan, StoredRow},
    record::{Key, NewRecord, Position},
};
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// A stream's name: collection, room, URL segment, metric label.
pub type StreamName = Arc<str>;

pub trait Engine: Send + Sync + 'static {
    /// Every stream with its state now, in the register's order.
    fn streams(&self) -> Vec<StreamStatus>;

    /// `None`: no such stream.
    fn stream(&self, name: &str) -> Option<StreamInfo>;

    /// Whether the stream's app could read this record: what it would call poison needs not be appended.
    fn check(&self, _stream: &str, _record: &NewRecord) -> Result<(), Poison> {
        Ok(())
    }

    /// Appends a record to the stream's topic; the position is where the log has it.
    fn append<'a>(
        &'a self,
        stream: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<Position, WriteError>>;

    /// Appends, then waits until the store confirmed it, or the step refused it.
    fn append_and_wait<'a>(
        &'a self,
        stream: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(Position, Outcome), WriteError>>;

    /// The current entity of a key, from memory where this instance owns it, else from the store. A removed key answers
    /// with `value: None`.
    fn read<'a>(&'a self, stream: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Read>, ReadError>>;

    /// `read` of several keys, in their order. An engine that can do it in one round trip does.
    fn read_many<'a>(
        &'a self,
        stream: &'a str,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Vec<Result<Option<Read>, ReadError>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.push(self.read(stream, key).await);
            }
            found
        })
    }

    /// What the store itself holds of these keys, removed ones too, absent ones left out, in one round trip. What is
    /// newer than the view is taken in there (semantics 13).
    fn read_stored<'a>(
        &'a self,
        stream: &'a str,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Shown>, ReadError>> {
        Box::pin(async move {
            let found = self.read_many(stream, keys).await.into_iter();
            found.filter_map(|one| one.map(|read| read.map(|r| r.shown)).transpose()).collect()
        })
    }

    /// The entity that an app's room shows; its key is the room's name after `STREAM:`. `None`: nothing yet.
    fn read_room<'a>(
        &'a self,
        _stream: &'a str,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    /// Which rooms there are under `PREFIX:`; `None`: none at all. Mostly a stream's own, under its name.
    fn rooms_under(&self, prefix: &str) -> Option<RoomsUnder> {
        let info = self.stream(prefix).filter(|info| !info.app_rooms.is_empty())?;
        Some(RoomsUnder { streams: vec![info.name], names: info.app_rooms })
    }

    /// Waits until everything up to `position` is confirmed by the store here or elsewhere (read your write).
    fn reached<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
        wait: Duration,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Waits until the key stands at a position that `since` does not cover, and gives what it is then (long poll);
    /// `None`: no such change within `wait`. Empty positions are covered by nothing, so a key that is there answers at once.
    fn changed<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
        since: Positions,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>>;

    /// Entities in key order, filtered and sorted, one page.
    fn list<'a>(&'a self, stream: &'a str, query: ListQuery) -> BoxFuture<'a, Result<ListPage, ReadError>>;

    /// One page of the rows in `STREAM.NAME`.
    fn rows<'a>(
        &'a self,
        stream: &'a str,
        _name: &'a str,
        _scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, ReadError>> {
        Box::pin(async move { Err(ReadError::NoStream(stream.to_owned())) })
    }

    /// The row of this id in `STREAM.NAME`.
    fn row<'a>(
        &'a self,
        stream: &'a str,
        _name: &'a str,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, ReadError>> {
        Box::pin(async move { Err(ReadError::NoStream(stream.to_owned())) })
    }

    /// The last change of the stream per partition assigned here (semantics 15).
    fn stream_positions(&self, stream: &str) -> Positions;

    /// Whether this instance is the one that takes in the records of this partition now.
    fn owns(&self, stream: &str, partition: u32) -> bool;

    /// Numbers the assignment under which this instance has the partition; `None`: it does not. Where the number is
    /// another than before, another instance may have had it in between.
    fn assignment(&self, stream: &str, partition: u32) -> Option<u64> {
        self.owns(stream, partition).then_some(0)
    }

    /// State of everything inside, for the pipeline page.
    fn pipeline(&self) -> serde_json::Value;

    /// Where one record is now, by position or by key.
    fn locate<'a>(&'a self, stream: &'a str, what: Locate) -> BoxFuture<'a, serde_json::Value>;

    /// Each dependency and whether it answers.
    fn health(&self) -> Health;

    /// Seconds the store has been away, while answers come from memory.
    fn stale_s(&self) -> Option<u64>;

    /// Streams of dead letters, and orders about them (`/admin/dlq`).
    fn dead_letters(&self) -> Option<Arc<dyn DeadLetters>>;
}

/// Orders about dead letters; answers are JSON as `/admin/dlq` shows them.
pub trait DeadLetters: Send + Sync + 'static {
    fn summary(&self) -> BoxFuture<'_, Result<serde_json::Value, ReadError>>;
    fn list<'a>(
        &'a self,
        stream: &'a str,
        filter: DeadLetterFilter,
    ) -> BoxFuture<'a, Result<serde_json::Value, ReadError>>;
    fn show<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, ReadError>>;
    fn replay<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
        force: bool,
    ) -> BoxFuture<'a, Result<Replay, ReadError>>;
    /// Replays what the filter finds, at most `filter.limit` records; the answer counts them by what became of each.
    fn replay_all<'a>(
        &'a self,
        stream: &'a str,
        filter: DeadLetterFilter,
        force: bool,
    ) -> BoxFuture<'a, Result<serde_json::Value, ReadError>>;
    fn discard<'a>(&'a self, stream: &'a str, position: Position) -> BoxFuture<'a, Result<bool, ReadError>>;
    /// Lets a held partition go on. `false`: it is not held.
    fn release(&self, stream: &str, partition: u32) -> bool;
}

#[derive(Debug, Clone, PartialEq)]
pub enum Replay {
    /// Appended again at this position.
    Appended(Position),
    /// The key has since taken a newer record; `force` replays all the same.
    Superseded,
    NotThere,
}

#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    pub reason: Option<Reason>,
    pub partition: Option<u32>,
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Debug, Clone)]
pub enum Locate {
    Position(Position),
    Key(String),
}

/// What kind of stream it is: what PUT means, and how keys are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The newest value of each key; PUT and DELETE write it.
    Latest,
    Log,
    Aggregate,
    Recent,
    /// A built-in app with its own way to write.
    App,
}

impl Kind {
    /// Whether PUT and DELETE of a key write the stream: a key that is made of partials has no record of its own.
    pub fn is_writable(self, partials: bool) -> bool {
        self == Kind::Latest && !partials
    }
}

#[derive(Debug, Clone)]
pub struct StreamInfo {
    pub name: StreamName,
    pub kind: Kind,
    pub topic: String,
    pub partitions: u32,
    /// Routed by partition: an entity is the merge of its partials, its version has no order across instances (its
    /// `ETag` is made from the positions), and PUT is not the way to write it.
    pub partials: bool,
    /// One sentence on how this stream is written, where PUT is not the way.
    pub write_hint: Option<String>,
    /// Names of the app rooms (`agents:summary` has `summary`).
    pub app_rooms: Vec<String>,
}

/// The app rooms under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsUnder {
    /// The streams they are made of.
    pub streams: Vec<StreamName>,
    /// `NAME`, which also declares each `NAME/REST`.
    pub names: Vec<String>,
}

/// One stream now; serialised as `GET /api/streams` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    pub stream: StreamName,
    pub kind: Kind,
    /// By PUT and DELETE of a key.
    pub writable: bool,
    pub app: Option<String>,
    pub declared: bool,
    pub topics: Vec<String>,
    pub keys: Option<u64>,
    /// The last change per partition.
    pub positions: Vec<String>,
    /// Records not yet confirmed, per partition assigned here.
    pub lag: Vec<u64>,
    pub state: State,
    pub held: Option<Held>,
    /// Counters since the start, from which rates are made.
    #[serde(skip)]
    pub received_total: u64,
    #[serde(skip)]
    pub stored_total: u64,
    #[serde(skip)]
    pub newest: Option<Newest>,
    #[serde(skip)]
    pub latency_ms: Latency,
}

/// Produce-to-store and produce-to-socket quantiles of the last seconds, where known.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub store_p50: Option<f64>,
    pub store_p99: Option<f64>,
    pub socket_p50: Option<f64>,
    pub socket_p99: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Newest {
    pub key: String,
    pub version: u64,
    pub position: String,
    pub updated: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Starting,
    Running,
    Held,
    Stopped,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Held {
    pub since: String,
    pub r#where: String,
    pub why: String,
}

/// An entity with how fresh it is.
#[derive(Debug, Clone)]
pub struct Read {
    pub shown: Shown,
    /// Since this value was last known to be the newest.
    pub age_ms: u64,
}

/// What became of a record somebody waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The entity at that position or later.
    Stored(Shown),
    Refused {
        kind: RefusedKind,
        detail: String,
        entity: Option<Shown>,
    },
    Poisoned {
        reason: Reason,
        detail: String,
    },
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    #[error("there is no stream {0}")]
    NoStream(String),
    /// Nothing was appended.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
    /// Appended perhaps; the position, where known.
    #[error("the outcome is unknown: {detail}")]
    Unknown { position: Option<Position>, detail: String },
    #[error("the log refused the record: {0}")]
    Refused(String),
    #[error("too many writes wait for their outcome")]
    Busy,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("there is no stream {0}")]
    NoStream(String),
    #[error("the store cannot be read: {0}")]
    Unavailable(String),
    /// A value of the query; `field` names the parameter.
    #[error("{field}: {detail}")]
    Query { field: &'static str, detail: String },
    #[error("internal fault: {0}")]
    Internal(String),
}

/// One page of a list, as semantics 24 says.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub prefix: Option<String>,
    pub from: Option<String>,
    pub filters: Vec<Filter>,
    pub sort: Option<Sort>,
    pub limit: usize,
    /// The cursor a page before gave; opaque outside.
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub what: What,
    pub op: Op,
    /// Compared as a number where both sides are numbers, as a string where both are strings, else unequal.
    pub value: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    pub what: What,
    pub descending: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A JSON Pointer into the value.
    Pointer(String),
    Version,
    Updated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Prefix,
}

#[derive(Debug, Clone, Default)]
pub struct ListPage {
    pub items: Vec<Shown>,
    pub next: Option<String>,
}

/// Readiness: true only when records can flow and be stored.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    pub ready: bool,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Dependency {
    pub name: String,
    /// `up`, `down`, `starting`, `held`.
    pub state: &'static str,
    pub detail: Option<String>,
    /// Milliseconds since it last answered.
    pub age_ms: Option<u64>,
}
