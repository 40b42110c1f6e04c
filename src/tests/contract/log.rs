//! What every log does, in the words of `ports::Log`.

use super::{
    member::{PATIENCE, PLENTY},
    unique,
};
use crate::{
    ports::{Log, PartitionReader, PullLimit, TopicSpec},
    record::{NewRecord, Slice},
};
use futures_util::future::{BoxFuture, join_all};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Gives handles to one log.
pub trait LogFactory: Send + Sync {
    fn log(&self) -> Arc<dyn Log>;

    /// Deletes a topic altogether, where the log offers it.
    fn delete_topic<'a>(&'a self, _topic: &'a str) -> Option<BoxFuture<'a, ()>> {
        None
    }
}

/// Runs every function of this suite: `log_suite!(path::to::factory)`, an `async fn() -> Option<impl LogFactory>`.
macro_rules! log_suite {
    ($factory:path) => {
        $crate::tests::contract::suite!(log, $factory,
            the_log_answers
            creating_topics_keeps_what_is_there
            an_identity_is_stable_and_its_own
            a_recreated_topic_has_another_identity
            records_come_back_in_order_from_offset_zero
            records_come_back_byte_for_byte
            a_record_without_time_gets_the_clock_of_the_log
            the_key_chooses_the_partition_as_java_does
            records_without_a_key_are_taken
            an_impossible_partition_is_an_error
            appends_at_once_get_offsets_of_their_own
            bounds_are_the_first_and_the_next_offset
            a_pull_keeps_to_its_limits
            a_pull_waits_for_a_record
            a_dropped_pull_loses_nothing
            a_reader_starts_where_it_is_told
        );
        $crate::tests::contract::suite!(groups, $factory,
            a_member_gets_every_partition_from_its_start
            a_committed_offset_is_where_the_next_member_starts
            leaving_commits_what_revoke_returns
            members_share_and_move_partitions
            from_earliest_ignores_what_is_committed
            groups_do_not_see_each_other
            a_commit_of_a_partition_of_others_is_dropped
            the_epoch_is_on_every_slice
        );
    };
}
pub(crate) use log_suite;

pub async fn topic(log: &Arc<dyn Log>, partitions: u32) -> String {
    let name = unique("contract");
    log.create_topics(&[spec(&name, partitions)]).await.expect("create");
    name
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, retention: None, replication: -1 }
}

pub fn record(partition: u32, value: &str) -> NewRecord {
    NewRecord {
        key: Some(b"key".to_vec()),
        value: Some(value.into()),
        partition: Some(partition),
        ..NewRecord::default()
    }
}

/// Appends `count` records with the values `0`, `1`, ... to one partition.
pub async fn fill(log: &Arc<dyn Log>, topic: &str, partition: u32, count: usize) {
    let appends = (0..count).map(|i| log.append(topic, record(partition, &i.to_string())));
    for append in appends {
        append.await.expect("append");
    }
}

pub async fn pull(reader: &mut Box<dyn PartitionReader>, limit: PullLimit) -> Slice {
    tokio::time::timeout(PATIENCE, reader.pull(limit)).await.expect("a record in time").expect("pull")
}

pub fn offsets(slice: &Slice) -> Vec<u64> {
    slice.iter().map(|r| r.position.offset).collect()
}

pub async fn the_log_answers(factory: &impl LogFactory) {
    factory.log().ping().await.expect("ping");
}

pub async fn creating_topics_keeps_what_is_there(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, other) = (topic(&log, 3).await, unique("contract"));
    fill(&log, &name, 2, 1).await;
    let before = log.identity(&name).await.expect("identity").expect("topic");
    for partitions in [3, 1, 5] {
        log.create_topics(&[spec(&name, partitions), spec(&other, 2)]).await.expect("create again");
        let now = log.identity(&name).await.expect("identity").expect("topic");
        assert_eq!((&now, now.partitions), (&before, 3));
    }
    assert_eq!(log.bounds(&name, 2).await.expect("bounds"), (0, 1));
    assert_eq!(log.identity(&other).await.expect("identity").expect("other").partitions, 2);
}

pub async fn an_identity_is_stable_and_its_own(factory: &impl LogFactory) {
    let log = factory.log();
    let (a, b) = (topic(&log, 1).await, topic(&log, 1).await);
    let id_a = log.identity(&a).await.expect("identity").expect("topic");
    let id_b = log.identity(&b).await.expect("identity").expect("topic");
    assert_ne!(id_a.id, id_b.id);
    fill(&log, &a, 0, 1).await;
    assert_eq!(factory.log().identity(&a).await.expect("identity").expect("topic"), id_a);
    assert_eq!(log.identity(&unique("absent")).await.expect("identity of nothing"), None);
}

