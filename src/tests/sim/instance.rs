//! One instance: the engine's plain parts, moved by the run instead of by actors.
//!
//! Invariant: what `partition_consumer`, `shard_writer` and `assignment` do with messages is done here step by step, with the
//! same watermark, limit, cut, fold and writing; nothing is decided here that they do not decide.

use super::{
    Bug,
    model::Rec,
    wait::InGroup,
    world::{STREAM, SimLog, SimStore, World},
};
use crate::{
    clock,
    config::{self, Config},
    engine::{
        batch::{self, Filled},
        dead_letter::Limit,
        fold::{Assignment, Confirmed, Flight, ShardFold},
        news::NewsBox,
        observer,
        progress::{PartitionProgress, WriterProgress},
        stream::{Bounds, LogHealth, Shared, Stream, StreamSpec},
        waiters::Waiters,
        watermark::Watermark,
        write,
    },
    origin::lane_of,
    record::Slice,
    tests::live::stage::Stage,
};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Semaphore;

/// Asks which epoch it is, and whether it has just been raised.
type Registering = Pin<Box<dyn Future<Output = Option<(u32, bool)>> + Send>>;
type Batch = (Box<dyn ShardFold>, Result<Confirmed, String>);

pub struct Instance {
    /// Unique over the run: another one after each restart.
    pub id: u64,
    pub stream: Arc<Stream>,
    pub consumers: BTreeMap<u32, Consumer>,
    pub writers: Vec<Writer>,
    /// Confirmations on their way from writers to consumers, which may pass each other.
    pub finished: Vec<Finished>,
    /// Commits on their way to the log, in order.
    pub commits: VecDeque<(u32, u64)>,
    pub stage: Stage,
    /// The epoch of the log as this generation found it.
    pub epoch: Option<u32>,
    pub registering: Option<Registering>,
    /// Expired tombstones are being forgotten.
    pub forgetting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    world: Arc<World>,
}

pub struct Consumer {
    pub assignment: Arc<Assignment>,
    pub progress: Arc<PartitionProgress>,
    /// Where it began to read.
    pub from: u64,
    pub next: u64,
    pub watermark: Watermark,
    pub limit: Limit,
    pub held: bool,
    pub draining: bool,
    pub held_parts: Vec<(usize, Part)>,
    /// When the group gave the partition to another, of which this one has not heard.
    pub lost_ms: Option<i64>,
}

pub struct Part {
    flight: Arc<Flight>,
    indices: Vec<u32>,
}

#[derive(Default)]
pub struct Writer {
    pub queue: VecDeque<Part>,
    fold: Option<Box<dyn ShardFold>>,
    pub task: Option<Pin<Box<dyn Future<Output = Batch> + Send>>>,
    progress: Arc<WriterProgress>,
    /// When the batch under way was cut.
    pub began_ms: i64,
}

pub struct Finished {
    partition: u32,
    assignment: u64,
    slice: u64,
    records: u32,
    poison: Vec<u32>,
}

impl Instance {
    pub fn new(id: u64, world: &Arc<World>, config: &Config, spec: StreamSpec, mut stage: Stage) -> Self {
        let settings = Arc::new(config.engine.clone());
        let store = Arc::new(SimStore { world: world.clone(), who: id });
        let shared = Shared {
            log: Arc::new(SimLog { world: world.clone(), who: id }),
            store: store.clone(),
            readers: store,
            gate: Arc::default(),
            news: Arc::new(NewsBox::new(config.live.news_keys_max)),
            waiters: Arc::new(Waiters::new(id.to_string(), 8)),
            budget: Arc::new(Semaphore::new(settings.in_flight_bytes_max)),
            outside: tokio::runtime::Handle::current(),
            prefetch_bytes_max: 1 << 20,
            log_health: Arc::new(LogHealth::default()),
            feed_interval_ms: config.live.feed_interval_ms,
            settings: settings.clone(),
        };
        let bounds = Bounds {
            cache_bytes_max: settings.cache_bytes_max,
            view_bytes_max: settings.view_bytes_max,
            board_bytes_max: settings.board_bytes_max,
            board_waiting_bytes_max: settings.board_waiting_bytes_max,
        };
        let stream = Arc::new(Stream::new(spec, shared, bounds));
        stream.progress.membership.store(Some(InGroup::joined(world)));
        stage.hub.tell_interest(stream.shared.news.interest.clone());
        let mut instance = Instance {
            id,
            stream,
            consumers: BTreeMap::new(),
            writers: Vec::new(),
            finished: Vec::new(),
            commits: VecDeque::new(),
            stage,
            epoch: None,
            registering: None,
            forgetting: None,
            world: world.clone(),
        };
        instance.begin_generation();
        instance
    }

