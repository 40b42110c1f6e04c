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
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

pub const KEYS: usize = 40;
/// What Statecast takes by default.
const VALUE_MAX: usize = 1 << 20;
const KEY_MAX: usize = 512;
const BURST_EVERY: Duration = Duration::from_millis(20);
const BURST: usize = 20;
/// What the names of keys begin with that are there once.
const FRESH: &str = "new-";
/// How a value ends that a rule of the store may forbid.
const FORBIDDEN: &str = ",\"forbidden\":true}";

/// Acknowledged records by partition and offset: key and value as they were sent.
pub type Sent = BTreeMap<(i32, i64), (Vec<u8>, Option<Vec<u8>>)>;

/// Of which kinds records are.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Bad records in a hundred.
    pub bad_percent: u32,
    /// Every kind of bad record, large ones too, and values that only look bad.
    pub strange: bool,
    /// Good records of the first key, in a hundred of them.
    pub hot_percent: u32,
    /// Good records of a key that was never there, in a hundred of them.
    pub fresh_percent: u32,
    /// Records in a hundred that lead to a document which a rule of the store may forbid.
    pub forbidden_percent: u32,
    /// They are the last of keys of their own, of which good ones come before.
    pub forbidden_last: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            bad_percent: 1,
            strange: false,
            hot_percent: 0,
            fresh_percent: 0,
            forbidden_percent: 0,
            forbidden_last: false,
        }
    }
}

pub struct Feed {
    stop: Arc<AtomicBool>,
    mix: Arc<Mutex<Mix>>,
    sent: Arc<Mutex<Sent>>,
    task: JoinHandle<()>,
}