pub async fn a_recreated_topic_has_another_identity(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 2).await;
    fill(&log, &name, 1, 3).await;
    let before = log.identity(&name).await.expect("identity").expect("topic");
    let Some(deleted) = factory.delete_topic(&name) else { return };
    deleted.await;
    assert_eq!(log.identity(&name).await.expect("identity"), None);
    log.create_topics(&[spec(&name, 2)]).await.expect("create again");
    let after = log.identity(&name).await.expect("identity").expect("topic");
    assert_ne!(after.id, before.id);
    assert_eq!(log.bounds(&name, 1).await.expect("bounds"), (0, 0));
}

pub async fn records_come_back_in_order_from_offset_zero(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 2).await;
    for i in 0..20u64 {
        let at = log.append(&name, record(1, &i.to_string())).await.expect("append");
        assert_eq!(at, (1, i));
    }
    let mut reader = log.read(&name, 0, 1, 0).expect("read");
    let mut values = Vec::new();
    while values.len() < 20 {
        let slice = pull(&mut reader, PLENTY).await;
        assert_eq!(slice.partition(), 1);
        values.extend(
            slice
                .iter()
                .map(|r| (r.position.offset, String::from_utf8_lossy(r.value.expect("value")).into_owned())),
        );
    }
    assert_eq!(values, (0..20).map(|i| (i, i.to_string())).collect::<Vec<_>>());
}

pub async fn records_come_back_byte_for_byte(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers = vec![
        ("a".to_owned(), Some(b"1".to_vec())),
        ("a".to_owned(), Some(Vec::new())),
        ("none".to_owned(), None),
        ("ü.$".to_owned(), Some(every_byte.clone())),
    ];
    let with = |key: Option<Vec<u8>>, value: Option<Vec<u8>>| NewRecord {
        key,
        value,
        headers: headers.clone(),
        partition: Some(0),
        time_ms: Some(1_700_000_000_123),
    };
    let sent = [
        with(Some(every_byte.clone()), Some(every_byte.clone())),
        with(Some(b"removed".to_vec()), None),
        with(None, Some(b"no key".to_vec())),
        with(Some(b"empty value".to_vec()), Some(Vec::new())),
        with(Some(b"large".to_vec()), Some(vec![7; 700_000])),
        NewRecord { headers: Vec::new(), ..with(None, None) },
    ];
    for record in &sent {
        log.append(&name, record.clone()).await.expect("append");
    }
    let (mut reader, mut at) = (log.read(&name, 0, 0, 0).expect("read"), 0);
    while at < sent.len() {
        for got in pull(&mut reader, PLENTY).await.iter() {
            let NewRecord { key, value, headers, .. } = &sent[at];
            assert_eq!(got.key, key.as_deref(), "key of record {at}");
            assert!(got.value == value.as_deref(), "value of record {at}");
            let expected: Vec<_> = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_deref())).collect();
            assert_eq!(got.headers.iter().collect::<Vec<_>>(), expected, "headers of record {at}");
            assert_eq!(got.time_ms, 1_700_000_000_123, "time of record {at}");
            at += 1;
        }
    }
}

pub async fn a_record_without_time_gets_the_clock_of_the_log(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    let before = crate::clock::now_ms();
    fill(&log, &name, 0, 1).await;
    let slice = pull(&mut log.read(&name, 0, 0, 0).expect("read"), PLENTY).await;
    let time_ms = slice.get(0).expect("record").time_ms;
    assert!((before - 60_000..=crate::clock::now_ms() + 60_000).contains(&time_ms), "{time_ms}");
}

pub async fn the_key_chooses_the_partition_as_java_does(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 5).await;
    // murmur2 of these keys, as Kafka's own tests have it, cleared of its sign and taken modulo 5.
    for (key, partition) in [
        ("21", 1_173_551_340 % 5),
        ("foobar", 1_357_151_166 % 5),
        ("a-little-bit-long-string", 1_161_502_112 % 5),
        ("a-little-bit-longer-string", 661_178_819 % 5),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 2_088_585_677 % 5),
        ("abc", 479_470_107 % 5),
    ] {
        let new = NewRecord { partition: None, key: Some(key.into()), ..record(0, "x") };
        assert_eq!(log.append(&name, new).await.expect("append").0, partition, "{key}");
    }
}

