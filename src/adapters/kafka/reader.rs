//! One partition's queue, and the reader that drains it into slices.
//!
//! Invariant: a record is copied into our own slice at once and the client's memory goes back to the client, so its
//! prefetch limit is one, but for what one call brought and the slice did not take (`BATCH_MAX` records); and the queue belongs to the lane, not to the reader, so that whoever ends an
//! assignment ends the queue with it, whatever the reader's holder does.
//! Not here: who owns a partition (`member`).

use super::{
    errors::{self, Class},
    faults::Faults,
};
use crate::{
    ports::{LogError, PartitionReader, PullLimit},
    record::Slice,
};
use futures_util::{future::BoxFuture, task::AtomicWaker};
use kafka_native::{BATCH_MAX, Message, PartitionQueue};
use rdkafka::{
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// The queue of one partition for one assignment.
///
/// librdkafka has one queue per partition and one wake-up per queue: a handle of an old assignment that is dropped late
/// takes the wake-up of the new one with it, and the partition is silently never read again. So `close` drops it, before
/// the rebalance that takes the partition away goes on.
pub struct Lane<C: ConsumerContext + 'static> {
    pub partition: u32,
    queue: Mutex<Option<PartitionQueue<C>>>,
    waker: Arc<AtomicWaker>,
}

impl<C: ConsumerContext + 'static> Lane<C> {
    /// Splits a partition from the consumer's main queue. To be done before the partition is assigned: what is fetched
    /// before the split would come by the main queue, out of order. `None`: there is no such partition.
    /// `waker` wakes who waits for its records.
    pub fn split(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: u32,
        waker: Arc<AtomicWaker>,
    ) -> Option<Arc<Self>> {
        let (woken, number) = (waker.clone(), i32::try_from(partition).ok()?);
        let queue = PartitionQueue::split(consumer.clone(), topic, number, move || woken.wake())?;
        Some(Arc::new(Lane { partition, queue: Mutex::new(Some(queue)), waker }))
    }

    /// Drops the queue. A pull that is draining it ends first; later ones get an error.
    pub fn close(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(queue);
        self.waker.wake();
    }
}

/// Drains a lane. What it holds beyond the lane is what came with one call and did not fit into the slice before.
pub struct Reader<C: ConsumerContext + 'static> {
    lane: Arc<Lane<C>>,
    faults: Arc<Faults>,
    epoch: u32,
    start: Option<u64>,
    /// Records below are not given out: they came before, or were not asked for.
    floor: u64,
    /// Records below the floor came, and it was told.
    came_again: bool,
    /// What did not fit, in the order it came.
    carried: VecDeque<Slice>,
    /// Set once, when the partition cannot be read further: librdkafka would go on behind the broken batch.
    broken: Option<LogError>,
    /// Sizes of the slice before, which the next is made for.
    expected: (usize, usize),
    /// Bytes of the largest record of late.
    largest: usize,
}

