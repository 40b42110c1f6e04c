//! Reading one partition without a group: for `verify` and dead letters.
//!
//! Invariant: it joins nothing and commits nothing.
//! Not here: groups (`member`).

use super::{
    errors::{self, Class},
    faults::Faults,
    reader::{Lane, Reader},
    settings::{Prefetch, Settings},
};
use crate::{
    ports::{LogError, PartitionReader, PullLimit},
    record::Slice,
};
use futures_util::{future::BoxFuture, task::AtomicWaker};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Bytes a reader without a group may hold ahead.
const PREFETCH_BYTES: usize = 4 << 20;
/// Events of the main queue served at one look; what is left waits for the next.
const EVENTS_MAX: usize = 64;

/// Where a reader begins.
pub struct From<'a> {
    pub topic: &'a str,
    pub epoch: u32,
    pub partition: u32,
    pub offset: u64,
}

pub struct DirectReader {
    /// Both are there until the drop, which sends them to a thread of their own: closing a client takes its time.
    inner: Option<Inner>,
    offset: u64,
    partition: u32,
}

struct Inner {
    reader: Reader<Events>,
    lane: Arc<Lane<Events>>,
    consumer: Arc<BaseConsumer<Events>>,
    /// Woken by the main queue as by the partition's.
    waker: Arc<AtomicWaker>,
}

impl DirectReader {
    pub fn open(settings: &Settings, from: From<'_>) -> Result<Self, LogError> {
        let no_partition =
            || LogError::Refused(format!("{} has no partition {}", from.topic, from.partition));
        let (partition, offset) = match (i32::try_from(from.partition), i64::try_from(from.offset)) {
            (Ok(partition), Ok(offset)) => (partition, offset),
            _ => return Err(no_partition()),
        };
        let faults = Arc::new(Faults::new(format!("reader {}", from.topic)));
        let config = settings.reader(Prefetch::new(PREFETCH_BYTES, 1));
        let events = Events { faults: faults.clone() };
        let mut consumer = BaseConsumer::from_config_and_context(&config, events)
            .map_err(|error| errors::creation(&error))?;
        let waker = Arc::new(AtomicWaker::new());
        let woken = waker.clone();
        consumer.set_nonempty_callback(move || woken.wake());
        let consumer = Arc::new(consumer);
        let lane =
            Lane::split(&consumer, from.topic, from.partition, waker.clone()).ok_or_else(no_partition)?;
        let mut assignment = TopicPartitionList::new();
        let added = assignment.add_partition_offset(from.topic, partition, Offset::Offset(offset));
        added.and_then(|()| consumer.assign(&assignment)).map_err(|error| errors::question(&error))?;
        let reader = Reader::new(lane.clone(), faults, from.epoch, Some(from.offset), from.offset);
        let inner = Some(Inner { reader, lane, consumer, waker });
        Ok(DirectReader { inner, offset: from.offset, partition: from.partition })
    }
}

impl Inner {
    fn poll_pull(&mut self, cx: &mut Context<'_>, limit: PullLimit) -> Poll<Result<Slice, LogError>> {
        self.waker.register(cx.waker());
        if let Some(fatal) = self.serve() {
            return Poll::Ready(Err(fatal));
        }
        self.reader.poll_pull(cx, limit)
    }

    /// Serves the main queue, which holds only events: nobody else polls it. An answer that never comes because the
    /// credentials are wrong is told here.
    fn serve(&self) -> Option<LogError> {
        for _ in 0..EVENTS_MAX {
            // `None` is also an event that was handled inside, so it does not say that the queue is empty.
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(_)) => {
                    return Some(LogError::Fatal("a record came beside its partition's queue".into()));
                }
                Some(Err(error)) if stops(&error) => return Some(LogError::Fatal(error.to_string())),
                Some(Err(_)) | None => {}
            }
        }
        None
    }
}

/// Rights to a group are not needed: nothing is joined.
fn stops(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    errors::class(code) == Class::Fatal && code != Code::GroupAuthorizationFailed
}

impl PartitionReader for DirectReader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn start(&self) -> Option<u64> {
        Some(self.offset)
    }

    fn pull(&mut self, limit: PullLimit) -> BoxFuture<'_, Result<Slice, LogError>> {
        Box::pin(poll_fn(move |cx| match &mut self.inner {
            Some(inner) => inner.poll_pull(cx, limit),
            None => Poll::Pending,
        }))
    }
}

impl Drop for DirectReader {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        inner.lane.close();
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(inner));
        if let Err(error) = closing {
            tracing::warn!(%error, "a reader was closed where it was dropped");
        }
    }
}

struct Events {
    faults: Arc<Faults>,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.faults.log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.faults.statistics(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.event(&error, reason);
    }
}

impl ConsumerContext for Events {}