impl Feed {
    pub fn start(ground: &Ground, seed: u64, mix: Mix) -> Feed {
        let (stop, mix, sent) =
            (Arc::<AtomicBool>::default(), Arc::new(Mutex::new(mix)), Arc::<Mutex<Sent>>::default());
        let mut maker = Maker {
            rng: StdRng::seed_from_u64(seed),
            numbers: [0; KEYS],
            fresh: 0,
            last: None,
            due: VecDeque::new(),
        };
        let (producer, topic) = (ground.patient_producer(), ground.name.clone());
        let (ended, wanted, told) = (stop.clone(), mix.clone(), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let mix = *wanted.lock().expect("mix");
                let records: Vec<_> = (0..BURST).map(|_| maker.next(mix)).collect();
                let mut burst: FuturesUnordered<_> =
                    records.into_iter().map(|(key, value)| send(&producer, &topic, key, value)).collect();
                while let Some((at, record)) = burst.next().await {
                    told.lock().expect("sent").insert(at, record);
                }
                tokio::time::sleep(BURST_EVERY).await;
            }
        });
        Feed { stop, mix, sent, task }
    }

    pub fn set(&self, mix: Mix) {
        *self.mix.lock().expect("mix") = mix;
    }

    /// The first bad record of each partition that has one.
    pub fn first_bad(&self) -> BTreeMap<i32, i64> {
        let (sent, mut first) = (self.sent.lock().expect("sent"), BTreeMap::new());
        for (&(partition, offset), (key, value)) in &*sent {
            if is_bad(key, value.as_deref()) {
                first.entry(partition).or_insert(offset);
            }
        }
        first
    }

    /// Records of keys that were never there before.
    pub fn fresh(&self) -> usize {
        let sent = self.sent.lock().expect("sent");
        sent.values().filter(|(key, _)| key.starts_with(FRESH.as_bytes())).count()
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
    fresh: u64,
    last: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// What comes next, whatever the mix.
    due: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Maker {
    fn next(&mut self, mix: Mix) -> (Vec<u8>, Option<Vec<u8>>) {
        if let Some(due) = self.due.pop_front() {
            return due;
        }
        if self.rng.random_range(0..100) < mix.bad_percent {
            return if mix.strange { self.strange() } else { self.bad() };
        }
        if mix.forbidden_percent > 0 && self.rng.random_range(0..100) < mix.forbidden_percent {
            return self.forbidden(mix);
        }
        if self.rng.random_range(0..100) < mix.fresh_percent {
            self.fresh += 1;
            let name = format!("{FRESH}{}", self.fresh);
            return (name.into_bytes(), Some(format!("{{\"n\":{}}}", self.fresh).into_bytes()));
        }
        let dice = self.rng.random_range(0..100);
        if dice < 2
            && let Some(last) = self.last.clone()
        {
            return last; // a producer that sends twice
        }
        // About one record in two is of the first four keys.
        let spread = self.rng.random_range(0.0..1.0_f64);
        let is_hot = self.rng.random_range(0..100) < mix.hot_percent;
        let key = if is_hot { 0 } else { ((KEYS as f64).powf(spread) - 1.0) as usize };
        self.numbers[key] += 1;
        let (name, number) = (format!("k{key}").into_bytes(), self.numbers[key]);
        let more =
            if mix.strange { ",\"$set\":{\"a.b\":[1e-7,\"\\u0000\"]},\"\":null,\"_id\":true" } else { "" };
        let value = (dice >= 6).then(|| format!("{{\"n\":{number}{more}}}").into_bytes());
        self.last = Some((name.clone(), value.clone()));
        (name, value)
    }

    fn forbidden(&mut self, mix: Mix) -> (Vec<u8>, Option<Vec<u8>>) {
        self.fresh += 1;
        let forbidden = Some(format!("{{\"n\":{}{FORBIDDEN}", self.fresh).into_bytes());
        if !mix.forbidden_last {
            return (format!("k{}", self.rng.random_range(0..KEYS)).into_bytes(), forbidden);
        }
        let key = format!("{FRESH}{}", self.fresh).into_bytes();
        let good = (0..self.rng.random_range(0..3)).map(|n| Some(format!("{{\"n\":{n}}}").into_bytes()));
        self.due.extend(good.chain([forbidden]).map(|value| (key.clone(), value)));
        self.due.pop_front().expect("one of them")
    }

    fn bad(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let key = format!("k{}", self.rng.random_range(0..KEYS)).into_bytes();
        match self.rng.random_range(0..4) {
            0 => (key, Some(b"{\"n\":".to_vec())),
            1 => (key, Some(b"\"\xff\"".to_vec())),
            2 => (key, Some(nested(100))),
            _ => (Vec::new(), Some(b"1".to_vec())),
        }
    }

    fn strange(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let (key, value) = self.bad();
        match self.rng.random_range(0..100) {
            // Each costs a megabyte here, there, and in the log.
            0 => (
                b"k1".to_vec(),
                Some(format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(VALUE_MAX)).into_bytes()),
            ),
            1..=3 => (key, Some(nested(100_000))),
            4..=14 => (key, Some(b"{\"n\":NaN}".to_vec())),
            15..=24 => (key, Some(b"{\"a\":1,\"a\":2}".to_vec())),
            25..=34 => (key, Some(b"[9223372036854775808]".to_vec())),
            35..=44 => (key, Some(Vec::new())),
            45..=54 => (b"k\xff\xfe".to_vec(), Some(b"1".to_vec())),
            55..=64 => (vec![b'k'; KEY_MAX + 1], Some(b"1".to_vec())),
            _ => (key, value),
        }
    }
}

fn nested(levels: usize) -> Vec<u8> {
    [vec![b'['; levels], vec![b']'; levels]].concat()
}

/// Whether the record is one of the bad kinds, by whoever made them.
pub fn is_bad(key: &[u8], value: Option<&[u8]>) -> bool {
    let is_good = |value: &[u8]| {
        let number = value.strip_prefix(b"{\"n\":").and_then(|rest| rest.first());
        number.is_some_and(u8::is_ascii_digit) && value.ends_with(b"}") && value.len() <= VALUE_MAX
    };
    key.is_empty() || key.len() > KEY_MAX || !key.is_ascii() || !value.is_none_or(is_good)
}

/// Whether a rule of the store may forbid what the record leads to.
pub fn is_forbidden(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.ends_with(FORBIDDEN.as_bytes()))
}