impl<C: ConsumerContext + 'static> Reader<C> {
    /// `start` is where the partition was told to begin; what comes below `floor` is left out.
    pub fn new(lane: Arc<Lane<C>>, faults: Arc<Faults>, epoch: u32, start: Option<u64>, floor: u64) -> Self {
        let (carried, broken, expected) = (VecDeque::new(), None, (0, 0));
        let (came_again, largest) = (false, 0);
        Reader { lane, faults, epoch, start, floor, came_again, carried, broken, expected, largest }
    }

    /// One attempt to fill a slice; wakes the task when there is more to come.
    pub fn poll_pull(&mut self, cx: &mut Context<'_>, limit: PullLimit) -> Poll<Result<Slice, LogError>> {
        if let Some(broken) = self.broken.as_ref().filter(|_| self.carried.is_empty()) {
            return Poll::Ready(Err(broken.clone()));
        }
        let mut slice = self.carried.pop_front().unwrap_or_else(|| self.new_slice(limit));
        self.drain(&mut slice, limit);
        if slice.is_empty() && self.broken.is_none() {
            // The queue may have filled between the look and the registration, so look once more after it.
            self.lane.waker.register(cx.waker());
            self.drain(&mut slice, limit);
        }
        if !slice.is_empty() {
            self.faults.well();
            self.expected = (slice.len(), slice.bytes_len());
            self.largest -= self.largest / 8;
            return Poll::Ready(Ok(slice));
        }
        self.broken.clone().map_or(Poll::Pending, |broken| Poll::Ready(Err(broken)))
    }

    fn new_slice(&self, limit: PullLimit) -> Slice {
        let (records, bytes) = self.expected;
        Slice::with_capacity(
            self.epoch,
            self.lane.partition,
            records.min(limit.records_max),
            bytes.min(limit.bytes_max),
        )
    }

    /// Takes what is in the queue, up to the limit.
    fn drain(&mut self, slice: &mut Slice, limit: PullLimit) {
        let lane = self.lane.clone();
        let queue = lane.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            self.broken = Some(LogError::Unavailable("the partition is not assigned any more".into()));
            self.carried.clear();
            return;
        };
        while self.carried.is_empty() && self.broken.is_none() {
            let room = self.room(slice, limit);
            if room == 0 {
                return;
            }
            let taken = queue.take(room, |message| match message {
                _ if self.broken.is_some() => {}
                Ok(message) => self.take(&message, slice, limit),
                Err(code) => self.broken = self.broken_by(code),
            });
            if taken == 0 {
                return;
            }
        }
    }

    /// So many more records are asked for: those that fit if none is larger than the largest of late.
    fn room(&self, slice: &Slice, limit: PullLimit) -> usize {
        let free = limit.bytes_max.saturating_sub(slice.bytes_len());
        let fitting = free.checked_div(self.largest).unwrap_or(0);
        let fitting = fitting.max(usize::from(slice.is_empty()));
        fitting.min(limit.records_max.saturating_sub(slice.len())).min(BATCH_MAX)
    }

    /// Copies one message: what does not fit any more waits for the next slice.
    fn take(&mut self, message: &Message<'_>, slice: &mut Slice, limit: PullLimit) {
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        if offset < self.floor {
            return self.came_again(offset);
        }
        self.floor = offset + 1;
        let size = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
        self.largest = self.largest.max(size + Slice::RECORD_BYTES);
        let fits = |slice: &Slice| {
            slice.is_empty() || slice.len() < limit.records_max && slice.bytes_len() + size <= limit.bytes_max
        };
        match self.carried.back_mut() {
            None if fits(slice) => push(slice, offset, message),
            Some(last) if fits(last) => push(last, offset, message),
            _ => {
                let mut next = Slice::with_capacity(self.epoch, self.lane.partition, 1, size);
                push(&mut next, offset, message);
                self.carried.push_back(next);
            }
        }
    }

    /// librdkafka may fetch a part of a partition again, and a topic that is deleted and made again under its reader
    /// begins at 0: neither belongs behind what was read. The new topic is read in its own epoch, from its start.
    fn came_again(&mut self, offset: u64) {
        if !std::mem::replace(&mut self.came_again, true) {
            let (partition, floor) = (self.lane.partition, self.floor);
            tracing::warn!(
                partition,
                offset,
                floor,
                "records before those already read came again and are left out"
            );
        }
    }

    /// The error that ends this reader, if this is one.
    fn broken_by(&self, code: Code) -> Option<LogError> {
        let error = KafkaError::MessageConsumption(code);
        let at = format!("partition {} from offset {}: {error}", self.lane.partition, self.floor);
        self.faults.note("pull", code, &at);
        match errors::class(code) {
            Class::Corrupt => Some(LogError::Corrupt(at)),
            Class::Fatal => Some(LogError::Fatal(at)),
            Class::Passing | Class::Refused => None,
        }
    }
}

fn push(slice: &mut Slice, offset: u64, message: &Message<'_>) {
    let time_ms = message.time_ms().unwrap_or(0);
    slice.push(offset, time_ms, message.key(), message.payload(), message.headers());
}

impl<C: ConsumerContext + 'static> PartitionReader for Reader<C> {
    fn partition(&self) -> u32 {
        self.lane.partition
    }

    fn start(&self) -> Option<u64> {
        self.start
    }

    fn pull(&mut self, limit: PullLimit) -> BoxFuture<'_, Result<Slice, LogError>> {
        Box::pin(poll_fn(move |cx| self.poll_pull(cx, limit)))
    }
}
