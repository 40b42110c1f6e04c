//! Records from a plain Kafka producer, counted per key.
//!
//! Invariant: a record counts once the broker has acknowledged it, so what is counted is what must be stored.

use super::ground::Ground;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rdkafka::{
    message::OwnedHeaders,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Sends one record, and returns when the broker has it: partition and offset.
pub async fn send(producer: &FutureProducer, topic: &str, key: &str, value: Option<&str>) -> (i32, i64) {
    let mut record: FutureRecord<'_, str, str> = FutureRecord::to(topic).key(key);
    record.payload = value;
    let sent = producer.send(record, Timeout::Never).await;
    let sent = sent.map_err(|(error, _)| error).expect("acknowledged");
    (sent.partition, sent.offset)
}

/// A record of any shape, to a partition of the caller's choice.
pub async fn send_raw(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: OwnedHeaders,
) -> i64 {
    let mut record: FutureRecord<'_, [u8], [u8]> =
        FutureRecord::to(topic).partition(partition).headers(headers);
    (record.key, record.payload) = (key, value);
    let sent = producer.send(record, Timeout::Never).await;
    sent.map_err(|(error, _)| error).expect("acknowledged").offset
}

/// Sends so many records over so many keys, as fast as the broker takes them; how many each key got.
pub async fn send_many(
    ground: &Ground,
    records: u64,
    keys: u64,
    filler_bytes: usize,
) -> BTreeMap<String, u64> {
    let producer = ground.producer();
    let (filler, mut counts, mut sent) = ("x".repeat(filler_bytes), BTreeMap::new(), FuturesUnordered::new());
    for i in 0..records {
        let key = format!("k{}", i % keys);
        let value = format!("{{\"i\":{i},\"filler\":\"{filler}\"}}");
        sent.push(one(producer.clone(), ground.name.clone(), key, value));
        if sent.len() >= 10_000 {
            let key: String = sent.next().await.expect("one is on its way");
            *counts.entry(key).or_insert(0) += 1;
        }
    }
    while let Some(key) = sent.next().await {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}

async fn one(producer: FutureProducer, topic: String, key: String, value: String) -> String {
    send(&producer, &topic, &key, Some(&value)).await;
    key
}

/// A producer that goes on until it is told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Bursts of one record per key, with a breath between them: about `keys` records per 10 ms.
    pub fn start(ground: &Ground, keys: u64) -> Load {
        let (producer, topic) = (ground.producer(), ground.name.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let (ended, counted) = (stop.clone(), counts.clone());
        let task = tokio::spawn(async move {
            let mut round = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                round += 1;
                let burst = (0..keys).map(|k| {
                    one(producer.clone(), topic.clone(), format!("k{k}"), format!("{{\"round\":{round}}}"))
                });
                let mut burst: FuturesUnordered<_> = burst.collect();
                while let Some(key) = burst.next().await {
                    *counted.lock().expect("counts").entry(key).or_insert(0) += 1;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Load { stop, counts, task }
    }

    /// Ends it; how many records each key got.
    pub async fn end(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every record was acknowledged");
        self.counts.lock().expect("counts").clone()
    }
}
