//! The log on real Kafka: the suite every log passes, and what only Kafka can do wrong.

mod broker;
mod contract;
mod process;
mod rebalance;
mod records;
mod speed;

use super::contract::unique;
use crate::{
    adapters::kafka::KafkaLog,
    config,
    ports::{Log, PullLimit, TopicSpec},
    record::NewRecord,
};
use futures_util::{StreamExt, stream};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use std::{sync::Arc, time::Duration};

/// A pull of a few.
pub const SOME: PullLimit = PullLimit { records_max: 10, bytes_max: 1 << 20 };

/// A log on the test's brokers.
pub fn log(brokers: &str) -> Arc<dyn Log> {
    log_with(brokers, |_| {})
}

pub fn log_with(brokers: &str, change: impl FnOnce(&mut config::Kafka)) -> Arc<dyn Log> {
    let mut kafka = config::Kafka { brokers: brokers.into(), ..config::Kafka::default() };
    change(&mut kafka);
    Arc::new(KafkaLog::new(&kafka).expect("log"))
}

/// A topic of its own for a test.
pub async fn topic(log: &Arc<dyn Log>, partitions: u32) -> String {
    let name = unique("kafka");
    let spec = TopicSpec { name: name.clone(), partitions, retention: None, replication: -1 };
    log.create_topics(&[spec]).await.expect("create");
    name
}

/// Appends many records, many at once.
pub async fn append_all(log: &Arc<dyn Log>, topic: &str, count: usize, record: impl Fn(usize) -> NewRecord) {
    let mut appends = stream::iter((0..count).map(|i| log.append(topic, record(i)))).buffered(20_000);
    while let Some(appended) = appends.next().await {
        appended.expect("append");
    }
}

pub fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("admin")
}

pub fn patient() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))
}

pub async fn raise_partitions(brokers: &str, topic: &str, partitions: usize) {
    let new = NewPartitions::new(topic, partitions);
    let raised = admin(brokers).create_partitions([&new], &patient()).await.expect("raise");
    assert_eq!(raised, [Ok(topic.to_owned())]);
}
