//! The two ports every engine stands on: a log and a store.
//!
//! Invariant: one behaviour suite (`tests/contract`) holds for every implementation: Kafka, MongoDB, the embedded pair
//! and the in-memory twin. Nothing above this line knows which one it has.
//! Not here: retrying. An implementation reports what happened, classified; the engine decides.

use crate::{
    app::Poison,
    document::Document,
    record::{Key, NewRecord, Position, Slice},
};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// What an engine stands on.
#[derive(Clone)]
pub struct Ports {
    pub log: Arc<dyn Log>,
    /// For writers.
    pub store: Arc<dyn Store>,
    /// The same store for HTTP and live rooms, with connections of its own where it has connections.
    pub readers: Arc<dyn Store>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// A topic as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    /// `None`: for ever.
    pub retention: Option<Duration>,
    pub replication: i32,
}

/// Which log a topic is: its cluster and its own id. A recreated topic has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Opaque; compared whole.
    pub id: String,
    pub partitions: u32,
}

/// An append-only, partitioned log with consumer groups.
pub trait Log: Send + Sync + 'static {
    /// Creates what is missing. Existing topics keep what they have (more partitions are never taken away).
    fn create_topics<'a>(&'a self, topics: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>>;

    /// `None` when there is no such topic.
    fn identity<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>>;

    /// Appends one record and waits until the log has it durably. Errors of kind `Unknown` mean: it may be there.
    fn append<'a>(&'a self, topic: &'a str, record: NewRecord)
    -> BoxFuture<'a, Result<(u32, u64), LogError>>;

    /// First and next offset of a partition (`[earliest, end)`).
    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>>;

    /// Joins a consumer group. The members get every partition of the topic between them; each assignment, revocation and
    /// failure is told to `events`, from a thread of the log's own.
    fn join(
        &self,
        subscription: Subscription,
        events: Arc<dyn Assignments>,
    ) -> Result<Arc<dyn Membership>, LogError>;

    /// Reads one partition from an offset without a group (verify, dead letters).
    fn read(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: u64,
    ) -> Result<Box<dyn PartitionReader>, LogError>;

    /// Whether the log answers now.
    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>>;
}

/// What a member of a group asks for.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub topic: String,
    pub group: String,
    /// Stamped on every slice.
    pub epoch: u32,
    /// Start at the earliest record whatever the group has committed (a recreated topic).
    pub from_earliest: bool,
    /// Bounds the bytes the client library may prefetch over all partitions of this member.
    pub prefetch_bytes_max: usize,
}

/// What the group tells a member. Called by the log's own thread; `revoked` may block until the deadline.
pub trait Assignments: Send + Sync + 'static {
    /// These partitions are ours from the offsets their readers stand at.
    fn assigned(&self, readers: Vec<Box<dyn PartitionReader>>);

    /// These partitions go to someone else: finish what can be finished, then RETURN what is to be committed as
    /// (partition, next offset). Every reader of these partitions has been dropped when this returns.
    fn revoked(&self, partitions: &[u32]) -> Vec<(u32, u64)>;

    /// These partitions are already gone (session lost): nothing may be committed. Readers dropped on return.
    fn lost(&self, partitions: &[u32]);

    /// The membership cannot go on.
    fn failed(&self, error: LogError);
}

/// A place in a consumer group. Leaves when `leave` is called.
pub trait Membership: Send + Sync + 'static {
    /// Commits next offsets, in the background; a failure is logged, counted and covered by a later commit. Offsets of
    /// partitions that are not assigned now are dropped. The caller never goes backwards.
    fn commit(&self, next: &[(u32, u64)]);

    /// What the log has committed for this group (what a new member would start from).
    fn committed(&self) -> BoxFuture<'_, Result<Vec<(u32, u64)>, LogError>>;

    /// Leaves the group: revokes all that is still assigned (through `Assignments::revoked`), commits what that returns
    /// synchronously, and is out when the future ends.
    fn leave(&self) -> BoxFuture<'_, ()>;
}

