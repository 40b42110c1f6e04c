//! One partition's queue, and the reader that drains it into slices.
//!
//! Invariant: a record is copied into our own slice at once and the client's memory goes back to the client, so its
//! prefetch limit really is one; and the queue belongs to the lane, not to the reader, so that whoever ends an
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
use rdkafka::{
    Message,
    consumer::{BaseConsumer, ConsumerContext, base_consumer::PartitionQueue},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
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
        let mut queue = consumer.split_partition_queue(topic, i32::try_from(partition).ok()?)?;
        let woken = waker.clone();
        queue.set_nonempty_callback(move || woken.wake());
        Some(Arc::new(Lane { partition, queue: Mutex::new(Some(queue)), waker }))
    }

    /// Drops the queue. A pull that is draining it ends first; later ones get an error.
    pub fn close(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(queue);
        self.waker.wake();
    }
}

/// Drains a lane. What it holds beyond the lane is at most one record that did not fit into the slice before.
pub struct Reader<C: ConsumerContext + 'static> {
    lane: Arc<Lane<C>>,
    faults: Arc<Faults>,
    epoch: u32,
    start: Option<u64>,
    /// Records below are not given out: they came before, or were not asked for.
    floor: u64,
    /// Records below the floor came, and it was told.
    came_again: bool,
    carry: Option<Slice>,
    /// Set once, when the partition cannot be read further: librdkafka would go on behind the broken batch.
    broken: Option<LogError>,
    /// Sizes of the slice before, which the next is made for.
    expected: (usize, usize),
}

impl<C: ConsumerContext + 'static> Reader<C> {
    /// `start` is where the partition was told to begin; what comes below `floor` is left out.
    pub fn new(lane: Arc<Lane<C>>, faults: Arc<Faults>, epoch: u32, start: Option<u64>, floor: u64) -> Self {
        let (carry, broken, expected) = (None, None, (0, 0));
        Reader { lane, faults, epoch, start, floor, came_again: false, carry, broken, expected }
    }

    /// One attempt to fill a slice; wakes the task when there is more to come.
    pub fn poll_pull(&mut self, cx: &mut Context<'_>, limit: PullLimit) -> Poll<Result<Slice, LogError>> {
        if let Some(broken) = &self.broken {
            return Poll::Ready(Err(broken.clone()));
        }
        let mut slice = self.carry.take().unwrap_or_else(|| self.new_slice(limit));
        self.drain(&mut slice, limit);
        if slice.is_empty() && self.broken.is_none() {
            // The queue may have filled between the look and the registration, so look once more after it.
            self.lane.waker.register(cx.waker());
            self.drain(&mut slice, limit);
        }
        if !slice.is_empty() {
            self.faults.well();
            self.expected = (slice.len(), slice.bytes_len());
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
            return;
        };
        while slice.len() < limit.records_max && (slice.is_empty() || slice.bytes_len() < limit.bytes_max) {
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    if !self.take(&message, slice, limit) {
                        return;
                    }
                }
                Some(Err(error)) => {
                    self.broken = self.broken_by(&error);
                    if self.broken.is_some() {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    /// Copies one message. `false`: it did not fit, and waits for the next slice.
    fn take(&mut self, message: &BorrowedMessage<'_>, slice: &mut Slice, limit: PullLimit) -> bool {
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        if offset < self.floor {
            self.came_again(offset);
            return true;
        }
        self.floor = offset + 1;
        let size = message.key_len() + message.payload_len();
        if slice.is_empty() || slice.bytes_len() + size <= limit.bytes_max {
            push(slice, offset, message);
            return true;
        }
        let mut carry = Slice::with_capacity(self.epoch, self.lane.partition, 1, size);
        push(&mut carry, offset, message);
        self.carry = Some(carry);
        false
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
    fn broken_by(&self, error: &KafkaError) -> Option<LogError> {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let at = format!("partition {} from offset {}: {error}", self.lane.partition, self.floor);
        self.faults.note("pull", code, &at);
        match errors::class(code) {
            Class::Corrupt => Some(LogError::Corrupt(at)),
            Class::Fatal => Some(LogError::Fatal(at)),
            Class::Passing | Class::Refused => None,
        }
    }
}

fn push(slice: &mut Slice, offset: u64, message: &BorrowedMessage<'_>) {
    slice.push(
        offset,
        message.timestamp().to_millis().unwrap_or(0),
        message.key(),
        message.payload(),
        kafka_native::headers(message),
    );
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
