//! What a stream's actors say of themselves, readable by anyone without asking them.
//!
//! Invariant: written by one actor, read by many, never a lock held across a wait. The watchdog, `/admin/pipeline`,
//! `/api/streams`, metrics and read-your-write all read the same numbers.

use super::{
    api::{Held, Latency, Newest, State, StreamName},
    view::Owned,
};
use crate::{clock, document::Positions, ports::Membership, record::Position};
use dashmap::DashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// `u64::MAX`: not known.
#[derive(Debug)]
pub struct Offset(AtomicU64);

impl Default for Offset {
    fn default() -> Self {
        Offset(AtomicU64::new(u64::MAX))
    }
}

impl Offset {
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|offset| *offset != u64::MAX)
    }

    pub fn set(&self, offset: u64) {
        self.0.store(offset, Ordering::Release);
    }
}

/// One assigned partition.
#[derive(Debug, Default)]
pub struct PartitionProgress {
    pub epoch: u32,
    pub received: Offset,
    /// Everything below is finished.
    pub confirmed: Offset,
    pub committed: Offset,
    /// The end of the log, as last asked.
    pub end: Offset,
    /// When the oldest unfinished slice came; 0: none.
    pub oldest_ms: AtomicI64,
    /// The offset of the last change that was confirmed.
    pub changed: Offset,
    pub held: Mutex<Option<Held>>,
    /// A writer or the budget was full and a slice waits, since; 0: not.
    pub waiting_since_ms: AtomicI64,
    /// Share of the poison limit used, in thousandths.
    pub poison_used: AtomicU32,
}

impl PartitionProgress {
    /// Records in the log that are not confirmed, as far as the end is known.
    pub fn lag(&self) -> u64 {
        let from = self.confirmed.get().or_else(|| self.received.get());
        self.end.get().zip(from).map_or(0, |(end, from)| end.saturating_sub(from))
    }
}

/// One writer.
#[derive(Debug, Default)]
pub struct WriterProgress {
    /// Slices received and not yet gathered into a batch.
    pub queued: AtomicU32,
    pub batch_records: AtomicU64,
    pub batch_keys: AtomicU64,
    /// Of the entities held between batches.
    pub cache_bytes: AtomicU64,
    pub cut: Mutex<&'static str>,
    /// When the batch under way was cut; 0: idle.
    pub since_ms: AtomicI64,
    /// It waits for store or log, which have their own patience: no wedge.
    pub waits_outside: AtomicBool,
    /// Why nothing goes on though the store is there (dead letters that cannot be written).
    pub stuck: Mutex<Option<String>>,
}

/// An ended generation.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Past {
    pub generation: u64,
    pub started: String,
    pub ended: String,
    pub why: String,
}

/// Generations remembered for the pipeline page.
pub const PAST_MAX: usize = 20;
/// Samples the latency quantiles are taken of.
const SAMPLES_MAX: usize = 512;

/// A place in a group, for those who ask what it has committed.
pub struct Joined(pub Arc<dyn Membership>);

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

#[derive(Debug)]
pub struct StreamProgress {
    pub stream: StreamName,
    pub owned: Owned,
    pub partitions: DashMap<u32, Arc<PartitionProgress>>,
    /// Those of the generation under way.
    pub writers: arc_swap::ArcSwap<Vec<Arc<WriterProgress>>>,
    pub received_total: AtomicU64,
    pub stored_total: AtomicU64,
    pub keys: AtomicU64,
    pub generation: AtomicU64,
    /// The topic's epoch, as the generation under way found it.
    pub epoch: AtomicU32,
    /// Partitions of the topic, as the generation under way found it; 0: not known yet.
    pub partitions_total: AtomicU32,
    /// The identity of the topic, as the generation under way found it.
    pub identity: arc_swap::ArcSwapOption<String>,
    /// The place in the group of the generation under way.
    pub membership: arc_swap::ArcSwapOption<Joined>,
    pub started_ms: AtomicI64,
    pub past: Mutex<VecDeque<Past>>,
    pub state: Mutex<State>,
    pub newest: Mutex<Option<Newest>>,
    store_ms: Mutex<VecDeque<f64>>,
    /// Notified whenever a confirmed offset moved.
    pub moved: Notify,
}

