//! The log in this process's memory: one queue of records per partition.
//!
//! Invariant: an append is visible to readers before it is answered, offsets are dense, and what retention drops is
//! dropped from the front only.
//! Not here: any bound but a topic's retention.

use crate::{
    adapters::group::{GroupLog, Groups},
    clock,
    partitioner::partition_of,
    ports::{
        Assignments, Log, LogError, Membership, PartitionReader, PullLimit, Subscription, TopicIdentity,
        TopicSpec,
    },
    record::{NewRecord, Slice},
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::{oneshot, watch};

pub struct MemoryLog {
    topics: Arc<Topics>,
    groups: Groups,
}

#[derive(Default)]
struct Topics {
    by_name: Mutex<HashMap<String, Arc<Topic>>>,
    /// By topic id and group.
    committed: Mutex<HashMap<(String, String), BTreeMap<u32, u64>>>,
    /// Where the next record without a key goes.
    round_robin: AtomicU32,
}

struct Topic {
    id: String,
    retention_ms: Option<i64>,
    partitions: Vec<Partition>,
}

struct Partition {
    held: Mutex<Held>,
    /// The next offset; `None` once the topic is deleted.
    end: watch::Sender<Option<u64>>,
}

#[derive(Default)]
struct Held {
    first: u64,
    /// Each with its time.
    records: VecDeque<(i64, NewRecord)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_topic(topic: &str) -> LogError {
    LogError::Fatal(format!("there is no topic {topic}"))
}

impl Default for MemoryLog {
    fn default() -> Self {
        let topics = Arc::new(Topics::default());
        MemoryLog { groups: Groups::new(topics.clone()), topics }
    }
}

impl MemoryLog {
    /// Deletes a topic with its records and committed offsets; its readers fail.
    pub fn delete_topic(&self, name: &str) {
        let Some(topic) = lock(&self.topics.by_name).remove(name) else { return };
        lock(&self.topics.committed).retain(|(id, _), _| *id != topic.id);
        for partition in &topic.partitions {
            partition.end.send_replace(None);
        }
    }
}

impl Topics {
    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        lock(&self.by_name).get(name).cloned().ok_or_else(|| no_topic(name))
    }

    fn append(&self, topic: &str, record: NewRecord) -> Result<(u32, u64), LogError> {
        let topic = self.topic(topic)?;
        let count = topic.partitions.len() as u32;
        let number = record.partition.unwrap_or_else(|| match &record.key {
            Some(key) => partition_of(key, count),
            None => self.round_robin.fetch_add(1, Ordering::Relaxed) % count.max(1),
        });
        let partition = topic
            .partition(number)
            .map_err(|_| LogError::Refused(format!("there is no partition {number}, only {count}")))?;
        Ok((number, partition.append(record, topic.retention_ms)))
    }
}

impl Topic {
    fn new(spec: &TopicSpec) -> Self {
        let partition = |_| Partition { held: Mutex::default(), end: watch::Sender::new(Some(0)) };
        Topic {
            id: uuid::Uuid::new_v4().to_string(),
            retention_ms: spec.retention.map(|retention| retention.as_millis() as i64),
            partitions: (0..spec.partitions.max(1)).map(partition).collect(),
        }
    }

    fn partition(&self, number: u32) -> Result<&Partition, LogError> {
        let missing = || LogError::Fatal(format!("there is no partition {number}"));
        self.partitions.get(number as usize).ok_or_else(missing)
    }
}

impl Partition {
    fn append(&self, record: NewRecord, retention_ms: Option<i64>) -> u64 {
        let mut held = lock(&self.held);
        let now_ms = clock::now_ms();
        let old_ms = retention_ms.map_or(i64::MIN, |keep_ms| now_ms - keep_ms);
        while held.records.front().is_some_and(|(time_ms, _)| *time_ms < old_ms) {
            held.records.pop_front();
            held.first += 1;
        }
        let offset = held.end();
        held.records.push_back((record.time_ms.unwrap_or(now_ms), record));
        self.end.send_replace(Some(offset + 1));
        offset
    }
}

impl Held {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn bounds(&self) -> (u64, u64) {
        (self.first, self.end())
    }

    fn slice(&self, mut slice: Slice, from: u64, limit: PullLimit) -> Slice {
        let from = from.max(self.first);
        let (mut offset, mut bytes) = (from, 0);
        for (time_ms, record) in self.records.range((from - self.first) as usize..) {
            bytes += size(record);
            if !slice.is_empty() && (slice.len() >= limit.records_max || bytes > limit.bytes_max) {
                break;
            }
            let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
            slice.push(offset, *time_ms, record.key.as_deref(), record.value.as_deref(), headers);
            offset += 1;
        }
        slice
    }
}

/// As `Record::size` counts it.
fn size(record: &NewRecord) -> usize {
    let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers: usize = record.headers.iter().map(|(name, value)| 8 + name.len() + part(value)).sum();
    part(&record.key) + part(&record.value) + headers
}

impl GroupLog for Topics {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.topic(topic)?.partitions.len() as u32)
    }

    fn reader(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: Option<u64>,
    ) -> Result<Box<dyn PartitionReader>, LogError> {
        let topic = self.topic(topic)?;
        let held = topic.partition(partition)?;
        let end = held.end.subscribe();
        let (first, last) = lock(&held.held).bounds();
        let next = from.filter(|from| (first..=last).contains(from)).unwrap_or(first);
        Ok(Box::new(Reader { topic, epoch, partition, start: next, next, end }))
    }

    fn committed(&self, topic: &str, group: &str) -> Result<Vec<(u32, u64)>, LogError> {
        let id = (self.topic(topic)?.id.clone(), group.to_owned());
        Ok(lock(&self.committed).get(&id).into_iter().flatten().map(|(p, next)| (*p, *next)).collect())
    }

    fn commit(
        &self,
        topic: &str,
        group: &str,
        next: &[(u32, u64)],
    ) -> oneshot::Receiver<Result<(), LogError>> {
        let (done, outcome) = oneshot::channel();
        let stored = self.topic(topic).map(|topic| {
            lock(&self.committed)
                .entry((topic.id.clone(), group.to_owned()))
                .or_default()
                .extend(next.iter().copied());
        });
        let _ = done.send(stored); // whoever does not wait does not care
        outcome
    }
}

