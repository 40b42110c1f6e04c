//! A member of a consumer group that does what a test says and remembers what it was told.

use crate::{
    ports::{Assignments, Log, LogError, Membership, PartitionReader, PullLimit, Subscription},
    record::Slice,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const PLENTY: PullLimit = PullLimit { records_max: 1_000, bytes_max: 1 << 20 };
/// Longer than any group of a real broker takes to settle.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A look that finds nothing ends after so long.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Assigned(BTreeMap<u32, Option<u64>>),
    Revoked(BTreeSet<u32>),
    Lost(BTreeSet<u32>),
}

/// Listens to its membership, keeps the readers, and on a revoke gives back the next offset of what it has read.
#[derive(Default)]
pub struct Member {
    told: Mutex<Vec<Told>>,
    failures: Mutex<Vec<LogError>>,
    /// A tokio mutex: a pull holds it, and a revoke waits for that pull to end.
    readers: tokio::sync::Mutex<BTreeMap<u32, Box<dyn PartitionReader>>>,
    next: Mutex<BTreeMap<u32, u64>>,
}

impl Member {
    pub fn join(
        log: &Arc<dyn Log>,
        topic: &str,
        group: &str,
        change: impl FnOnce(&mut Subscription),
    ) -> (Arc<Member>, Arc<dyn Membership>) {
        let member = Arc::new(Member::default());
        let mut subscription = Subscription {
            topic: topic.into(),
            group: group.into(),
            epoch: 0,
            from_earliest: false,
            prefetch_bytes_max: 4 << 20,
        };
        change(&mut subscription);
        let membership = log.join(subscription, member.clone()).expect("join");
        (member, membership)
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// All partitions told as revoked so far.
    pub fn revoked_partitions(&self) -> BTreeSet<u32> {
        self.told()
            .into_iter()
            .flat_map(|told| if let Told::Revoked(partitions) = told { partitions } else { BTreeSet::new() })
            .collect()
    }

    /// The start of each partition, as the last assignment that had it said.
    pub fn starts(&self) -> BTreeMap<u32, Option<u64>> {
        self.told()
            .into_iter()
            .flat_map(|told| if let Told::Assigned(starts) = told { starts } else { BTreeMap::new() })
            .collect()
    }

    pub async fn partitions(&self) -> BTreeSet<u32> {
        self.readers.lock().await.keys().copied().collect()
    }

    /// Waits until exactly so many partitions are held.
    pub async fn holds(&self, count: usize) -> BTreeSet<u32> {
        let since = Instant::now();
        loop {
            let held = self.partitions().await;
            self.must_not_have_failed();
            if held.len() == count {
                return held;
            }
            assert!(since.elapsed() < PATIENCE, "holds {held:?}, not {count}, told {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One look at one partition: what is there now, or `None`.
    pub async fn look(&self, partition: u32, limit: PullLimit) -> Option<Slice> {
        let mut readers = self.readers.lock().await;
        let reader = readers.get_mut(&partition)?;
        let slice = tokio::time::timeout(LOOK, reader.pull(limit)).await.ok()?.expect("pull");
        // Noted while the readers are still held, so that a revoke, which waits for them, returns it.
        if let Some(last) = slice.last_offset() {
            self.next.lock().unwrap().insert(partition, last + 1);
        }
        drop(readers);
        Some(slice)
    }

    /// Pulls over all held partitions until `count` records came; (partition, offset, value) in order of arrival.
    pub async fn take(&self, count: usize) -> Vec<(u32, u64, Vec<u8>)> {
        let (since, mut taken) = (Instant::now(), Vec::new());
        while taken.len() < count {
            for partition in self.partitions().await {
                let slice = self.look(partition, PLENTY).await;
                taken.extend(slice.iter().flat_map(Slice::iter).map(|r| {
                    (r.position.partition, r.position.offset, r.value.unwrap_or_default().to_vec())
                }));
            }
            self.must_not_have_failed();
            assert!(since.elapsed() < PATIENCE, "{} of {count} records came", taken.len());
        }
        taken
    }

    /// From here on a revoke returns these, whatever was pulled.
    pub fn next_is(&self, next: &[(u32, u64)]) {
        *self.next.lock().unwrap() = next.iter().copied().collect();
    }

    fn must_not_have_failed(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "the membership failed: {failures:?}");
    }

    fn drop_readers(&self, partitions: &[u32]) {
        self.readers.blocking_lock().retain(|partition, _| !partitions.contains(partition));
    }
}

impl Assignments for Member {
    fn assigned(&self, readers: Vec<Box<dyn PartitionReader>>) {
        let starts = readers.iter().map(|r| (r.partition(), r.start())).collect();
        self.told.lock().unwrap().push(Told::Assigned(starts));
        let mut held = self.readers.blocking_lock();
        for reader in readers {
            let partition = reader.partition();
            assert!(held.insert(partition, reader).is_none(), "partition {partition} assigned twice");
        }
    }

    fn revoked(&self, partitions: &[u32]) -> Vec<(u32, u64)> {
        self.drop_readers(partitions);
        self.told.lock().unwrap().push(Told::Revoked(partitions.iter().copied().collect()));
        let mut next = self.next.lock().unwrap();
        partitions.iter().filter_map(|p| next.remove(p).map(|offset| (*p, offset))).collect()
    }

    fn lost(&self, partitions: &[u32]) {
        self.drop_readers(partitions);
        self.told.lock().unwrap().push(Told::Lost(partitions.iter().copied().collect()));
    }

    fn failed(&self, error: LogError) {
        self.failures.lock().unwrap().push(error);
    }
}
