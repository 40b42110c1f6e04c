//! DescribeTopics and DescribeCluster over an existing client.

use rdkafka::{client::Client, client::ClientContext, types::RDKafkaErrorCode};
use rdkafka_sys as sys;
use std::{
    ffi::{CStr, CString, c_char},
    fmt,
    ptr::{self, NonNull},
    time::Duration,
};

/// A topic as the brokers have it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Base64 of the topic's uuid; `None` where the brokers are too old to have topic ids.
    pub id: Option<String>,
    pub partitions: u32,
}

/// A call that did not answer as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: RDKafkaErrorCode,
    pub text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// What the brokers know of a topic; `None`: there is no such topic. Blocks up to `timeout`; never creates the topic.
pub fn describe_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Topic>, Error> {
    let Ok(name) = CString::new(topic) else { return Ok(None) };
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = ask(client, operation, timeout, |options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: the array holds one valid C string and outlives the call, which copies it.
        let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
        // SAFETY: client, collection, options and queue are alive; the call keeps none of them but the client's own.
        unsafe { sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, queue) };
        // SAFETY: made above, owned here, not used again.
        unsafe { sys::rd_kafka_TopicCollection_destroy(topics) };
    })?;
    // SAFETY: the event is alive; the call checks its type.
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.0.as_ptr()) };
    if result.is_null() {
        return Err(unexpected());
    }
    let mut count = 0;
    // SAFETY: `result` is not null and lives as long as the event.
    let topics = unsafe { sys::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
    if topics.is_null() || count == 0 {
        return Err(unexpected());
    }
    // SAFETY: the array has `count` (at least one) elements, alive as long as the event.
    read_topic(unsafe { *topics })
}

fn read_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<Option<Topic>, Error> {
    // SAFETY: `topic` points into an event that the caller keeps alive; so in all calls below.
    let error = unsafe { sys::rd_kafka_TopicDescription_error(topic) };
    // SAFETY: librdkafka takes a null error as "no error".
    let code = RDKafkaErrorCode::from(unsafe { sys::rd_kafka_error_code(error) });
    match code {
        RDKafkaErrorCode::NoError => {}
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => return Ok(None),
        // SAFETY: the error is not null here and lives as long as the event.
        _ => return Err(Error { code, text: text(unsafe { sys::rd_kafka_error_string(error) }) }),
    }
    let mut partitions = 0;
    // SAFETY: as above; only the count is read.
    unsafe { sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions) };
    // SAFETY: as above.
    let uuid = unsafe { sys::rd_kafka_TopicDescription_topic_id(topic) };
    Ok(Some(Topic { id: read_uuid(uuid), partitions: u32::try_from(partitions).unwrap_or(u32::MAX) }))
}

/// `None` for the zero uuid, which stands for "no id".
fn read_uuid(uuid: *const sys::rd_kafka_Uuid_t) -> Option<String> {
    if uuid.is_null() {
        return None;
    }
    // SAFETY: not null, and alive as long as the caller's event.
    let high = unsafe { sys::rd_kafka_Uuid_most_significant_bits(uuid) };
    // SAFETY: the same.
    let low = unsafe { sys::rd_kafka_Uuid_least_significant_bits(uuid) };
    // SAFETY: the same; the string belongs to the uuid.
    (high != 0 || low != 0).then(|| text(unsafe { sys::rd_kafka_Uuid_base64str(uuid) }))
}

/// The id of the cluster, asked of a broker now. Blocks up to `timeout`.
pub fn cluster_id<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Result<String, Error> {
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
    let event = ask(client, operation, timeout, |options, queue| {
        // SAFETY: client, options and queue are alive during the call.
        unsafe { sys::rd_kafka_DescribeCluster(client.native_ptr(), options, queue) };
    })?;
    // SAFETY: the event is alive; the call checks its type.
    let result = unsafe { sys::rd_kafka_event_DescribeCluster_result(event.0.as_ptr()) };
    if result.is_null() {
        return Err(unexpected());
    }
    // SAFETY: `result` is not null; the string lives as long as the event.
    let id = unsafe { sys::rd_kafka_DescribeCluster_result_cluster_id(result) };
    if id.is_null() { Err(unexpected()) } else { Ok(text(id)) }
}

/// Sends one admin request and waits for its event, which carries no error.
fn ask<C: ClientContext>(
    client: &Client<C>,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    send: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Event, Error> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).clamp(1, 3_600_000);
    let options = Options::new(client, operation, timeout_ms)?;
    let queue = Queue::new(client)?;
    send(options.0.as_ptr(), queue.0.as_ptr());
    // The request itself ends at `timeout`; a little longer here, so that its own error is what is told.
    // SAFETY: the queue is alive.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.0.as_ptr(), timeout_ms.saturating_add(500)) };
    let event = Event(NonNull::new(event).ok_or_else(timed_out)?);
    // SAFETY: the event is alive.
    let code = RDKafkaErrorCode::from(unsafe { sys::rd_kafka_event_error(event.0.as_ptr()) });
    if code == RDKafkaErrorCode::NoError {
        return Ok(event);
    }
    // SAFETY: the event is alive and owns the string.
    Err(Error { code, text: text(unsafe { sys::rd_kafka_event_error_string(event.0.as_ptr()) }) })
}

struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    fn new<C: ClientContext>(
        client: &Client<C>,
        operation: sys::rd_kafka_admin_op_t,
        timeout_ms: i32,
    ) -> Result<Self, Error> {
        // SAFETY: the client is alive.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation) };
        let options = Options(NonNull::new(options).ok_or_else(unexpected)?);
        // SAFETY: the options are alive; no text is asked for, so the buffer may be null.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(options.0.as_ptr(), timeout_ms, ptr::null_mut(), 0)
        };
        Ok(options)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned, and not used after this.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) };
    }
}

struct Queue(NonNull<sys::rd_kafka_queue_t>);

impl Queue {
    fn new<C: ClientContext>(client: &Client<C>) -> Result<Self, Error> {
        // SAFETY: the client is alive, and outlives the queue, which does not leave `ask`.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
        NonNull::new(queue).map(Queue).ok_or_else(unexpected)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: owned, and not used after this; a late reply to it is discarded by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned, and nothing borrowed from it is left: all is copied out before.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Copies a C string that belongs to librdkafka; null is empty.
fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, terminated by librdkafka, and alive as long as the caller's owner of it.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

fn timed_out() -> Error {
    Error { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".into() }
}

fn unexpected() -> Error {
    Error { code: RDKafkaErrorCode::Fail, text: "librdkafka answered with something else".into() }
}
