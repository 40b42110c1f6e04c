//! The whole engine over the in-memory twin: what goes in comes out, whatever ends in between.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::{Config, streams},
    engine::{
        api::{Outcome, State, WriteError},
        run::{self, Running},
    },
    ports::{EntityId, Log, Ports, Store},
    record::{NewRecord, Position},
};
use std::{sync::Arc, time::Duration};

struct Bench {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    config: Config,
}

impl Bench {
    async fn new() -> Bench {
        let bench = Bench {
            log: Arc::new(MemoryLog::default()),
            store: Arc::new(MemoryStore::default()),
            config: Config::default(),
        };
        let topics = streams::topics(&bench.config);
        bench.log.create_topics(&topics).await.expect("topics");
        bench
    }

    fn ports(&self) -> Ports {
        Ports { log: self.log.clone(), store: self.store.clone(), readers: self.store.clone() }
    }

    async fn start(&self) -> Running {
        let specs = apps::register(&self.config);
        run::start(&self.config, self.ports(), specs, "test".into()).await.expect("engine")
    }
}

fn record(key: &str, value: Option<&str>) -> NewRecord {
    NewRecord {
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|v| v.as_bytes().to_vec()),
        ..NewRecord::default()
    }
}

async fn running(running: &Running) {
    for _ in 0..500 {
        if running.engine.streams().iter().all(|s| s.state == State::Running && s.lag.len() == 4) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the engine does not run: {:?}", running.engine.streams());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_stored_read_and_removed() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    running(&live).await;
    let (position, outcome) =
        live.engine.append_and_wait("kv", record("a", Some("{\"n\":1}"))).await.expect("stored");
    let Outcome::Stored(shown) = outcome else { panic!("{outcome:?}") };
    assert_eq!((shown.version, shown.positions.to_string()), (1, position.to_string()));
    let read = live.engine.read("kv", "a").await.expect("read").expect("there");
    assert_eq!(read.shown.value.expect("value").text(), "{\"n\":1}");
    live.engine.append_and_wait("kv", record("a", None)).await.expect("removed");
    let read = live.engine.read("kv", "a").await.expect("read").expect("a tombstone");
    assert_eq!((read.shown.version, read.shown.value), (2, None));
    assert!(live.engine.read("kv", "never").await.expect("read").is_none());
    assert!(live.stop(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_the_number_of_its_records_across_restarts() {
    let bench = Bench::new().await;
    for round in 1..=3_u64 {
        let live = bench.start().await;
        for i in 0..3_000 {
            let value = format!("{{\"round\":{round},\"i\":{i}}}");
            live.engine.append("kv", record(&format!("k{}", i % 100), Some(&value))).await.expect("appended");
        }
        let (last, _) = live.engine.append_and_wait("kv", record("last", Some("1"))).await.expect("stored");
        assert!(live.engine.reached("kv", last, Duration::from_secs(5)).await.expect("reached"));
        settle(&bench, round * 30).await;
        assert!(live.stop(Duration::from_secs(5)).await, "round {round}");
    }
}

async fn settle(bench: &Bench, version: u64) {
    let ids: Vec<EntityId> =
        (0..100).map(|i| EntityId { key: format!("k{i}").as_str().into(), partial: None }).collect();
    for _ in 0..500 {
        let stored = bench.store.load("kv", &ids).await.expect("loaded");
        if stored.len() == 100 && stored.iter().all(|d| d.version == version) {
            return;
        }
        assert!(stored.iter().all(|d| d.version <= version), "a record was taken in twice");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("records are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_one_version_one_wins() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    running(&live).await;
    live.engine.append_and_wait("kv", record("a", Some("0"))).await.expect("stored");
    let conditional = |value: &str| {
        let mut record = record("a", Some(value));
        record.headers.push(("statecast-if-version".into(), Some(b"1".to_vec())));
        live.engine.append_and_wait("kv", record)
    };
    let (one, two) = tokio::join!(conditional("1"), conditional("2"));
    let outcomes = [one.expect("told").1, two.expect("told").1];
    let stored = outcomes.iter().filter(|o| matches!(o, Outcome::Stored(_))).count();
    let refused = outcomes.iter().filter(|o| matches!(o, Outcome::Refused { entity: Some(_), .. })).count();
    assert_eq!((stored, refused), (1, 1), "{outcomes:?}");
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_a_dead_letter_before_its_offset_is_finished() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    running(&live).await;
    let (position, outcome) =
        live.engine.append_and_wait("kv", record("a", Some("{bad"))).await.expect("told");
    assert!(matches!(outcome, Outcome::Poisoned { .. }), "{outcome:?}");
    assert!(live.engine.reached("kv", position, Duration::from_secs(5)).await.expect("reached"));
    let mut letters = 0;
    for partition in 0..4 {
        let (from, to) = bench.log.bounds("kv.dlq", partition).await.expect("bounds");
        letters += to - from;
    }
    assert_eq!(letters, 1);
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_commits_everything_it_stored() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    let mut ends = [0_u64; 4];
    for i in 0..500 {
        let Position { partition, offset, .. } =
            live.engine.append("kv", record(&format!("k{i}"), Some("1"))).await.expect("appended");
        ends[partition as usize] = offset + 1;
    }
    live.engine.append_and_wait("kv", record("k0", Some("2"))).await.expect("stored");
    assert!(live.stop(Duration::from_secs(5)).await);
    let live = bench.start().await;
    running(&live).await;
    let received = live.engine.streams()[0].received_total;
    assert!(received < 500, "a clean restart repeats nothing that was stored, it received {received} again");
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    let refused = live.engine.append("nothing", record("a", Some("1"))).await;
    assert!(matches!(refused, Err(WriteError::NoStream(_))));
    live.stop(Duration::from_secs(5)).await;
}
