//! One partition's queue of a consumer, read many messages with one call.
//!
//! rdkafka asks for one message at a time, each with two looks at the clock, an event and a count of references; of a
//! pipeline that is busy with small records that is a tenth.

use crate::message::{HeaderIter, headers_of};
use rdkafka::{
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    types::RDKafkaErrorCode,
};
use rdkafka_sys as sys;
use std::{
    ffi::{CString, c_void},
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

/// Messages that one call takes at most.
pub const BATCH_MAX: usize = 128;

/// The queue of one partition, split from the consumer's own.
pub struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// librdkafka has its address until the queue is dropped.
    woken: Arc<Woken>,
    /// The client outlives its queue. Last, so that it is dropped last.
    _consumer: Arc<BaseConsumer<C>>,
}

/// What is called when an empty queue gets something.
struct Woken(Box<dyn Fn() + Send + Sync>);

// SAFETY: librdkafka's calls on a queue may be made from any thread, and what is called back is `Send` and `Sync`.
unsafe impl<C: ConsumerContext + 'static> Send for PartitionQueue<C> {}
// SAFETY: the same; it locks the queue itself.
unsafe impl<C: ConsumerContext + 'static> Sync for PartitionQueue<C> {}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// Splits the queue of a partition from the consumer's; `woken` is called when it was empty and is not any more, from
    /// a thread of librdkafka's. `None`: there is no such partition.
    pub fn split(
        consumer: Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        woken: impl Fn() + Send + Sync + 'static,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: client and name are alive during the call, which copies the name.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        let split = PartitionQueue { queue, woken: Arc::new(Woken(Box::new(woken))), _consumer: consumer };
        // SAFETY: the queue is alive; forwarded to null, it keeps what it gets.
        unsafe { sys::rd_kafka_queue_forward(split.queue.as_ptr(), ptr::null_mut()) };
        let opaque = Arc::as_ptr(&split.woken).cast_mut().cast::<c_void>();
        // SAFETY: the queue is alive, and `opaque` until `drop` has disabled the call.
        unsafe { sys::rd_kafka_queue_cb_event_enable(split.queue.as_ptr(), Some(nonempty), opaque) };
        Some(split)
    }

    /// Lends what is there to `each`, the oldest first and `max` (or `BATCH_MAX`) at most, without waiting. Returns how
    /// many there were. In place of a message may come what prevents the next one.
    pub fn take(&self, max: usize, mut each: impl FnMut(Result<Message<'_>, RDKafkaErrorCode>)) -> usize {
        let mut batch = Batch { messages: [ptr::null_mut(); BATCH_MAX], next: 0, end: 0 };
        let (room, messages) = (max.min(BATCH_MAX), batch.messages.as_mut_ptr());
        // SAFETY: the queue is alive, and the array has room for so many.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages, room) };
        batch.end = usize::try_from(taken).unwrap_or(0);
        while let Some(owned) = batch.next() {
            // SAFETY: librdkafka gave the message, which is destroyed with `owned`, at the end of the round.
            let message = unsafe { owned.0.as_ref() };
            match RDKafkaErrorCode::from(message.err) {
                RDKafkaErrorCode::NoError => each(Ok(Message { native: message, batch: PhantomData })),
                code => each(Err(code)),
            }
        }
        batch.end
    }
}

unsafe extern "C" fn nonempty(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `split` gave it, and it lives until the call is disabled, which waits for one that is being made.
    let woken = unsafe { &*opaque.cast::<Woken>() };
    (woken.0)();
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the queue is alive; after this nobody has the address of `woken`.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut()) };
        // SAFETY: owned, and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages that were taken, of which those from `next` to `end` are still to be given back.
struct Batch {
    messages: [*mut sys::rd_kafka_message_t; BATCH_MAX],
    next: usize,
    end: usize,
}

impl Batch {
    fn next(&mut self) -> Option<Owned> {
        let message = self.messages.get(self.next..self.end)?.first()?;
        self.next += 1;
        NonNull::new(*message).map(Owned)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // What is left where a panic ended the round.
        while self.next().is_some() {}
    }
}

struct Owned(NonNull<sys::rd_kafka_message_t>);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: owned, and not used after this.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// A message on loan.
#[derive(Clone, Copy)]
pub struct Message<'b> {
    native: &'b sys::rd_kafka_message_t,
    batch: PhantomData<&'b Batch>,
}

impl<'b> Message<'b> {
    pub fn offset(&self) -> i64 {
        self.native.offset
    }

    /// In ms since 1970; `None`: the message has none.
    pub fn time_ms(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let time_ms = unsafe { sys::rd_kafka_message_timestamp(self.native, &mut kind) };
        let is_there = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        Some(time_ms).filter(|time_ms| is_there && *time_ms >= 0)
    }

    pub fn key(&self) -> Option<&'b [u8]> {
        self.bytes(self.native.key, self.native.key_len)
    }

    pub fn payload(&self) -> Option<&'b [u8]> {
        self.bytes(self.native.payload, self.native.len)
    }

    /// The headers in their order, names as the bytes they are.
    pub fn headers(&self) -> HeaderIter<'b> {
        headers_of(self.native)
    }

    fn bytes(&self, at: *mut c_void, len: usize) -> Option<&'b [u8]> {
        // SAFETY: librdkafka gives `len` bytes at an address that is not null, as alive as the message.
        (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast::<u8>(), len) })
    }
}
