//! Streams split by partition, over the in-memory twin: what is shown of a key, and of a room, is always the merge.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::{App, At, Poison, Reason, Step},
    config::Config,
    document::{Json, Positions},
    engine::{
        api::{Kind, RoomsUnder, State},
        fold::Fold,
        news::NewsKind,
        rooms::{Rooms, name::Target},
        run::{self, Running},
        shows::Typed,
        stream::StreamSpec,
    },
    ports::{Log, Ports, Store, TopicSpec},
    record::{Key, NewRecord, Record},
};
use std::{sync::Arc, time::Duration};

/// Counts records per value, whatever partition they come by.
struct Tally;

impl App for Tally {
    type Event = String;
    type Entity = u64;

    fn decode(&self, record: &Record<'_>) -> Result<String, Poison> {
        serde_json::from_slice(record.value.unwrap_or_default())
            .map_err(|_| Poison::new(Reason::SchemaInvalid, "a string is wanted"))
    }

    fn group_key(&self, event: &String) -> Option<Key> {
        Some(event.as_str().into())
    }

    fn step(&self, was: Option<u64>, _event: String, _at: &At<'_>) -> Step<u64> {
        Step::keep(was.unwrap_or(0) + 1)
    }

    fn merge(&self, partials: Vec<u64>, _now_ms: i64) -> Option<u64> {
        Some(partials.into_iter().sum())
    }

    fn room(&self, _name: &str, entities: Vec<(Key, u64)>, _now_ms: i64) -> Option<Json> {
        Json::of(&entities).ok()
    }
}

const PARTITIONS: u32 = 4;

fn spec() -> StreamSpec {
    let app = Arc::new(Tally);
    let topic = TopicSpec { name: "tally".into(), partitions: PARTITIONS, retention: None, replication: -1 };
    StreamSpec {
        name: "tally".into(),
        collection: "tally".into(),
        ttl_ms: None,
        kind: Kind::App,
        app: Some("tally".into()),
        topic,
        group: "tally".into(),
        by_partition: true,
        rows: Vec::new(),
        has_row_ids: false,
        rooms: vec!["board".into()],
        rooms_show_all: true,
        rooms_under: Some("counts".into()),
        write_hint: None,
        shows: Box::new(Typed::new(app.clone(), true)),
        check: Box::new(|record| Tally.decode(record).map(drop)),
        fold: Box::new(move |settings| Box::new(Fold::new(app.clone(), settings))),
    }
}

struct Bench {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
}

impl Bench {
    async fn new() -> Self {
        let bench = Bench { log: Arc::default(), store: Arc::default() };
        let dead = TopicSpec { name: "tally.dlq".into(), partitions: 1, ..spec().topic };
        bench.log.create_topics(&[spec().topic, dead]).await.expect("topics");
        bench
    }

    async fn start(&self, instance: &str) -> Running {
        let ports = Ports { log: self.log.clone(), store: self.store.clone(), readers: self.store.clone() };
        run::start(&Config::default(), ports, vec![spec()], instance.into()).await.expect("engine")
    }

    async fn count(&self, what: &str, partition: u32) {
        let record = NewRecord {
            key: Some(b"any".to_vec()),
            value: Some(format!("{what:?}").into_bytes()),
            partition: Some(partition),
            ..NewRecord::default()
        };
        self.log.append("tally", record).await.expect("appended");
    }
}

/// Waits for what is asked, since everything here happens some time after it was asked for.
async fn until<T: std::fmt::Debug + PartialEq>(what: &str, wanted: T, mut ask: impl AsyncFnMut() -> T) {
    let mut got = ask().await;
    for _ in 0..1_000 {
        if got == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        got = ask().await;
    }
    panic!("{what}: {got:?} is not {wanted:?}");
}

async fn key(live: &Running, key: &str) -> Option<String> {
    let read = live.engine.read("tally", key).await.expect("read")?;
    Some(read.shown.value?.text().to_owned())
}

