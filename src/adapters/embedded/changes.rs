//! Operations that make and delete: topics, and the collections of streams and rows.
//!
//! Invariant: what is made is registered only after it is on disk; what is deleted is gone from the registry before.

use super::{
    commit::{Failure, Group, Operation, Outcome, Staged},
    registry::{self, Bounds, Collection, Registry, Topic, TopicEntry},
};
use crate::ports::TopicSpec;
use std::sync::{Arc, atomic::AtomicI64};
use tokio::sync::oneshot;

/// Whoever waits for an operation. Nobody may.
pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// Numbers are given by one operation a group, which keeps two makers of one name apart too.
const NUMBERS: u64 = 0;

/// Creates the topics that are missing.
pub struct CreateTopics {
    pub registry: Arc<Registry>,
    pub specs: Vec<TopicSpec>,
    pub made: Vec<Topic>,
    pub reply: Reply<()>,
}

impl Operation for CreateTopics {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if !group.touch(NUMBERS) {
            return Ok(Staged::Later);
        }
        for spec in &self.specs {
            let twice = self.made.iter().any(|made| made.name == spec.name);
            if twice || self.registry.topic(&spec.name).is_some() {
                continue;
            }
            let entry = TopicEntry {
                number: self.registry.take_number(),
                id: uuid::Uuid::new_v4().to_string(),
                partitions: spec.partitions.max(1),
                retention_ms: spec.retention.map(|retention| retention.as_millis() as u64),
            };
            let json = serde_json::to_vec(&entry).map_err(|error| fjall::Error::Io(error.into()))?;
            group.put_meta(registry::topic_name(&spec.name), json);
            let bounds = vec![Bounds::default(); entry.partitions as usize];
            self.made.push(Topic::new(spec.name.clone(), entry, bounds));
        }
        put_next_number(&self.registry, group);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        if outcome.is_ok() {
            self.made.into_iter().for_each(|topic| self.registry.add_topic(Arc::new(topic)));
        }
        let _ = self.reply.send(outcome.clone()); // a caller that is gone does not care
    }
}

fn put_next_number(registry: &Registry, group: &mut Group) {
    group.put_meta(registry::next_number_name(), registry.next_number().to_string().into_bytes());
}

/// Takes a topic away. Its records go later, in steps (`retention`).
pub struct DeleteTopic {
    pub registry: Arc<Registry>,
    pub topic: Arc<Topic>,
    pub reply: Reply<()>,
}

impl Operation for DeleteTopic {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        group.remove_meta(&registry::topic_name(&self.topic.name));
        group.put_meta(registry::doomed_name(self.topic.entry.number), Vec::new());
        // From now on: what is appended in this very group would belong to nobody.
        self.registry.remove_topic(&self.topic);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        let _ = self.reply.send(outcome.clone()); // a caller that is gone does not care
    }
}

/// Makes a stream's collection of documents, or one of rows, where it is missing.
pub struct MakeCollection {
    pub registry: Arc<Registry>,
    pub name: String,
    pub made: Option<Arc<Collection>>,
    pub reply: Reply<Arc<Collection>>,
}

impl Operation for MakeCollection {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        self.made = self.registry.collection(&self.name);
        if self.made.is_some() {
            return Ok(Staged::Yes);
        }
        if !group.touch(NUMBERS) {
            return Ok(Staged::Later);
        }
        let number = self.registry.take_number();
        group.put_meta(registry::collection_name(&self.name), number.to_string().into_bytes());
        put_next_number(&self.registry, group);
        self.made = Some(Arc::new(Collection { number, count: AtomicI64::new(0) }));
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        let MakeCollection { registry, name, made, reply } = *self;
        let made = outcome.clone().and_then(|()| {
            let made = made.ok_or_else(|| Failure::Stopped("the collection was not made".into()))?;
            registry.add_collection(name, made.clone());
            Ok(made)
        });
        let _ = reply.send(made); // a caller that is gone does not care
    }
}
