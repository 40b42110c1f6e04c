//! Steps over a batch, against the entity cache: the whole thinking of a writer, with no I/O in it.
//!
//! The order is: `gather` parts, load what is `missing` and the rows' firsts, `fold`, write the effects, `settle` what
//! the store did not take, `confirm`. Invariant: a record is taken in at most once per entity (what the entity's position
//! already covers is skipped, and so is what its origin says was taken in before), and refusals are decided record by
//! record, before anything is coalesced.
//! Not here: when to cut (`batch`), and every kind of waiting (`shard_writer`).

pub mod cache;
mod erased;
mod plan;
mod settle;
mod step;
#[cfg(test)]
mod tests;
mod trial;

pub use erased::ShardFold;
pub use step::CONDITION_HEADER;

use super::{api::Outcome, api::StreamName, watermark::SliceId};
use crate::{
    app::{App, Emit, Poison, Reason, Reject},
    document::Document,
    origin::Origin,
    ports::{StoredRow, Upsert},
    record::{Key, Position, Slice},
};
use cache::{Cache, SlotId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::OwnedSemaphorePermit;
use trial::Trial;

/// Names the waiter of an outcome: `INSTANCE/TOKEN`.
pub const WAIT_HEADER: &str = "statecast-wait";

/// One stretch of time in which this instance owns a partition.
#[derive(Debug)]
pub struct Assignment {
    /// Unique in this process; 0 is nobody's.
    pub id: u64,
    pub partition: u32,
    fenced: AtomicBool,
}

impl Assignment {
    pub fn new(id: u64, partition: u32) -> Self {
        Assignment { id, partition, fenced: AtomicBool::new(false) }
    }

    /// From here on slices of this assignment are dropped unfolded.
    pub fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }
}

/// A slice on its way, with the share of the budget it takes; the share is given back when the last part is finished.
#[derive(Debug)]
pub struct Flight {
    pub slice: Slice,
    pub id: SliceId,
    pub assignment: Arc<Assignment>,
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What is fixed for a fold: its stream and the bounds it decides refusals by.
#[derive(Debug, Clone)]
pub struct FoldSettings {
    pub stream: StreamName,
    pub topic: Key,
    /// Entities are keyed by `App::group_key` and split by partition, instead of by the record's key.
    pub by_partition: bool,
    /// The app has rows with ids of their own: events are decoded before the store is asked.
    pub has_row_ids: bool,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    pub entity_bytes_max: usize,
    pub depth_max: usize,
    pub cache_bytes_max: usize,
    pub tombstone_keep_ms: i64,
    /// How long after its last record a key is forgotten; `None`: never.
    pub ttl_ms: Option<i64>,
}

/// What has to reach the store and the log before the batch is finished.
#[derive(Debug, Default)]
pub struct Effects {
    /// First: records for the dead letters, acknowledged before anything is confirmed.
    pub letters: Vec<Letter>,
    /// Then rows and emits, under ids made from the stamp.
    pub rows: Vec<(&'static str, StoredRow)>,
    pub emits: Vec<(Emit, Origin)>,
    /// Last, the guard: one upsert per key.
    pub upserts: Vec<Upsert>,
}

/// A poisoned record, by where it lies in the batch.
#[derive(Debug, Clone)]
pub struct Letter {
    pub flight: Arc<Flight>,
    pub index: u32,
    pub poison: Poison,
}

/// What a confirmed batch did.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// What the store now holds, one per key that changed or was found newer.
    pub changes: Vec<Change>,
    /// For who waits, by the value of `WAIT_HEADER`.
    pub outcomes: Vec<(String, Waited)>,
    /// Per gathered part, in order.
    pub finished: Vec<FinishedPart>,
    pub counts: Counts,
    pub evicted: u64,
    /// Of the entities that are held now.
    pub cache_bytes: usize,
}

/// The records of one part are finished.
#[derive(Debug)]
pub struct FinishedPart {
    pub flight: Arc<Flight>,
    pub records: u32,
    /// Indices, within the slice, of those that were poison.
    pub poison: Vec<u32>,
}

#[derive(Debug)]
pub struct Change {
    pub document: Document,
    /// Versions this change stands for; 0: found in the store, folded by someone else.
    pub covers: u64,
    /// Its partition has gone to someone else meanwhile, and may be ours again by another assignment: this may be old.
    pub is_fenced: bool,
}

/// What is told to a waiter.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    Known(Outcome),
    /// Skipped as already seen: look at the store.
    Seen,
}

