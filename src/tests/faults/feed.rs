//! The producer: hot and cold keys, a dense number per key, removals, duplicates, and one record in a hundred that is bad in
//! a known way.
//!
//! Invariant: what it remembers was acknowledged by the broker.

use crate::tests::e2e::ground::Ground;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

pub const KEYS: usize = 40;
const BURST_EVERY: Duration = Duration::from_millis(20);
const BURST: usize = 20;

/// Acknowledged records by partition and offset: key and value as they were sent.
pub type Sent = BTreeMap<(i32, i64), (Vec<u8>, Option<Vec<u8>>)>;

pub struct Feed {
    stop: Arc<AtomicBool>,
    /// Bad records in a hundred.
    bad: Arc<AtomicU32>,
    sent: Arc<Mutex<Sent>>,
    task: JoinHandle<()>,
}

impl Feed {
    pub fn start(ground: &Ground, seed: u64) -> Feed {
        let (stop, bad, sent) =
            (Arc::<AtomicBool>::default(), Arc::new(AtomicU32::new(1)), Arc::<Mutex<Sent>>::default());
        let mut maker = Maker { rng: StdRng::seed_from_u64(seed), numbers: [0; KEYS], last: None };
        let (producer, topic) = (ground.patient_producer(), ground.name.clone());
        let (ended, badness, told) = (stop.clone(), bad.clone(), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let records: Vec<_> =
                    (0..BURST).map(|_| maker.next(badness.load(Ordering::Relaxed))).collect();
                let mut burst: FuturesUnordered<_> =
                    records.into_iter().map(|(key, value)| send(&producer, &topic, key, value)).collect();
                while let Some((at, record)) = burst.next().await {
                    told.lock().expect("sent").insert(at, record);
                }
                tokio::time::sleep(BURST_EVERY).await;
            }
        });
        Feed { stop, bad, sent, task }
    }

    pub fn set_bad(&self, percent: u32) {
        self.bad.store(percent, Ordering::Relaxed);
    }

    pub fn sent(&self) -> Arc<Mutex<Sent>> {
        self.sent.clone()
    }

    pub async fn end(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every record was acknowledged");
        std::mem::take(&mut *self.sent.lock().expect("sent"))
    }
}

async fn send(
    producer: &FutureProducer,
    topic: &str,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
) -> ((i32, i64), (Vec<u8>, Option<Vec<u8>>)) {
    let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).key(&key);
    record.payload = value.as_deref();
    let sent = producer.send(record, Timeout::Never).await;
    let sent = sent.map_err(|(error, _)| error).expect("acknowledged");
    ((sent.partition, sent.offset), (key, value))
}

struct Maker {
    rng: StdRng,
    numbers: [u64; KEYS],
    last: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Maker {
    fn next(&mut self, bad_percent: u32) -> (Vec<u8>, Option<Vec<u8>>) {
        if self.rng.random_range(0..100) < bad_percent {
            return self.bad();
        }
        let dice = self.rng.random_range(0..100);
        if dice < 2
            && let Some(last) = self.last.clone()
        {
            return last; // a producer that sends twice
        }
        // About one record in two is of the first four keys.
        let spread = self.rng.random_range(0.0..1.0_f64);
        let key = ((KEYS as f64).powf(spread) - 1.0) as usize;
        self.numbers[key] += 1;
        let (name, number) = (format!("k{key}").into_bytes(), self.numbers[key]);
        let value = (dice >= 6).then(|| format!("{{\"n\":{number}}}").into_bytes());
        self.last = Some((name.clone(), value.clone()));
        (name, value)
    }

    fn bad(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let key = format!("k{}", self.rng.random_range(0..KEYS)).into_bytes();
        match self.rng.random_range(0..4) {
            0 => (key, Some(b"{\"n\":".to_vec())),
            1 => (key, Some(b"\"\xff\"".to_vec())),
            2 => (key, Some([vec![b'['; 100], vec![b']'; 100]].concat())),
            _ => (Vec::new(), Some(b"1".to_vec())),
        }
    }
}

/// Whether the record is one of the bad kinds, by whoever made them.
pub fn is_bad(key: &[u8], value: Option<&[u8]>) -> bool {
    key.is_empty() || value.is_some_and(|value| !(value.starts_with(b"{\"n\":") && value.ends_with(b"}")))
}
