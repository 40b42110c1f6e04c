//! The whole engine over the in-memory twin: what goes in comes out, whatever ends in between.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::{Poison, Reason},
    apps,
    config::{Config, streams},
    engine::{
        api::{Held, Outcome, Replay, State, WriteError},
        run::{self, Running},
    },
    ports::{EntityId, Log, Ports, Store},
    record::{NewRecord, Position},
    tests::only,
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
            config: Config { streams: only(&["kv"]), ..Config::default() },
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
    let (from, to) = bench.log.bounds("kv.dlq", 0).await.expect("bounds");
    assert_eq!(to - from, 1);
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_told_and_replayed_once_the_store_takes_it() {
    let bench = Bench::new().await;
    bench.store.refuse(|document| {
        let is_odd = document.value.as_ref().is_some_and(|value| value.text() == "\"odd\"");
        is_odd.then(|| Poison::new(Reason::StoreRefused, "a rule of the test's"))
    });
    let live = bench.start().await;
    running(&live).await;
    let (good, bad) = tokio::join!(
        live.engine.append_and_wait("kv", record("b", Some("1"))),
        live.engine.append_and_wait("kv", record("a", Some("\"odd\""))),
    );
    assert!(matches!(good.expect("told").1, Outcome::Stored(_)));
    let (position, outcome) = bad.expect("told");
    let Outcome::Poisoned { reason, detail } = outcome else { panic!("{outcome:?}") };
    assert_eq!((reason, &*detail), (Reason::StoreRefused, "a rule of the test's"));
    assert!(live.engine.reached("kv", position, Duration::from_secs(5)).await.expect("reached"));
    assert!(live.engine.read("kv", "a").await.expect("read").is_none());
    bench.store.refuse(|_| None);
    let desk = live.engine.dead_letters().expect("desk");
    while desk.show("kv", position).await.expect("shown").is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let replayed = desk.replay("kv", position, false).await.expect("replayed");
    let Replay::Appended(again) = replayed else { panic!("{replayed:?}") };
    assert!(live.engine.reached("kv", again, Duration::from_secs(5)).await.expect("reached"));
    let read = live.engine.read("kv", "a").await.expect("read").expect("there");
    assert_eq!((read.shown.version, read.shown.value.expect("value").text()), (1, "\"odd\""));
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

#[tokio::test(flavor = "multi_thread")]
async fn rule_23_a_dead_letter_is_shown_replayed_with_its_origin_and_not_over_something_newer() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    running(&live).await;
    let mut bad = record("a", Some("{\"n\":tru}"));
    bad.headers.push(("content-type".into(), Some(b"application/json".to_vec())));
    let (position, _) = live.engine.append_and_wait("kv", bad).await.expect("told");
    let desk = live.engine.dead_letters().expect("desk");
    let shown = loop {
        match desk.show("kv", position).await.expect("shown") {
            Some(shown) => break shown,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!((&shown["reason"], &shown["failed_at"]), (&"malformed_json".into(), &8.into()));
    assert_eq!(shown["value_base64"], "eyJuIjp0cnV9");
    assert_eq!(desk.summary().await.expect("summary")["total"], 1);

    let Replay::Appended(again) = desk.replay("kv", position, false).await.expect("replayed") else {
        panic!("not appended")
    };
    assert!(live.engine.reached("kv", again, Duration::from_secs(5)).await.expect("reached"));
    live.engine.append_and_wait("kv", record("a", Some("1"))).await.expect("stored");
    assert_eq!(desk.replay("kv", position, false).await.expect("answered"), Replay::Superseded);
    assert!(matches!(desk.replay("kv", position, true).await.expect("forced"), Replay::Appended(_)));
    assert!(desk.discard("kv", position).await.expect("discarded"));
    let mark = desk.show("kv", position).await.expect("shown").expect("there")["mark"].clone();
    assert_eq!(mark, "discarded");
    live.stop(Duration::from_secs(5)).await;
}

async fn held(running: &Running) -> Held {
    for _ in 0..500 {
        if let Some(held) = running.engine.streams()[0].held.clone() {
            return held;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no partition is held: {:?}", running.engine.streams());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_poison_is_held_until_somebody_releases_it() {
    let mut bench = Bench::new().await;
    bench.config.engine.poison_run_max = 5;
    let live = bench.start().await;
    running(&live).await;
    let partition = live.engine.append("kv", record("a", Some("{"))).await.expect("appended").partition;
    for _ in 0..5 {
        live.engine.append("kv", record("a", Some("{"))).await.expect("appended");
    }
    let held = held(&live).await;
    assert!(!live.engine.health().ready, "{held:?}");
    let good = live.engine.append("kv", record("a", Some("1"))).await.expect("appended");
    assert!(!live.engine.reached("kv", good, Duration::from_millis(300)).await.expect("waited"));
    let desk = live.engine.dead_letters().expect("desk");
    assert!(desk.release("kv", partition) && !desk.release("kv", partition + 100));
    assert!(live.engine.reached("kv", good, Duration::from_secs(5)).await.expect("reached"));
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_a_new_epoch_read_from_its_beginning() {
    let bench = Bench::new().await;
    let live = bench.start().await;
    running(&live).await;
    for value in ["1", "2", "3"] {
        live.engine.append_and_wait("kv", record("a", Some(value))).await.expect("stored");
    }
    bench.log.delete_topic("kv");
    bench.log.create_topics(&streams::topics(&bench.config)).await.expect("topics");
    let started = std::time::Instant::now();
    let read = loop {
        // Appended before the change is noticed or after it: either way it is the newest record of its key.
        let _ = live.engine.append("kv", record("a", Some("\"new\""))).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let read = live.engine.read("kv", "a").await.expect("read").expect("there");
        if read.shown.positions.0[0].epoch == 1 {
            break read;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", live.engine.pipeline());
    };
    assert_eq!(read.shown.value.expect("value").text(), "\"new\"");
    assert!(read.shown.version > 3);
    live.stop(Duration::from_secs(5)).await;
}

/// Panics on the value `"boom"`.
struct Boom;

impl crate::app::App for Boom {
    type Event = String;
    type Entity = String;

    fn decode(&self, record: &crate::record::Record<'_>) -> Result<String, crate::app::Poison> {
        Ok(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
    }

    fn step(&self, _: Option<String>, event: String, _: &crate::app::At<'_>) -> crate::app::Step<String> {
        assert_ne!(event, "\"boom\"", "a panic that this test wants");
        crate::app::Step::keep(event)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_the_generation_and_failing_again_and_again_ends_the_process() {
    let mut bench = Bench::new().await;
    (bench.config.engine.failures_max, bench.config.engine.restart_wait_ms) = (2, 10);
    let mut specs = apps::register(&bench.config);
    let app = Arc::new(Boom);
    specs[0].fold = Box::new(move |settings| Box::new(crate::engine::fold::Fold::new(app.clone(), settings)));
    let mut live = run::start(&bench.config, bench.ports(), specs, "test".into()).await.expect("engine");
    running(&live).await;
    live.engine.append_and_wait("kv", record("a", Some("\"fine\""))).await.expect("stored");
    live.engine.append("kv", record("b", Some("\"boom\""))).await.expect("appended");
    let fatal = tokio::time::timeout(Duration::from_secs(30), live.fatal.recv()).await.expect("in time");
    assert!(fatal.expect("a reason").0.contains("failed 3 times in a row"));
    let pipeline = live.engine.pipeline();
    let past = pipeline["streams"][0]["past"].as_array().expect("past");
    assert_eq!(past.len(), 3, "{past:?}");
    assert!(past[0]["why"].as_str().expect("why").contains("is gone"), "{past:?}");
    live.stop(Duration::from_secs(1)).await;
}