    pub fn settings(&self) -> &config::Engine {
        &self.stream.shared.settings
    }

    /// Writers that hold nothing. Those before them are gone, with whatever they were waiting for.
    pub fn begin_generation(&mut self) {
        let fold = || (self.stream.spec.fold)(self.stream.fold_settings(self.settings().cache_bytes_max));
        self.writers =
            (0..self.settings().shards).map(|_| Writer { fold: Some(fold()), ..Writer::default() }).collect();
        self.finished.clear();
        (self.epoch, self.registering) = ((!self.world.recreated).then_some(0), None);
    }

    pub fn assign(&mut self, partition: u32, from: u64, number: u64) {
        self.give_up(partition); // an assign without a revoke
        let number = if self.world.bug == Some(Bug::CacheKept) { 1 } else { number };
        let assignment = Arc::new(Assignment::new(number, partition));
        let epoch = self.epoch.unwrap_or_default();
        let progress = Arc::new(PartitionProgress { epoch, ..PartitionProgress::default() });
        progress.confirmed.set(from);
        self.stream.view.drop_partition(partition);
        self.stream.progress.owned.take(partition, number);
        self.stream.progress.partitions.insert(partition, progress.clone());
        self.stage.engine.set_owned(STREAM, partition, true);
        let limit = Limit::new(self.settings().poison_run_max, self.settings().poison_share_max);
        let watermark = Watermark::new(Some(from));
        let consumer = Consumer {
            assignment,
            progress,
            from,
            next: from,
            watermark,
            limit,
            held: false,
            draining: false,
            held_parts: Vec::new(),
            lost_ms: None,
        };
        self.consumers.insert(partition, consumer);
    }

    /// From here on the partition is somebody else's. Returns what is confirmed of it.
    pub fn give_up(&mut self, partition: u32) -> Option<u64> {
        let consumer = self.consumers.remove(&partition)?;
        consumer.assignment.fence();
        self.stream.progress.owned.give_up(partition, consumer.assignment.id);
        self.stream.progress.partitions.remove(&partition);
        self.stream.view.drop_partition(partition);
        self.stage.engine.set_owned(STREAM, partition, false);
        self.commits.retain(|commit| commit.0 != partition);
        consumer.to_commit(self.world.bug)
    }

    /// Takes the next records of a partition, splits them over the writers and holds them on offer. `false`: no budget.
    pub fn pull(&mut self, partition: u32, records: &[Rec]) -> bool {
        let shards = self.writers.len();
        let Some(consumer) = self.consumers.get_mut(&partition) else { return false };
        let mut slice = Slice::new(self.epoch.unwrap_or_default(), partition);
        for rec in records {
            let headers = rec.headers();
            let headers = headers.iter().map(|(name, value)| (*name, value.as_deref()));
            slice.push(rec.offset, rec.time_ms, rec.key.as_deref(), rec.value.as_deref(), headers);
        }
        let budget = self.stream.shared.budget.clone();
        let Ok(permit) = budget.try_acquire_many_owned(slice.bytes_len() as u32) else { return false };
        let (last, count) = (slice.last_offset().expect("a record"), slice.len() as u32);
        let id = consumer.watermark.open(last, count, 0);
        consumer.next = last + 1;
        let mut split = vec![Vec::new(); shards];
        for (index, record) in slice.iter().enumerate() {
            let shard = lane_of(record.key.unwrap_or_default()) % shards;
            split[shard].push(index as u32);
        }
        let assignment = consumer.assignment.clone();
        let flight = Arc::new(Flight { slice, id, assignment, permit: Some(permit) });
        let parts = split.into_iter().enumerate().filter(|(_, indices)| !indices.is_empty());
        consumer.held_parts =
            parts.map(|(shard, indices)| (shard, Part { flight: flight.clone(), indices })).collect();
        true
    }

    /// Offers what is held; what does not fit stays.
    pub fn offer(&mut self, partition: u32) {
        let capacity = self.settings().mailbox_slices_max;
        let Some(consumer) = self.consumers.get_mut(&partition) else { return };
        for (shard, part) in std::mem::take(&mut consumer.held_parts) {
            let queue = &mut self.writers[shard].queue;
            if queue.len() < capacity {
                queue.push_back(part);
            } else if self.world.bug != Some(Bug::DropWhenFull) {
                consumer.held_parts.push((shard, part));
            }
        }
    }