/// How much one pull may take. At least one record comes, however large.
#[derive(Debug, Clone, Copy)]
pub struct PullLimit {
    pub records_max: usize,
    pub bytes_max: usize,
}

/// Reads one assigned partition in order.
pub trait PartitionReader: Send + 'static {
    fn partition(&self) -> u32;

    /// The offset the first pull starts at, where known.
    fn start(&self) -> Option<u64>;

    /// Waits for at least one record and returns what is there, in order. Dropping the future loses nothing.
    fn pull(&mut self, limit: PullLimit) -> BoxFuture<'_, Result<Slice, LogError>>;
}

/// What went wrong with a log, by consequence.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Try again; nothing happened.
    #[error("the log is not reachable: {0}")]
    Unavailable(String),
    /// The record may or may not have been appended.
    #[error("the log did not confirm: {0}")]
    Unknown(String),
    /// The log will never take this record.
    #[error("the log refused the record: {0}")]
    Refused(String),
    /// This partition cannot be read further (a broken batch): hold it and alarm, never commit past it.
    #[error("the log cannot be read: {0}")]
    Corrupt(String),
    /// Configuration or rights: somebody must act.
    #[error("the log does not allow this: {0}")]
    Fatal(String),
}

/// One guarded upsert: becomes what the store holds unless the store is already at or beyond it, or has moved on from
/// the version this one was folded from (semantics 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    pub document: Document,
    /// The version this document was folded from; 0: from nothing.
    pub from_version: u64,
    /// When it may be forgotten, in ms since 1970: a tombstone, or a document of a stream with a time to live.
    pub expires_ms: Option<i64>,
}

impl Upsert {
    /// The guard: whether this upsert takes effect over what is stored. Every store decides as this does.
    pub fn applies_to(&self, stored: Option<&Document>) -> bool {
        let new = &self.document;
        match stored {
            None => self.from_version == 0,
            Some(held) => held.version == self.from_version && !held.has_seen(&new.position, new.updated_ms),
        }
    }
}

/// A row as it is stored: under its id for ever, with the position that first inserted it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    pub id: String,
    /// The key of the entity it belongs to.
    pub key: Key,
    /// What kind of row it is, where rows of several kinds lie together.
    pub label: Option<String>,
    pub first: Position,
    pub time_ms: i64,
    pub json: crate::document::Json,
}

/// One page of rows, in the order of (`time_ms`, `id`) or the other way round.
#[derive(Debug, Clone, Default)]
pub struct RowScan {
    /// Rows of this key alone.
    pub key: Option<String>,
    /// Rows of this label alone.
    pub label: Option<String>,
    /// The first time wanted (inclusive), in ms since 1970.
    pub from_ms: Option<i64>,
    /// The first time not wanted any more.
    pub until_ms: Option<i64>,
    pub newest_first: bool,
    /// Time and id of the last row of the page before; it need not be there.
    pub after: Option<(i64, String)>,
    pub limit: usize,
}

impl RowScan {
    /// The page of every row, from the oldest on.
    pub fn all(limit: usize) -> Self {
        RowScan { limit, ..RowScan::default() }
    }

    /// Whether a row is within what is asked for, wherever the page begins.
    pub fn wants(&self, row: &StoredRow) -> bool {
        self.key.as_deref().is_none_or(|key| *key == *row.key)
            && self.label.as_ref().is_none_or(|label| row.label.as_ref() == Some(label))
            && self.from_ms.is_none_or(|from| row.time_ms >= from)
            && self.until_ms.is_none_or(|until| row.time_ms < until)
    }
}

/// Names one entity of a stream; `partial` as in `Document`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityId {
    pub key: Key,
    pub partial: Option<u32>,
}

