//! How fast a member reads, and at what CPU: run by hand, with `--release` and `--nocapture`.

use super::{append_all, log_with, topic};
use crate::{
    ports::{Assignments, LogError, PartitionReader, PullLimit, Subscription},
    record::NewRecord,
    tests::{contract::unique, services},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinHandle};

const RECORDS: u64 = 1_000_000;
const KEY_BYTES: usize = 20;
const VALUE_BYTES: usize = 160;
const PARTITIONS: u32 = 4;
const LIMIT: PullLimit = PullLimit { records_max: 4_096, bytes_max: 1 << 20 };

/// Pulls every partition as fast as it goes.
struct Puller {
    runtime: Handle,
    records: Arc<AtomicU64>,
    slices: Arc<AtomicU64>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Assignments for Puller {
    fn assigned(&self, readers: Vec<Box<dyn PartitionReader>>) {
        for mut reader in readers {
            let (records, slices) = (self.records.clone(), self.slices.clone());
            self.tasks.lock().unwrap().push(self.runtime.spawn(async move {
                while let Ok(slice) = reader.pull(LIMIT).await {
                    records.fetch_add(slice.len() as u64, Ordering::Relaxed);
                    slices.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }

    fn revoked(&self, _: &[u32]) -> Vec<(u32, u64)> {
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
        Vec::new()
    }

    fn lost(&self, partitions: &[u32]) {
        self.revoked(partitions);
    }

    fn failed(&self, error: LogError) {
        panic!("{error}");
    }
}

/// User and system time of this process.
pub fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn reading_speed() {
    let Some(brokers) = services::kafka() else { return };
    // One setting of librdkafka may be tried out: NAME=VALUE.
    let tried = std::env::var("TRY").ok();
    let log = log_with(&brokers, |kafka| {
        if let Some((name, value)) = tried.as_deref().and_then(|tried| tried.split_once('=')) {
            kafka.properties.insert(name.into(), value.into());
        }
    });
    let topic = topic(&log, PARTITIONS).await;
    let value = vec![b'v'; VALUE_BYTES];
    append_all(&log, &topic, RECORDS as usize, |i| NewRecord {
        key: Some(format!("key-{i:0width$}", width = KEY_BYTES - 4).into_bytes()),
        value: Some(value.clone()),
        partition: Some(i as u32 % PARTITIONS),
        ..NewRecord::default()
    })
    .await;
    for round in 0..4 {
        let (records, slices) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let puller = Arc::new(Puller {
            runtime: Handle::current(),
            records: records.clone(),
            slices: slices.clone(),
            tasks: Default::default(),
        });
        let subscription = Subscription {
            topic: topic.clone(),
            group: unique("speed"),
            epoch: 0,
            from_earliest: false,
            prefetch_bytes_max: 16 << 20,
        };
        let membership = log.join(subscription, puller).expect("join");
        while records.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (since, before) = (Instant::now(), cpu());
        let first = records.load(Ordering::Relaxed);
        while records.load(Ordering::Relaxed) < RECORDS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (took, used) = (since.elapsed(), cpu() - before);
        let millions = (RECORDS - first) as f64 / 1e6;
        println!(
            "round {round}: {:.2} M records/s, {:.2} CPU-s per million, {:.0} records a slice",
            millions / took.as_secs_f64(),
            used.as_secs_f64() / millions,
            RECORDS as f64 / slices.load(Ordering::Relaxed) as f64
        );
        membership.leave().await;
    }
}
