//! The log on Kafka, by librdkafka.
//!
//! Invariant: a record is given out in its partition's order, an append answers when all in-sync replicas have the
//! record, and an offset is committed only when we say so. Everything that blocks has a thread of its own.
//! Transactions: only committed records are read (`isolation.level=read_committed`, unless `kafka.properties` says
//! otherwise).
//! Not here: retrying what failed (the engine), and what a record means (`app`).

mod admin;
mod consumer;
mod direct;
mod errors;
mod faults;
mod group;
mod offsets;
mod producer;
mod reader;
mod rebalance;
mod settings;

use crate::{
    config,
    ports::{
        Assignments, Log, LogError, Membership, PartitionReader, Subscription, TopicIdentity, TopicSpec,
    },
    record::NewRecord,
};
use consumer::Parts;
use direct::{DirectReader, From};
use futures_util::future::BoxFuture;
use producer::Producer;
use settings::Settings;
use std::{sync::Arc, time::Duration};

/// Kafka as a log. Making one starts the producer's threads and connects in the background.
pub struct KafkaLog {
    parts: Parts,
    call_timeout: Duration,
}

impl KafkaLog {
    /// Errors are faults of the configuration; that brokers cannot be reached shows in `ping`.
    pub fn new(config: &config::Kafka) -> Result<Self, LogError> {
        let settings = Arc::new(Settings::new(config));
        let producer = Arc::new(Producer::new(settings.clone())?);
        let call_timeout = Duration::from_millis(config.call_timeout_ms);
        Ok(KafkaLog { parts: Parts { settings, producer }, call_timeout })
    }
}

impl Log for KafkaLog {
    fn create_topics<'a>(&'a self, topics: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            topics.iter().try_for_each(|topic| legal(&topic.name))?;
            admin::create_topics(&self.parts.settings, &self.parts.producer, topics).await
        })
    }

    fn identity<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>> {
        Box::pin(async move {
            legal(topic)?;
            admin::identity(&self.parts.producer, topic, self.call_timeout).await
        })
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(u32, u64), LogError>> {
        Box::pin(async move {
            legal(topic)?;
            self.parts.producer.append(topic, record).await
        })
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>> {
        Box::pin(async move {
            legal(topic)?;
            admin::bounds(&self.parts.producer, topic, partition, self.call_timeout).await
        })
    }

    fn join(
        &self,
        subscription: Subscription,
        events: Arc<dyn Assignments>,
    ) -> Result<Arc<dyn Membership>, LogError> {
        legal(&subscription.topic)?;
        consumer::join(self.parts.clone(), subscription, events)
    }

    fn read(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: u64,
    ) -> Result<Box<dyn PartitionReader>, LogError> {
        legal(topic)?;
        let from = From { topic, epoch, partition, offset: from };
        Ok(Box::new(DirectReader::open(&self.parts.settings, from)?))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(admin::ping(&self.parts.producer))
    }
}

/// A name Kafka takes. The client library ends the process on some that it does not.
fn legal(topic: &str) -> Result<(), LogError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !topic.is_empty() && topic.len() <= 249 && topic.bytes().all(plain) && topic != "." && topic != ".." {
        return Ok(());
    }
    Err(LogError::Fatal(format!(
        "{topic:?} is no name of a topic: letters, digits, `.`, `_` and `-`, at most 249"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kafka_does_not_take_never_reach_the_client() {
        for good in ["a", "user-activity_events.v1", &"x".repeat(249)] {
            assert!(legal(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a\0b", "ü", "a/b", &"x".repeat(250)] {
            assert!(matches!(legal(bad), Err(LogError::Fatal(_))), "{bad}");
        }
    }
}