struct Reader {
    topic: Arc<Topic>,
    epoch: u32,
    partition: u32,
    start: u64,
    next: u64,
    end: watch::Receiver<Option<u64>>,
}

impl PartitionReader for Reader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn start(&self) -> Option<u64> {
        Some(self.start)
    }

    fn pull(&mut self, limit: PullLimit) -> BoxFuture<'_, Result<Slice, LogError>> {
        Box::pin(async move {
            let next = self.next;
            let there = self
                .end
                .wait_for(|end| end.is_none_or(|end| end > next))
                .await
                .is_ok_and(|end| end.is_some());
            if !there {
                return Err(LogError::Fatal("the topic was deleted".into()));
            }
            let partition = self.topic.partition(self.partition)?;
            let slice = lock(&partition.held).slice(Slice::new(self.epoch, self.partition), next, limit);
            self.next = slice.last_offset().map_or(next, |last| last + 1);
            Ok(slice)
        })
    }
}

impl Log for MemoryLog {
    fn create_topics<'a>(&'a self, topics: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>> {
        let mut by_name = lock(&self.topics.by_name);
        for spec in topics {
            by_name.entry(spec.name.clone()).or_insert_with(|| Arc::new(Topic::new(spec)));
        }
        ready(Ok(())).boxed()
    }

    fn identity<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>> {
        let topic = self.topics.topic(topic).ok();
        let identity = topic
            .map(|topic| TopicIdentity { id: topic.id.clone(), partitions: topic.partitions.len() as u32 });
        ready(Ok(identity)).boxed()
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(u32, u64), LogError>> {
        ready(self.topics.append(topic, record)).boxed()
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>> {
        let bounds =
            self.topics.topic(topic).and_then(|topic| Ok(lock(&topic.partition(partition)?.held).bounds()));
        ready(bounds).boxed()
    }

    fn join(
        &self,
        subscription: Subscription,
        events: Arc<dyn Assignments>,
    ) -> Result<Arc<dyn Membership>, LogError> {
        self.groups.join(subscription, events)
    }

    fn read(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: u64,
    ) -> Result<Box<dyn PartitionReader>, LogError> {
        self.topics.reader(topic, epoch, partition, Some(from))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>> {
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn retention_drops_from_the_front() {
        let log = MemoryLog::default();
        let spec = TopicSpec {
            name: "t".into(),
            partitions: 1,
            retention: Some(Duration::from_secs(60)),
            replication: 1,
        };
        log.create_topics(&[spec]).await.expect("create");
        let old_ms = clock::now_ms() - 61_000;
        for time_ms in [Some(old_ms), Some(old_ms), None] {
            log.append("t", NewRecord { time_ms, ..NewRecord::default() }).await.expect("append");
        }
        assert_eq!(log.bounds("t", 0).await.expect("bounds"), (2, 3));
        let mut reader = log.read("t", 0, 0, 0).expect("read");
        assert_eq!(reader.start(), Some(2));
        let limit = PullLimit { records_max: 9, bytes_max: 9 };
        assert_eq!(reader.pull(limit).await.expect("pull").last_offset(), Some(2));
    }

    #[tokio::test]
    async fn a_reader_of_a_deleted_topic_fails() {
        let log = MemoryLog::default();
        let spec = TopicSpec { name: "t".into(), partitions: 1, retention: None, replication: 1 };
        log.create_topics(&[spec]).await.expect("create");
        let mut reader = log.read("t", 0, 0, 0).expect("read");
        log.delete_topic("t");
        let limit = PullLimit { records_max: 9, bytes_max: 9 };
        assert!(matches!(reader.pull(limit).await, Err(LogError::Fatal(_))));
        assert!(matches!(log.append("t", NewRecord::default()).await, Err(LogError::Fatal(_))));
    }
}