fn fresh(shards: usize) -> Vec<Arc<WriterProgress>> {
    (0..shards).map(|_| Arc::default()).collect()
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamProgress {
    pub fn new(stream: StreamName, shards: usize) -> Self {
        StreamProgress {
            stream,
            owned: Owned::default(),
            partitions: DashMap::new(),
            writers: arc_swap::ArcSwap::from_pointee(fresh(shards)),
            received_total: AtomicU64::new(0),
            stored_total: AtomicU64::new(0),
            keys: AtomicU64::new(u64::MAX),
            generation: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
            partitions_total: AtomicU32::new(0),
            identity: arc_swap::ArcSwapOption::empty(),
            membership: arc_swap::ArcSwapOption::empty(),
            started_ms: AtomicI64::new(0),
            past: Mutex::default(),
            state: Mutex::new(State::Starting),
            newest: Mutex::default(),
            store_ms: Mutex::default(),
            moved: Notify::new(),
        }
    }

    pub fn partition(&self, partition: u32) -> Option<Arc<PartitionProgress>> {
        self.partitions.get(&partition).map(|entry| entry.value().clone())
    }

    /// Assigned partitions in order.
    pub fn partitions_sorted(&self) -> Vec<(u32, Arc<PartitionProgress>)> {
        let mut all: Vec<_> = self.partitions.iter().map(|e| (*e.key(), e.value().clone())).collect();
        all.sort_unstable_by_key(|(partition, _)| *partition);
        all
    }

    /// The last change per partition assigned here (semantics 15): never the watermark.
    pub fn positions(&self) -> Positions {
        let position = |(partition, progress): (u32, Arc<PartitionProgress>)| {
            progress.changed.get().map(|offset| Position { epoch: progress.epoch, partition, offset })
        };
        Positions(self.partitions_sorted().into_iter().filter_map(position).collect())
    }

    /// Whether everything up to `position` is confirmed here; `None`: the partition is not ours.
    pub fn has_reached(&self, position: Position) -> Option<bool> {
        let progress = self.partition(position.partition)?;
        let confirmed = progress.confirmed.get().unwrap_or(0);
        Some((progress.epoch, confirmed) > (position.epoch, position.offset))
    }

    pub fn sample_store_ms(&self, ms: f64) {
        let mut samples = lock(&self.store_ms);
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(ms);
    }

    pub fn latency(&self) -> Latency {
        let mut samples: Vec<f64> = lock(&self.store_ms).iter().copied().collect();
        samples.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| samples.get((samples.len() as f64 * q) as usize).copied();
        Latency { store_p50: quantile(0.5), store_p99: quantile(0.99), socket_p50: None, socket_p99: None }
    }

    /// Why the stream is held, if any part of it is: a partition, or a writer that cannot get rid of a dead letter.
    pub fn held(&self) -> Option<Held> {
        let partition =
            self.partitions_sorted().into_iter().find_map(|(_, progress)| lock(&progress.held).clone());
        partition.or_else(|| {
            self.writers.load().iter().enumerate().find_map(|(shard, writer)| {
                let why = lock(&writer.stuck).clone()?;
                let since = clock::iso(writer.since_ms.load(Ordering::Relaxed));
                Some(Held { since, r#where: format!("writer {shard}"), why })
            })
        })
    }

    /// A new generation's writers begin with nothing; what is left of the old ones speaks to nobody.
    pub fn begin_generation(&self, number: u64, shards: usize) -> Arc<Vec<Arc<WriterProgress>>> {
        let writers = Arc::new(fresh(shards));
        self.writers.store(writers.clone());
        self.generation.store(number, Ordering::Relaxed);
        self.started_ms.store(clock::now_ms(), Ordering::Relaxed);
        writers
    }

    pub fn end_generation(&self, why: &str) {
        let mut past = lock(&self.past);
        if past.len() == PAST_MAX {
            past.pop_front();
        }
        past.push_back(Past {
            generation: self.generation.load(Ordering::Relaxed),
            started: clock::iso(self.started_ms.load(Ordering::Relaxed)),
            ended: clock::iso(clock::now_ms()),
            why: why.to_owned(),
        });
    }
}