/// One page of a stream, in key order (bytes of UTF-8).
#[derive(Debug, Clone, Default)]
pub struct Scan {
    pub prefix: Option<String>,
    /// First key wanted (inclusive).
    pub from: Option<String>,
    /// Last key of the page before (exclusive).
    pub after: Option<String>,
    /// Documents in a page. The partials of one key are never parted: a page goes beyond `limit` to end with them all.
    pub limit: usize,
    /// Tombstones too.
    pub with_removed: bool,
}

/// Durable, current state per key, with a guard.
pub trait Store: Send + Sync + 'static {
    /// Makes what a stream needs (collection, indexes). Idempotent.
    fn prepare<'a>(&'a self, stream: &'a str, rows: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The epoch that was last registered for this stream.
    fn last_epoch<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>>;

    /// The epoch of this log identity for this stream: the one registered last keeps its epoch, any other gets the next
    /// (first: 0), if `last` is still the epoch registered last. `true`: it has just changed (a recreated topic). `None`:
    /// another was registered meanwhile. Whoever asks for `last` first and for the log after it raises nothing for a log
    /// that is gone, however late it comes, and a log that comes back is a new epoch like any other.
    fn epoch<'a>(
        &'a self,
        stream: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>>;

    /// What the primary holds of these ids; absent ones are left out. One round trip.
    fn load<'a>(
        &'a self,
        stream: &'a str,
        ids: &'a [EntityId],
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// All partials of one key.
    fn load_partials<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// Writes guarded upserts, each id at most once, in one round trip, durably; returns how many took effect. Fewer than
    /// asked: load them and look. One whose id is absent and `from_version` is not 0 does not take effect. Documents that
    /// the store will never take are named by `StoreError::RefusedDocuments`, and all others were tried all the same.
    fn write<'a>(&'a self, stream: &'a str, upserts: Vec<Upsert>)
    -> BoxFuture<'a, Result<usize, StoreError>>;

    /// Inserts rows whose id is not there yet into `STREAM.NAME`; existing ones stay as they are. Durable on return; how
    /// many were inserted.
    fn insert_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>>;

    /// The positions that first inserted these row ids; absent ones are left out.
    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>>;

    /// The row of this id.
    fn load_row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>>;

    /// One page of rows.
    fn scan_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>>;

    /// One page of entities in key order.
    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// How many documents a stream holds (keys, or partials of keys), removed ones left out; may lag by a moment.
    fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Documents whose time to be forgotten has come, removed or alive, at most `limit`.
    fn expired<'a>(
        &'a self,
        stream: &'a str,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// Removes documents altogether, each only if it is still at the given position. Returns how many went.
    fn forget<'a>(
        &'a self,
        stream: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>>;

    /// Small named values of the engine's own (dead-letter marks): put, and list by prefix in name order.
    fn put_mark<'a>(
        &'a self,
        name: &'a str,
        json: crate::document::Json,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn marks<'a>(
        &'a self,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, crate::document::Json)>, StoreError>>;

    /// Whether the store takes writes now.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What went wrong with a store, by consequence.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, or the outcome is unknown: the same call is made again, under the guard, until it answers.
    #[error("the store is not reachable: {0}")]
    Unavailable(String),
    /// The store understood and will never take it: our own fault, ends the generation.
    #[error("the store refused a write: {0}")]
    Refused(String),
    /// It is these documents that the store will never take as they are, whatever else is written: each names an upsert of
    /// the call. How many of the others took effect is not known: load them and look.
    #[error("the store refused {} of the documents: {}", .0.len(), first(.0))]
    RefusedDocuments(Vec<RefusedDocument>),
    /// Configuration or rights.
    #[error("the store does not allow this: {0}")]
    Fatal(String),
}

/// A document that the store will never take as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedDocument {
    pub id: EntityId,
    /// Why, in the words of a dead letter.
    pub poison: Poison,
}

fn first(refused: &[RefusedDocument]) -> &str {
    refused.first().map_or("none", |refused| &refused.poison.detail)
}