pub async fn records_without_a_key_are_taken(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 3).await;
    for _ in 0..10 {
        let new = NewRecord { partition: None, key: None, ..record(0, "x") };
        assert!(log.append(&name, new).await.expect("append").0 < 3);
    }
    let mut total = 0;
    for partition in 0..3 {
        total += log.bounds(&name, partition).await.expect("bounds").1;
    }
    assert_eq!(total, 10);
}

pub async fn an_impossible_partition_is_an_error(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 2).await;
    assert!(log.append(&name, record(7, "x")).await.is_err());
    assert!(log.bounds(&name, 7).await.is_err());
}

pub async fn appends_at_once_get_offsets_of_their_own(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 2).await;
    let appends = (0..200u32).map(|i| log.append(&name, record(i % 2, &i.to_string())));
    let at: BTreeSet<_> = join_all(appends).await.into_iter().map(|at| at.expect("append")).collect();
    let expected: BTreeSet<_> = (0..100).flat_map(|offset| [(0, offset), (1, offset)]).collect();
    assert_eq!(at, expected);
}

pub async fn bounds_are_the_first_and_the_next_offset(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 2).await;
    assert_eq!(log.bounds(&name, 0).await.expect("bounds"), (0, 0));
    fill(&log, &name, 0, 3).await;
    assert_eq!(log.bounds(&name, 0).await.expect("bounds"), (0, 3));
    assert_eq!(log.bounds(&name, 1).await.expect("bounds"), (0, 0));
}

pub async fn a_pull_keeps_to_its_limits(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    for _ in 0..6 {
        log.append(&name, record(0, &"x".repeat(1_000))).await.expect("append");
    }
    let mut reader = log.read(&name, 0, 0, 0).expect("read");
    let mut at = 0;
    for limit in [
        PullLimit { records_max: 1, bytes_max: 1 << 20 },
        PullLimit { records_max: 2, bytes_max: 1 << 20 },
        PullLimit { records_max: 100, bytes_max: 1 },
        PullLimit { records_max: 100, bytes_max: 2_500 },
    ] {
        let slice = pull(&mut reader, limit).await;
        assert!((1..=limit.records_max).contains(&slice.len()));
        let bytes: usize = slice.iter().map(|r| r.size()).sum();
        assert!(slice.len() == 1 || bytes <= limit.bytes_max, "{bytes} bytes under {limit:?}");
        assert_eq!(offsets(&slice), (at..at + slice.len() as u64).collect::<Vec<_>>());
        at += slice.len() as u64;
    }
}

pub async fn a_pull_waits_for_a_record(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    let mut reader = log.read(&name, 0, 0, 0).expect("read");
    let waiting = tokio::spawn(async move { pull(&mut reader, PLENTY).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    fill(&log, &name, 0, 1).await;
    assert_eq!(offsets(&waiting.await.expect("pull")), [0]);
}

pub async fn a_dropped_pull_loses_nothing(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    let mut reader = log.read(&name, 0, 0, 0).expect("read");
    let (filled, one) = (name.clone(), PullLimit { records_max: 1, ..PLENTY });
    let filling = tokio::spawn({
        let log = log.clone();
        async move { fill(&log, &filled, 0, 100).await }
    });
    let mut seen = Vec::new();
    for round in 0.. {
        let limit = if round % 2 == 0 { one } else { PLENTY };
        let wait = Duration::from_micros(round % 7 * 300);
        if let Ok(slice) = tokio::time::timeout(wait, reader.pull(limit)).await {
            seen.extend(offsets(&slice.expect("pull")));
        }
        if seen.len() >= 100 {
            break;
        }
        assert!(round < 1_000_000, "only {} came", seen.len());
        tokio::task::yield_now().await;
    }
    filling.await.expect("filling");
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

pub async fn a_reader_starts_where_it_is_told(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    fill(&log, &name, 0, 5).await;
    let mut reader = log.read(&name, 0, 0, 3).expect("read");
    assert_eq!(reader.partition(), 0);
    assert!(reader.start().is_none_or(|start| start == 3));
    assert_eq!(offsets(&pull(&mut reader, PLENTY).await).first(), Some(&3));
    let mut at_end = log.read(&name, 0, 0, 5).expect("read");
    fill(&log, &name, 0, 1).await;
    assert_eq!(offsets(&pull(&mut at_end, PLENTY).await), [5]);
}
