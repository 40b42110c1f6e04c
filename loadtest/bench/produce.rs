//! Records into Kafka: as fast as it takes them, or at a steady rate.

use crate::Fault;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use statecast::{
    adapters::kafka::KafkaLog,
    config,
    ports::{Log, TopicSpec},
};
use std::time::{Duration, Instant};

pub const PARTITIONS: u32 = 4;

fn producer(brokers: &str, linger_ms: &str) -> Result<BaseProducer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", linger_ms)
        .set("queue.buffering.max.kbytes", "65536")
        .set("acks", "all")
        .create()
}

/// Makes a topic and its dead letters.
pub async fn topic(brokers: &str, name: &str) -> Result<(), Fault> {
    let log = KafkaLog::new(&config::Kafka { brokers: brokers.into(), ..config::Kafka::default() })?;
    let spec = |name: String| TopicSpec { name, partitions: PARTITIONS, retention: None, replication: 1 };
    log.create_topics(&[spec(name.to_owned()), spec(format!("{name}.dlq"))]).await?;
    Ok(())
}

/// About 160 bytes of JSON, as an application would send.
pub fn value(number: u64, stamp_us: u128) -> String {
    format!(
        r#"{{"t":{stamp_us},"n":{number},"name":"sensor-{}","temperature_c":{}.{},"mode":"heating","alarms":[],"site":"plant-{}","ok":true,"note":"steady state"}}"#,
        number % 1000,
        60 + number % 20,
        number % 10,
        number % 7
    )
}

pub fn now_us() -> u128 {
    statecast::clock::now_us()
}

fn send(producer: &BaseProducer, topic: &str, key: &str, value: &str) -> Result<(), Fault> {
    loop {
        match producer.send(BaseRecord::to(topic).key(key).payload(value)) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Fills a topic with `records` over `keys` keys, and waits until the broker has them.
pub fn fill(brokers: &str, topic: &str, records: u64, keys: u64) -> Result<(), Fault> {
    let producer = producer(brokers, "20")?;
    for number in 0..records {
        send(&producer, topic, &format!("key-{}", number % keys), &value(number, now_us()))?;
        if number % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

/// Sends `per_s` records a second over `keys` keys for `seconds`; each holds the moment it was sent.
pub fn steadily(brokers: &str, topic: &str, per_s: u64, keys: u64, seconds: u64) -> Result<u64, Fault> {
    let producer = producer(brokers, "0")?;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        let due = (started.elapsed().as_secs_f64() * per_s as f64) as u64;
        while sent < due {
            send(&producer, topic, &format!("key-{}", sent % keys), &value(sent, now_us()))?;
            sent += 1;
        }
        // Not a poll that waits: with little time left it spins, and takes the core from what is measured.
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(sent)
}
