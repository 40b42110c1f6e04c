//! Partitions that move between members: by joining, leaving, storms, and holders that do not let go in time.

use super::{log, topic};
use crate::{
    ports::{Assignments, LogError, PartitionReader, Subscription},
    record::Slice,
    tests::{
        contract::{
            log::fill,
            member::{Member, PATIENCE, PLENTY},
            unique,
        },
        services,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Far longer than a wake-up takes, far shorter than any fallback could hide a missing one.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_move_away_and_back_are_read_on() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 4).await, unique("group"));
    let (stays, membership) = Member::join(&log, &topic, &group, |_| {});
    stays.holds(4).await;
    for round in 0..3 {
        let (comes, second) = Member::join(&log, &topic, &group, |_| {});
        stays.holds(2).await;
        comes.holds(2).await;
        second.leave().await;
        stays.holds(4).await;
        for partition in 0..4 {
            fill(&log, &topic, partition, 1).await;
        }
        let since = Instant::now();
        let taken: BTreeSet<_> = stays.take(4).await.into_iter().map(|(p, o, _)| (p, o)).collect();
        assert_eq!(taken, (0..4).map(|p| (p, round)).collect());
        assert!(since.elapsed() < AT_ONCE, "{:?} in round {round}", since.elapsed());
    }
    membership.leave().await;
}

/// Keeps what was revoked until the partition is assigned again, and drops it only then: the order in which
/// librdkafka's wake-up of the new queue is lost with the old one.
#[derive(Default)]
struct Hoarder {
    readers: Mutex<BTreeMap<u32, Box<dyn PartitionReader>>>,
    hoard: Mutex<Vec<Box<dyn PartitionReader>>>,
}

impl Hoarder {
    async fn holds(&self, count: usize) {
        while self.readers.lock().unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Assignments for Hoarder {
    fn assigned(&self, readers: Vec<Box<dyn PartitionReader>>) {
        self.readers.lock().unwrap().extend(readers.into_iter().map(|reader| (reader.partition(), reader)));
        self.hoard.lock().unwrap().clear();
    }

    fn revoked(&self, partitions: &[u32]) -> Vec<(u32, u64)> {
        let mut readers = self.readers.lock().unwrap();
        self.hoard.lock().unwrap().extend(partitions.iter().filter_map(|p| readers.remove(p)));
        Vec::new()
    }

    fn lost(&self, partitions: &[u32]) {
        self.revoked(partitions);
    }

    fn failed(&self, error: LogError) {
        panic!("{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_dropped_late_takes_nothing_with_it() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    let hoarder = Arc::<Hoarder>::default();
    let subscription = Subscription {
        topic: topic.clone(),
        group: group.clone(),
        epoch: 0,
        from_earliest: false,
        prefetch_bytes_max: 4 << 20,
    };
    let membership = log.join(subscription, hoarder.clone()).expect("join");
    hoarder.holds(2).await;
    let (comes, second) = Member::join(&log, &topic, &group, |_| {});
    comes.holds(1).await;
    let mut kept = hoarder.hoard.lock().unwrap().pop().expect("a reader that was not dropped");
    let ended = tokio::time::timeout(AT_ONCE, kept.pull(PLENTY)).await.expect("an end");
    assert!(matches!(ended, Err(LogError::Unavailable(_))), "a reader ends with its assignment: {ended:?}");
    hoarder.hoard.lock().unwrap().push(kept);
    second.leave().await;
    hoarder.holds(2).await;

    let readers = std::mem::take(&mut *hoarder.readers.lock().unwrap());
    let pulls: Vec<_> = readers
        .into_values()
        .map(|mut reader| tokio::spawn(async move { reader.pull(PLENTY).await.expect("pull").len() }))
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await; // so that both wait for a wake-up
    for partition in 0..2 {
        fill(&log, &topic, partition, 1).await;
    }
    for pull in pulls {
        assert_eq!(tokio::time::timeout(AT_ONCE, pull).await.expect("woken").expect("pulled"), 1);
    }
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_members_loses_nothing_and_stalls_nothing() {
    const PARTITIONS: u32 = 6;
    const RECORDS: usize = 600;
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, PARTITIONS).await, unique("group"));
    let filling = tokio::spawn({
        let (log, topic) = (log.clone(), topic.clone());
        async move {
            for i in 0..RECORDS as u32 {
                fill(&log, &topic, i % PARTITIONS, 1).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let (mut members, mut seen) = (Vec::new(), BTreeMap::<(u32, u64), usize>::new());
    let (mut round, mut calm_since) = (0, None::<Instant>);
    while !filling.is_finished() || seen.len() < RECORDS {
        // Storms end: a group that somebody leaves in each of its rebalances has none that is ever over.
        if filling.is_finished() {
            let calm = calm_since.get_or_insert_with(Instant::now).elapsed();
            assert!(calm < PATIENCE, "only {} of {RECORDS} came", seen.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match round % 8 {
            _ if calm_since.is_some() => {}
            0 | 1 | 3 => members.push(Member::join(&log, &topic, &group, |_| {})),
            2 | 5 | 6 if members.len() > 1 => {
                let (_, membership) = members.remove(0);
                membership.leave().await;
            }
            _ => {}
        }
        for (member, _) in &members {
            for partition in member.partitions().await {
                let slice = member.look(partition, PLENTY).await;
                for record in slice.iter().flat_map(Slice::iter) {
                    *seen.entry((partition, record.position.offset)).or_default() += 1;
                }
            }
        }
        round += 1;
    }
    filling.await.expect("filling");
    let expected: BTreeSet<_> = (0..PARTITIONS)
        .flat_map(|p| (0..RECORDS as u64 / u64::from(PARTITIONS)).map(move |o| (p, o)))
        .collect();
    assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), expected);
    // Each look notes what it took before the next rebalance can ask, so a clean move repeats nothing.
    let twice = seen.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "records that came more than once");
    for (_, membership) in members {
        membership.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_partitions_are_found_by_a_member() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    member.holds(2).await;
    super::raise_partitions(&brokers, &topic, 5).await;
    member.holds(5).await;
    fill(&log, &topic, 4, 1).await;
    assert_eq!(member.take(1).await[0].0, 4);
    assert_eq!(log.identity(&topic).await.expect("identity").expect("topic").partitions, 5);
    membership.leave().await;
}
