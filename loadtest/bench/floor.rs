//! What a live figure stands on: the time from produce to a reader of the same topic that does nothing else.

use crate::{
    Fault,
    clients::{Seen, report, take},
    produce::PARTITIONS,
};
use statecast::{
    adapters::kafka::KafkaLog,
    config,
    ports::{Log, PullLimit},
};
use std::sync::{Arc, atomic::Ordering};

const SLICE: PullLimit = PullLimit { records_max: 1_000, bytes_max: 4 << 20 };

/// Arguments: brokers, topic. Speaks with its parent as `clients` does.
pub async fn run(arguments: &[&str]) -> Result<(), Fault> {
    let [brokers, topic] = arguments else { return Err("floor: brokers topic".into()) };
    let kafka = config::Kafka { brokers: (*brokers).into(), ..config::Kafka::default() };
    let log = Arc::new(KafkaLog::new(&kafka)?);
    let seen = Arc::new(Seen::default());
    let mut readers = tokio::task::JoinSet::new();
    for partition in 0..PARTITIONS {
        let (log, seen, topic) = (log.clone(), seen.clone(), (*topic).to_owned());
        readers.spawn(async move {
            let (_, end) = log.bounds(&topic, partition).await?;
            let mut reader = log.read(&topic, 0, partition, end)?;
            loop {
                let slice = reader.pull(SLICE).await?;
                if seen.measure.load(Ordering::Acquire) {
                    for record in slice.iter() {
                        take(std::str::from_utf8(record.value.unwrap_or_default())?, &seen)?;
                    }
                }
            }
            #[expect(unreachable_code, reason = "says what the faults above are")]
            Ok::<(), Fault>(())
        });
    }
    // A reader ends only by a fault, and what is read without it would be no floor.
    tokio::select! {
        done = report(&seen) => done,
        Some(ended) = readers.join_next() => ended?,
    }
}
