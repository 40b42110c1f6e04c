//! The log on real Kafka: the suite every log passes, and what only Kafka can do wrong.

mod contract;

use crate::{adapters::kafka::KafkaLog, config, ports::Log};
use std::sync::Arc;

/// A log on the test's brokers.
pub fn log(brokers: &str) -> Arc<dyn Log> {
    log_with(brokers, |_| {})
}

pub fn log_with(brokers: &str, change: impl FnOnce(&mut config::Kafka)) -> Arc<dyn Log> {
    let mut kafka = config::Kafka { brokers: brokers.into(), ..config::Kafka::default() };
    kafka.session_timeout_ms = 6_000;
    change(&mut kafka);
    Arc::new(KafkaLog::new(&kafka).expect("log"))
}
