//! The log on fjall: topics with partitions, groups inside this process.
//!
//! Invariant: an append is answered, and an offset counted as committed, only once it is synced to disk.
//! Not here: how chunks are written (`append`), read (`reader`) and dropped (`retention`).

use super::{
    Root,
    append::Append,
    changes::{CreateTopics, DeleteTopic},
    chunk,
    commit::{Act, Group, Outcome, Staged},
    reader::{Reader, unreadable},
    registry::{self, Topic},
};
use crate::{
    adapters::group::{GroupLog, Groups},
    partitioner::partition_of,
    ports::{
        Assignments, Log, LogError, Membership, PartitionReader, Subscription, TopicIdentity, TopicSpec,
    },
    record::NewRecord,
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::oneshot;

pub struct EmbeddedLog {
    root: Arc<Root>,
    groups: Groups,
    /// Where the next record without a key goes.
    round_robin: AtomicU32,
}

impl EmbeddedLog {
    pub(super) fn new(root: Arc<Root>) -> Self {
        EmbeddedLog { groups: Groups::new(root.clone()), root, round_robin: AtomicU32::new(0) }
    }

    /// Deletes a topic with its records and committed offsets; its readers fail. One that is not there is deleted already.
    pub async fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        let Some(topic) = self.root.registry.topic(name) else { return Ok(()) };
        let (reply, outcome) = oneshot::channel();
        let registry = self.root.registry.clone();
        self.root.committer.submit(Box::new(DeleteTopic { registry, topic, reply }));
        Ok(outcome.await.map_err(closed)??)
    }

    async fn create(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        if topics.iter().all(|spec| self.root.registry.topic(&spec.name).is_some()) {
            return Ok(());
        }
        let (reply, outcome) = oneshot::channel();
        let (registry, specs) = (self.root.registry.clone(), topics.to_vec());
        self.root.committer.submit(Box::new(CreateTopics { registry, specs, made: Vec::new(), reply }));
        Ok(outcome.await.map_err(closed)??)
    }

    async fn append_one(&self, topic: &str, record: NewRecord) -> Result<(u32, u64), LogError> {
        let topic = self.root.topic(topic)?;
        let count = topic.entry.partitions;
        let partition = record.partition.unwrap_or_else(|| match &record.key {
            Some(key) => partition_of(key, count),
            None => self.round_robin.fetch_add(1, Ordering::Relaxed) % count,
        });
        if partition >= count {
            return Err(LogError::Refused(format!("there is no partition {partition}, only {count}")));
        }
        let _permit = self.root.committer.admit(chunk::size(&record)).await;
        let (reply, outcome) = oneshot::channel();
        let append = Append { topic, partition, record, reply, _permit };
        if let Some(write) = self.root.appends.push(append) {
            self.root.committer.submit(write);
        }
        outcome.await.unwrap_or_else(|gone| Err(closed(gone)))
    }
}

fn closed(_: oneshot::error::RecvError) -> LogError {
    LogError::Unknown("the folder was closed".into())
}

impl Root {
    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.registry.topic(name).ok_or_else(|| LogError::Fatal(format!("there is no topic {name}")))
    }
}

impl GroupLog for Root {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.topic(topic)?.entry.partitions)
    }

    fn reader(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: Option<u64>,
    ) -> Result<Box<dyn PartitionReader>, LogError> {
        Ok(Box::new(Reader::new(
            &self.folder.spaces,
            &self.reads.pipeline,
            self.topic(topic)?,
            epoch,
            partition,
            from,
        )?))
    }

    fn committed(&self, topic: &str, group: &str) -> Result<Vec<(u32, u64)>, LogError> {
        let prefix = registry::offsets_prefix(self.topic(topic)?.entry.number, group);
        let mut committed = Vec::new();
        for entry in registry::small_values(&self.folder.spaces, &prefix) {
            let (rest, value) = entry.map_err(|error| unreadable(&error))?;
            committed.extend(registry::partition_of_name(&rest).zip(registry::number(&value)));
        }
        Ok(committed)
    }

    fn commit(
        &self,
        topic: &str,
        group: &str,
        next: &[(u32, u64)],
    ) -> oneshot::Receiver<Result<(), LogError>> {
        let (reply, outcome) = oneshot::channel();
        let topic = match self.topic(topic) {
            Ok(topic) if !next.is_empty() => topic,
            ended => {
                let _ = reply.send(ended.map(|_| ()));
                return outcome;
            }
        };
        let values: Vec<_> = next
            .iter()
            .map(|(partition, offset)| {
                (registry::offset_name(topic.entry.number, group, *partition), offset.to_string())
            })
            .collect();
        let stage = move |batch: &mut Group| {
            values
                .iter()
                .for_each(|(name, offset)| batch.put_meta(name.clone(), offset.clone().into_bytes()));
            Ok(Staged::Yes)
        };
        // A failure has been logged by the writing thread; a later commit covers this one.
        let finish = move |outcome: &Outcome| drop(reply.send(outcome.clone().map_err(LogError::from)));
        self.committer.submit(Box::new(Act(stage, finish)));
        outcome
    }
}

impl Log for EmbeddedLog {
    fn create_topics<'a>(&'a self, topics: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>> {
        self.create(topics).boxed()
    }

    fn identity<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>> {
        let identity = self.root.registry.topic(topic).map(|topic| TopicIdentity {
            id: format!("{}/{}", self.root.registry.cluster, topic.entry.id),
            partitions: topic.entry.partitions,
        });
        ready(Ok(identity)).boxed()
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(u32, u64), LogError>> {
        self.append_one(topic, record).boxed()
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>> {
        let bounds = self.root.topic(topic).and_then(|topic| {
            let missing = || LogError::Fatal(format!("there is no partition {partition}"));
            let bounds = *topic.partition(partition).ok_or_else(missing)?.bounds.borrow();
            Ok((bounds.first, bounds.end))
        });
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
        self.root.reader(topic, epoch, partition, Some(from))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>> {
        let stopped = || LogError::Fatal("an earlier write to the folder failed".into());
        ready(if self.root.committer.stopped() { Err(stopped()) } else { Ok(()) }).boxed()
    }
}