async fn room(live: &Running) -> Option<(String, String)> {
    let read = live.engine.read_room("counts", "board").await.ok()??;
    Some((read.shown.value?.text().to_owned(), read.shown.positions.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_room_show_the_merge_over_all_partitions() {
    let bench = Bench::new().await;
    let live = bench.start("one").await;
    for partition in [0, 1, 1, 3] {
        bench.count("a", partition).await;
    }
    bench.count("b", 2).await;
    until("the key", Some("4".to_owned()), async || key(&live, "a").await).await;
    let both = (r#"[["a",4],["b",1]]"#.to_owned(), "0.0.0,0.1.1,0.2.0,0.3.0".to_owned());
    until("the room", Some(both), async || room(&live).await).await;
    let under = RoomsUnder { streams: vec!["tally".into()], names: vec!["board".into()] };
    assert_eq!(live.engine.rooms_under("counts"), Some(under));
    assert_eq!(live.engine.rooms_under("tally"), None);
    let read = live.engine.read("tally", "a").await.expect("read").expect("there");
    assert_eq!((read.shown.version, read.shown.positions.to_string()), (4, "0.0.0,0.1.1,0.3.0".into()));
    let listed = live.engine.list("tally", crate::engine::api::ListQuery { limit: 10, ..Default::default() });
    let values: Vec<String> = listed
        .await
        .expect("list")
        .items
        .into_iter()
        .map(|s| s.value.expect("value").text().into())
        .collect();
    assert_eq!(values, ["4", "1"]);
    assert!(live.stop(Duration::from_secs(10)).await);
}

/// The other one counts what lies in the topic as well, from its beginning, in a group of its own.
#[tokio::test(flavor = "multi_thread")]
async fn rule_11_two_streams_of_one_topic_are_two_and_keep_apart_what_they_store() {
    let bench = Bench::new().await;
    let start = async |specs: Vec<StreamSpec>| {
        let store = bench.store.clone();
        let ports = Ports { log: bench.log.clone(), store: store.clone(), readers: store };
        run::start(&Config::default(), ports, specs, "one".into()).await.expect("engine")
    };
    let of = async |live: &Running, stream: &str| {
        let read = live.engine.read(stream, "a").await.ok()??;
        Some((read.shown.value?.text().to_owned(), read.shown.positions.to_string()))
    };
    let both = || Some(("2".to_owned(), "0.0.0,0.3.0".to_owned()));
    let live = start(vec![spec()]).await;
    bench.count("a", 0).await;
    bench.count("a", 3).await;
    until("the one", both(), async || of(&live, "tally").await).await;
    assert!(live.stop(Duration::from_secs(10)).await);
    let name = |name: &str| StreamSpec {
        name: name.into(),
        collection: name.into(),
        group: name.into(),
        rooms_under: None,
        ..spec()
    };
    let live = start(vec![spec(), name("again")]).await;
    until("the other", both(), async || of(&live, "again").await).await;
    assert_eq!(of(&live, "tally").await, both(), "it counts nothing twice");
    bench.count("a", 3).await;
    for stream in ["tally", "again"] {
        let three = Some(("3".to_owned(), "0.0.0,0.3.1".to_owned()));
        until(stream, three, async || of(&live, stream).await).await;
        assert_eq!(bench.store.count(stream).await.expect("counted"), 2, "partials of {stream}");
    }
    assert!(live.stop(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_is_never_told_and_a_room_is_told_by_itself() {
    let bench = Bench::new().await;
    let live = bench.start("one").await;
    until("running", true, async || live.engine.streams().iter().all(|s| s.state == State::Running)).await;
    until("asked", true, async || live.engine.read_room("counts", "board").await.is_ok()).await;
    let mut rooms = Rooms::new(1, 1 << 10);
    rooms.tell_interest(live.news.interest.clone());
    rooms.open("tally", &Target::Stream { stream: "tally" }, Positions::default);
    live.news.take();
    bench.count("a", 0).await;
    bench.count("a", 1).await;
    let (mut partials, mut newest) = (0, None);
    until("told", Some(r#"[["a",2]]"#.to_owned()), async || {
        for news in live.news.take().news {
            match news.kind {
                NewsKind::Partial => partials += news.covers,
                NewsKind::Room => {
                    assert_eq!((&*news.stream, &*news.shown.key), ("counts", "board"));
                    newest = news.shown.value.map(|value| value.text().to_owned());
                }
                kind => panic!("{kind:?} is told of a stream split by partition"),
            }
        }
        newest.clone()
    })
    .await;
    assert_eq!(partials, 2);
    assert!(live.stop(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_show_what_both_of_them_stored() {
    let bench = Bench::new().await;
    let (one, two) = (bench.start("one").await, bench.start("two").await);
    until("both own some", true, async || {
        let owned = |live: &Running| (0..PARTITIONS).filter(|p| live.engine.owns("tally", *p)).count();
        owned(&one) > 0 && owned(&two) > 0 && owned(&one) + owned(&two) == PARTITIONS as usize
    })
    .await;
    for partition in 0..PARTITIONS {
        bench.count("a", partition).await;
    }
    for live in [&one, &two] {
        until("the key", Some("4".to_owned()), async || key(live, "a").await).await;
        until("the room", Some(r#"[["a",4]]"#.to_owned()), async || room(live).await.map(|r| r.0)).await;
    }
    // A key that only the other has a partial of yet: what is held here must not pass for all of it.
    bench.count("b", 0).await;
    for live in [&one, &two] {
        until("one partial", Some("1".to_owned()), async || key(live, "b").await).await;
    }
    bench.count("b", PARTITIONS - 1).await;
    for live in [&one, &two] {
        until("two partials", Some("2".to_owned()), async || key(live, "b").await).await;
    }
    assert!(one.stop(Duration::from_secs(10)).await && two.stop(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_room_comes_back_from_the_store() {
    let bench = Bench::new().await;
    let live = bench.start("one").await;
    bench.count("a", 0).await;
    bench.count("b", 1).await;
    let both = r#"[["a",1],["b",1]]"#.to_owned();
    until("the room", Some(both.clone()), async || room(&live).await.map(|r| r.0)).await;
    assert!(live.stop(Duration::from_secs(10)).await);
    let live = bench.start("one").await;
    until("the room again", Some(both), async || room(&live).await.map(|r| r.0)).await;
    bench.count("a", 3).await;
    let more = r#"[["a",2],["b",1]]"#.to_owned();
    until("the room goes on", Some(more), async || room(&live).await.map(|r| r.0)).await;
    assert!(live.stop(Duration::from_secs(10)).await);
}