    /// Gathers until a bound cuts or nothing more waits, and begins to write. `most`: the mailbox was empty after so many.
    pub fn cut(&mut self, shard: usize, most: usize) {
        let (stream, swap) = (self.stream.clone(), self.world.bug == Some(Bug::SwapUpdates));
        let writer = &mut self.writers[shard];
        let Some(mut fold) = writer.fold.take() else { return };
        for _ in 0..most {
            let Some(mut part) = writer.queue.pop_front() else { break };
            if swap {
                part.indices.reverse();
            }
            fold.gather(part.flight, part.indices);
            let filled = Filled { records: fold.records(), keys: fold.keys(), bytes: fold.bytes() };
            if batch::cut(filled, &stream.shared.settings).is_some() {
                break;
            }
        }
        let progress = writer.progress.clone();
        writer.began_ms = clock::now_ms();
        writer.task = Some(Box::pin(async move {
            let written = write::run(&mut *fold, &stream, &progress).await;
            (fold, written)
        }));
    }

    /// Lets writers go on as far as they come. `true`: one of them ended its batch.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ended = false;
        if self.forgetting.as_mut().is_some_and(|task| task.as_mut().poll(cx).is_ready()) {
            (self.forgetting, ended) = (None, true);
        }
        ended |= self.poll_registering(cx);
        for shard in 0..self.writers.len() {
            let Some(task) = self.writers[shard].task.as_mut() else { continue };
            let Poll::Ready((fold, written)) = task.as_mut().poll(cx) else { continue };
            ended = true;
            self.writers[shard].task = None;
            self.writers[shard].fold = Some(fold);
            self.written(written.expect("nothing the store refuses has made rows"));
        }
        ended
    }

    fn written(&mut self, confirmed: Confirmed) {
        let mut inner = self.world.inner();
        let seen = &mut inner.seen;
        seen.conflicts += confirmed.counts.conflicts;
        seen.stale += confirmed.counts.stale;
        seen.key_moved += confirmed.counts.moved;
        seen.repeated += confirmed.counts.seen;
        seen.evicted += confirmed.evicted;
        let told = confirmed.changes.iter().map(|change| (&change.document, change.covers > 0));
        inner.note_told(told);
        let seen = &mut inner.seen;
        for part in &confirmed.finished {
            let assignment = &part.flight.assignment;
            if assignment.is_fenced() {
                seen.fenced += 1;
                continue;
            }
            self.finished.push(Finished {
                partition: assignment.partition,
                assignment: assignment.id,
                slice: part.flight.id,
                records: part.records,
                poison: part.poison.clone(),
            });
        }
        drop(inner);
        let records = confirmed.counts.records;
        write::tell(&self.stream, confirmed, records);
    }

    /// A confirmation arrives. `true`: the partition has reached its limit of poison.
    pub fn deliver(&mut self, at: usize) -> bool {
        let finished = self.finished.remove(at);
        let consumer = self.consumers.get_mut(&finished.partition);
        let Some(consumer) = consumer.filter(|c| c.assignment.id == finished.assignment) else {
            return false;
        };
        let closed = consumer.watermark.finish(finished.slice, finished.records, &finished.poison);
        let mut reached = false;
        for slice in &closed {
            reached |= consumer.limit.take(slice.records, &slice.poison);
        }
        if let Some(confirmed) = consumer.watermark.confirmed() {
            consumer.progress.confirmed.set(confirmed);
            self.stream.progress.moved.notify_waiters();
        }
        consumer.held |= reached;
        reached
    }

    /// Commits what is confirmed and was not committed yet.
    pub fn commit(&mut self) {
        for (&partition, consumer) in &self.consumers {
            let Some(next) = consumer.to_commit(self.world.bug) else { continue };
            if consumer.progress.committed.get().is_none_or(|committed| committed < next) {
                consumer.progress.committed.set(next);
                self.commits.push_back((partition, next));
            }
        }
    }

    pub fn has_to_commit(&self) -> bool {
        self.consumers.values().any(|consumer| {
            let next = consumer.to_commit(self.world.bug);
            next.is_some_and(|next| consumer.progress.committed.get().is_none_or(|done| done < next))
        })
    }

    /// Begins what the engine does on a beat with expired tombstones.
    pub fn forget(&mut self) {
        let stream = self.stream.clone();
        self.forgetting = Some(Box::pin(async move {
            stream.probe().await;
            let _ = observer::forget(&stream).await; // a store that is away is asked on the next beat
        }));
    }

    pub fn is_idle(&self, shard: usize) -> bool {
        self.writers[shard].task.is_none()
    }
}

impl Consumer {
    fn to_commit(&self, bug: Option<Bug>) -> Option<u64> {
        match bug {
            Some(Bug::CommitBeforeWrite) => self.watermark.received(),
            Some(Bug::CommitOneShort) => self.watermark.confirmed().map(|next| next.saturating_sub(1)),
            _ => self.watermark.confirmed(),
        }
    }
}