/// How the records of a batch ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub stored: u64,
    pub seen: u64,
    pub refused: FxHashMap<&'static str, u64>,
    pub poisoned: FxHashMap<Reason, u64>,
    pub moved: u64,
    pub conflicts: u64,
    pub stale: u64,
}

/// A part of a slice, as its writer took it in.
#[derive(Debug)]
struct Part {
    flight: Arc<Flight>,
    indices: Vec<u32>,
}

/// One record of the batch, with its place.
#[derive(Debug)]
struct Planned<Ev> {
    part: u32,
    index: u32,
    slot: SlotId,
    early: Early<Ev>,
    /// Its letter is among the effects of a fold that was not void.
    has_letter: bool,
    /// Its step made rows or emits, as of the newest fold.
    has_children: bool,
}

/// What is known of a record before the store was asked.
#[derive(Debug)]
enum Early<Ev> {
    /// Read when its turn comes.
    Unread,
    Event(Box<Ev>, Option<String>),
    Tombstone,
    Poison(Box<Poison>),
}

/// How a record ended.
#[derive(Debug)]
enum End {
    Applied,
    Seen,
    Rejected(Box<Reject>),
    /// Its partition has gone to someone else: neither taken in nor finished. Or its turn has not come yet (`trial`).
    Fenced,
}

/// An entity could not be written down or read back: our own fault, which ends the generation.
#[derive(Debug, thiserror::Error)]
#[error("entity {key}: {detail}")]
pub struct Fault {
    pub key: String,
    pub detail: String,
}

/// A writer's thinking for one stream.
pub struct Fold<A: App> {
    app: Arc<A>,
    settings: FoldSettings,
    cache: Cache<A::Entity>,
    parts: Vec<Part>,
    planned: Vec<Planned<A::Event>>,
    /// How each planned record ended, as of the newest fold.
    ends: Vec<End>,
    /// Slots of this batch, in order of first use.
    in_batch: Vec<SlotId>,
    missing: Vec<SlotId>,
    firsts: FxHashMap<String, Position>,
    /// What the newest fold was of; `None`: the whole batch.
    round: Option<FxHashSet<SlotId>>,
    /// Keys of this batch whose document the store refused.
    trials: FxHashMap<SlotId, Trial>,
    /// Documents of the store that turned out to be newer than what was held here: told, not written.
    found: Vec<Document>,
    /// What others stored of keys that were then folded again from it.
    moved_on: FxHashMap<SlotId, Document>,
    /// What this batch loaded of the store.
    loaded: Vec<(SlotId, Document)>,
    bytes: usize,
    moved: u64,
    conflicts: u64,
    stale: u64,
}

impl<A: App> Fold<A> {
    pub fn new(app: Arc<A>, settings: FoldSettings) -> Self {
        let cache = Cache::new(settings.cache_bytes_max);
        Fold {
            app,
            settings,
            cache,
            parts: Vec::new(),
            planned: Vec::new(),
            ends: Vec::new(),
            in_batch: Vec::new(),
            missing: Vec::new(),
            firsts: FxHashMap::default(),
            round: None,
            trials: FxHashMap::default(),
            found: Vec::new(),
            moved_on: FxHashMap::default(),
            loaded: Vec::new(),
            bytes: 0,
            moved: 0,
            conflicts: 0,
            stale: 0,
        }
    }
}
