//! Brokers that are killed, frozen, or hold damaged bytes. They need brokers of their own, so they are run by hand:
//! `scripts/services run kafka -- cargo test -- --ignored kafka::broker --test-threads 1`

use super::{log, log_with, speed::cpu, topic};
use crate::{
    ports::{Log, LogError, PullLimit},
    tests::{
        contract::{
            log::{fill, record},
            member::Member,
            unique,
        },
        services,
    },
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// Orders the brokers of this run about.
fn order(what: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let done = Command::new(script).args([what, "kafka"]).output().expect("scripts/services");
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
}

fn quick(brokers: &str) -> Arc<dyn Log> {
    log_with(brokers, |kafka| {
        kafka.session_timeout_ms = 6_000;
        kafka.delivery_timeout_ms = 3_000;
        kafka.call_timeout_ms = 3_000;
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the brokers"]
async fn a_broker_that_goes_and_comes_is_read_on_from() {
    let Some(brokers) = services::kafka() else { return };
    let log = quick(&brokers);
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    member.holds(2).await;
    for kill in ["kill", "stop"] {
        fill(&log, &topic, 0, 5).await;
        let taken = member.take(5).await;
        membership.commit(&[(0, taken.last().expect("five").1 + 1)]);
        order(kill);
        let error = log.append(&topic, record(0, "lost?")).await.expect_err("no broker");
        assert!(matches!(error, LogError::Unknown(_) | LogError::Unavailable(_)), "{error:?}");
        assert!(matches!(log.ping().await, Err(LogError::Unavailable(_))));
        let before = cpu();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let used = cpu() - before;
        assert!(used < Duration::from_millis(250), "{used:?} in 5 s without a broker");
        order(if kill == "kill" { "restart" } else { "cont" });
        let since = Instant::now();
        while log.append(&topic, record(1, "back")).await.is_err() {
            assert!(since.elapsed() < Duration::from_secs(30));
        }
        // Those that were answered Unavailable or Unknown may be there too.
        assert!(member.take(1).await.iter().any(|(_, _, value)| value == b"back" || value == b"lost?"));
        println!("{kill}: back in {:?}", since.elapsed());
        while member.look(0, super::SOME).await.is_some() || member.look(1, super::SOME).await.is_some() {}
    }
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the brokers"]
async fn a_member_leaves_in_time_without_its_broker() {
    let rounds = std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    let Some(brokers) = services::kafka() else { return };
    for round in 0..rounds {
        let log = quick(&brokers);
        let (topic, group) = (topic(&log, 4).await, unique("group"));
        let (member, membership) = Member::join(&log, &topic, &group, |_| {});
        member.holds(4).await;
        for partition in 0..4 {
            fill(&log, &topic, partition, 50).await;
        }
        member.take(200).await;
        membership.commit(&[(0, 50), (1, 50), (2, 50), (3, 50)]);
        order(if round % 2 == 0 { "kill" } else { "stop" });
        tokio::time::sleep(Duration::from_millis([0, 100, 700, 3_000][round / 2 % 4])).await;
        let since = Instant::now();
        membership.leave().await;
        drop(membership);
        assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
        println!("round {round}: left in {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_secs(3)).await; // the thread goes on closing behind it
        order(if round % 2 == 0 { "restart" } else { "cont" });
        let log = quick(&brokers);
        while log.ping().await.is_err() {}
        let (member, membership) = Member::join(&log, &topic, &group, |_| {});
        member.holds(4).await;
        assert!(
            member.starts().values().all(|start| matches!(start, None | Some(50))),
            "{:?}",
            member.starts()
        );
        membership.leave().await;
    }
}

/// The newest segment of a partition, in the data of the run's broker.
fn segment(topic: &str) -> PathBuf {
    let dir = std::env::var("STATECAST_TEST_SERVICES_DIR").expect("run by scripts/services");
    let found =
        Command::new("find").args([&dir, "-path", &format!("*/{topic}-0/*.log")]).output().expect("find");
    PathBuf::from(String::from_utf8(found.stdout).expect("paths").lines().next_back().expect("a segment"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "damages a topic"]
async fn a_damaged_batch_ends_a_partition_before_it() {
    let Some(brokers) = services::kafka() else { return };
    let log = log(&brokers);
    let topic = topic(&log, 1).await;
    for i in 0..30 {
        // One batch each.
        log.append(&topic, record(0, &format!("value-{i:02}"))).await.expect("append");
    }
    let path = segment(&topic);
    let mut bytes = std::fs::read(&path).expect("segment");
    let damaged = bytes.windows(8).position(|bytes| bytes == b"value-15").expect("its value");
    bytes[damaged] ^= 0x55;
    std::fs::write(&path, bytes).expect("damage");
    let mut reader = log.read(&topic, 0, 0, 0).expect("read");
    let mut read = 0;
    let limit = PullLimit { records_max: 4, bytes_max: 1 << 20 };
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(20), reader.pull(limit)).await.expect("an answer") {
            Ok(slice) => {
                for record in slice.iter() {
                    assert_eq!(record.position.offset, read, "in order, with no hole");
                    read += 1;
                }
            }
            Err(error) => break error,
        }
    };
    println!("{read} records, then {error}");
    assert_eq!(read, 15);
    for _ in 0..3 {
        assert!(matches!(&error, LogError::Corrupt(_)), "{error:?}");
        tokio::time::sleep(Duration::from_millis(700)).await;
        let again =
            tokio::time::timeout(Duration::from_secs(5), reader.pull(limit)).await.expect("an answer");
        assert!(matches!(again, Err(LogError::Corrupt(_))), "never past it: {again:?}");
    }
}
