//! Records and offsets at their edges: large ones, refused ones, and what exactly is committed.

use super::{log, log_with, topic};
use crate::{
    ports::LogError,
    record::NewRecord,
    tests::{
        contract::{
            log::{fill, record},
            member::{Member, PLENTY},
            unique,
        },
        services,
    },
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::time::Duration;

/// Offset and note of what a group has committed, asked by another client.
fn committed(brokers: &str, group: &str, topic: &str, partition: i32) -> (Offset, String) {
    let config = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).to_owned();
    let client: BaseConsumer = config.create().expect("client");
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let list = client.committed_offsets(list, Duration::from_secs(10)).expect("committed");
    let element = list.find_partition(topic, partition).expect("element");
    (element.offset(), element.metadata().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_offset_is_committed_and_not_one_more() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    fill(&log, &topic, 0, 5).await;
    let (member, membership) = Member::join(&log, &topic, &group, |s| s.epoch = 2);
    member.holds(1).await;
    member.take(5).await;
    membership.commit(&[(0, 3)]);
    while committed(&brokers, &group, &topic, 0).0 == Offset::Invalid {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(committed(&brokers, &group, &topic, 0), (Offset::Offset(3), "epoch=2".into()));
    membership.commit(&[(0, 2)]);
    membership.leave().await; // commits 5, and never 2
    assert_eq!(committed(&brokers, &group, &topic, 0), (Offset::Offset(5), "epoch=2".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_never_commits_backwards() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    fill(&log, &topic, 0, 5).await;
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    member.holds(1).await;
    member.take(5).await;
    membership.commit(&[(0, 4)]);
    member.next_is(&[(0, 1)]);
    membership.leave().await;
    assert_eq!(committed(&brokers, &group, &topic, 0).0, Offset::Offset(4));
    let (again, membership) = Member::join(&log, &topic, &group, |_| {});
    again.holds(1).await;
    again.next_is(&[(0, 3)]); // below where it began
    membership.leave().await;
    assert_eq!(committed(&brokers, &group, &topic, 0).0, Offset::Offset(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_for_another_log_counts_for_nothing() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    fill(&log, &topic, 0, 4).await;
    for (epoch, expected) in [(0, None), (0, Some(4)), (1, None), (1, Some(4)), (0, None)] {
        let (member, membership) = Member::join(&log, &topic, &group, |s| s.epoch = epoch);
        member.holds(1).await;
        assert_eq!(member.starts()[&0], expected, "epoch {epoch}");
        let before: Vec<(u32, u64)> = expected.map(|offset| (0, offset)).into_iter().collect();
        assert_eq!(membership.committed().await.expect("committed"), before, "epoch {epoch}");
        if expected.is_none() {
            assert_eq!(member.take(4).await[0].1, 0);
        }
        membership.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_larger_than_every_prefetch_comes_alone() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let topic = topic(&log, 1).await;
    let large: Vec<u8> = (0..10_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for value in [b"before".to_vec(), large.clone(), b"after".to_vec()] {
        log.append(&topic, NewRecord { value: Some(value), ..record(0, "") }).await.expect("append");
    }
    let (member, membership) =
        Member::join(&log, &topic, &unique("group"), |s| s.prefetch_bytes_max = 64 << 10);
    member.holds(1).await;
    let mut slices = Vec::new();
    while slices.iter().map(crate::record::Slice::len).sum::<usize>() < 3 {
        slices.extend(member.look(0, PLENTY).await);
    }
    let alone = slices.iter().find(|slice| slice.bytes_len() > large.len()).expect("the large one");
    assert_eq!(alone.len(), 1);
    assert!(alone.get(0).expect("record").value == Some(&large));
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_no_broker_takes_is_refused() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let topic = topic(&log, 1).await;
    let beyond = NewRecord { value: Some(vec![0; 21_000_000]), ..record(0, "") };
    assert!(matches!(log.append(&topic, beyond).await, Err(LogError::Refused(_))));
    assert!(matches!(log.append(&topic, record(9, "x")).await, Err(LogError::Refused(_))));
    assert_eq!(log.append(&topic, record(0, "x")).await.expect("append"), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_without_brokers_says_whether_it_left() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("address");
    let log = log_with(&closed.to_string(), |kafka| {
        kafka.delivery_timeout_ms = 1_500;
        kafka.call_timeout_ms = 1_000;
    });
    let error = log.append("topic", record(0, "x")).await.expect_err("no broker");
    assert!(matches!(error, LogError::Unavailable(_)), "it never left: {error:?}");
    let error = log.ping().await.expect_err("no broker");
    assert!(matches!(&error, LogError::Unavailable(why) if why.contains("refused")), "{error:?}");
    assert!(log.identity("topic").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_brokers_waits_and_can_leave() {
    let log = log_with("127.0.0.1:1", |_| {});
    let (member, membership) = Member::join(&log, "topic", "group", |_| {});
    tokio::time::sleep(Duration::from_millis(300)).await;
    membership.commit(&[(0, 1)]);
    tokio::time::timeout(Duration::from_secs(5), membership.leave()).await.expect("left in time");
    assert!(member.told().is_empty());
}
