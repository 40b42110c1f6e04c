//! Declared streams through the whole engine over the in-memory twin: partials over partitions, rows for ever, time to live.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::Reason,
    apps,
    config::{Config, Projection, Stream, streams},
    engine::{
        api::{Engine, Kind, ListQuery, Outcome, State},
        news::NewsKind,
        run::{self, Running},
    },
    ports::{Log, Ports, RowScan, Store},
    record::NewRecord,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const SOON: Duration = Duration::from_secs(60);

/// One declared stream `s` on a log and a store in memory.
struct Bench {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    config: Config,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut Stream)) -> Bench {
        let mut config = Config::default();
        let mut stream = Stream { partitions: 8, ..Stream::default() };
        change(&mut stream);
        config.streams.insert("s".into(), stream);
        assert_eq!(crate::config::validate::faults(&config), []);
        let (log, store) = (Arc::new(MemoryLog::default()), Arc::new(MemoryStore::default()));
        log.create_topics(&streams::topics(&config)).await.expect("topics");
        Bench { log, store, config }
    }

    async fn start(&self) -> Running {
        let ports = Ports { log: self.log.clone(), store: self.store.clone(), readers: self.store.clone() };
        let live = run::start(&self.config, ports, apps::register(&self.config), "test".into()).await;
        let live = live.expect("engine");
        let running = || live.engine.streams().iter().all(|s| s.state == State::Running);
        while !running() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        live
    }
}

async fn append(engine: &dyn Engine, key: Option<&str>, value: &Value, partition: Option<u32>) {
    let record = NewRecord {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.to_string().into_bytes()),
        partition,
        ..NewRecord::default()
    };
    engine.append("s", record).await.expect("appended");
}

async fn value(engine: &dyn Engine, key: &str) -> Option<Value> {
    let read = engine.read("s", key).await.expect("read")?;
    Some(read.shown.value.map_or(Value::Null, |json| serde_json::from_str(json.text()).expect("json")))
}

/// Waits until the state of a key is as `is` wants it.
async fn becomes(engine: &dyn Engine, key: &str, is: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
    let start = std::time::Instant::now();
    loop {
        let found = value(engine, key).await;
        if is(found.as_ref()) {
            return found;
        }
        assert!(start.elapsed() < SOON, "{key} is {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grouping_by_something_else_than_the_partition_key_is_right_over_eight_partitions() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Aggregate;
        s.key = "/page".into();
        let figures =
            [("views", "count"), ("ms", "sum /ms"), ("worst", "max /ms"), ("visitors", "distinct /user")];
        s.aggregates = figures.map(|(name, figure)| (name.into(), figure.into())).into();
    })
    .await;
    let mut live = bench.start().await;
    for i in 0..400_u32 {
        if i == 200 {
            // What was taken in before a restart is taken in once.
            assert!(live.stop(Duration::from_secs(10)).await);
            live = bench.start().await;
        }
        let view = json!({"page": format!("p{}", i % 3), "user": format!("u{}", i % 16), "ms": i});
        // By user, so that every page's views lie in every partition.
        append(&*live.engine, Some(&format!("u{}", i % 16)), &view, Some(i % 8)).await;
    }
    for page in 0..3 {
        let of_page: Vec<u32> = (0..400).filter(|i| i % 3 == page).collect();
        let (views, sum) = (of_page.len(), of_page.iter().sum::<u32>());
        let expected = json!({"views": views, "ms": sum, "worst": of_page.last(), "visitors": 16});
        let key = format!("p{page}");
        becomes(&*live.engine, &key, |found| found == Some(&expected)).await;
        let read = live.engine.read("s", &key).await.expect("read").expect("there");
        assert_eq!(read.shown.positions.0.len(), 8, "{}", read.shown.positions);
        assert_eq!(read.shown.version, views as u64);
    }
    let listed =
        live.engine.list("s", ListQuery { limit: 10, ..ListQuery::default() }).await.expect("listed");
    let keys: Vec<_> = listed.items.iter().map(|shown| shown.key.to_string()).collect();
    assert_eq!(keys, ["p0", "p1", "p2"], "partials are one entity outside");
    let info = live.engine.stream("s").expect("info");
    assert_eq!((info.kind, info.partials), (Kind::Aggregate, true));
    live.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_by_another_key_than_the_records_is_the_newest_of_all_partitions() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Latest;
        s.key = "/sensor".into();
    })
    .await;
    let live = bench.start().await;
    // The newest by the record's time is neither in the first nor in the last partition, nor appended last.
    for (partition, time_ms) in [(0, 1_000), (3, 9_000), (7, 5_000), (5, 8_000)] {
        let record = NewRecord {
            value: Some(format!("{{\"sensor\":\"a\",\"at\":{time_ms}}}").into_bytes()),
            partition: Some(partition),
            time_ms: Some(time_ms),
            ..NewRecord::default()
        };
        live.engine.append("s", record).await.expect("appended");
    }
    let all = |live: &Running| {
        let engine = live.engine.clone();
        async move { engine.read("s", "a").await.expect("read").map(|read| read.shown) }
    };
    let start = std::time::Instant::now();
    let shown = loop {
        match all(&live).await.filter(|shown| shown.version == 4) {
            Some(shown) => break shown,
            None => assert!(start.elapsed() < SOON, "{:?}", all(&live).await),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(shown.value.expect("value").text(), r#"{"sensor":"a","at":9000}"#);
    assert_eq!(shown.updated_ms, 9_000);
    let streams = live.engine.streams();
    let writable = |name: &str| streams.iter().find(|s| &*s.stream == name).map(|s| s.writable);
    assert_eq!(
        (writable("s"), writable("kv")),
        (Some(false), Some(true)),
        "what is of kind latest here and there"
    );
    live.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_in_a_log_once_across_a_restart_and_a_topic_read_again() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Log;
        s.id = "/id".into();
        s.collection = "kept-events".into();
    })
    .await;
    let send = async |live: &Running| {
        for i in 0..60 {
            append(&*live.engine, Some("u"), &json!({"id": format!("e{}", i % 20), "i": i}), None).await;
        }
    };
    let counted = |n: u64| move |found: Option<&Value>| found.is_some_and(|found| found["count"] == n);
    let live = bench.start().await;
    send(&live).await;
    becomes(&*live.engine, "u", counted(20)).await;
    assert!(live.stop(Duration::from_secs(10)).await);
    let live = bench.start().await;
    send(&live).await;
    append(&*live.engine, Some("u"), &json!({"id": "last"}), None).await;
    becomes(&*live.engine, "u", counted(21)).await;
    // A topic made anew has other positions: whoever fills it with the same events adds nothing.
    bench.log.delete_topic("s");
    bench.log.create_topics(&streams::topics(&bench.config)).await.expect("topics");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = std::time::Instant::now();
    loop {
        send(&live).await;
        append(&*live.engine, Some("v"), &json!({"id": format!("new-{:?}", start.elapsed())}), None).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let read = live.engine.read("s", "v").await.expect("read");
        if read.is_some_and(|read| read.shown.positions.0.iter().any(|position| position.epoch == 1)) {
            break;
        }
        assert!(start.elapsed() < SOON, "{:?}", live.engine.pipeline());
    }
    becomes(&*live.engine, "u", counted(21)).await;
    let rows = bench.store.scan_rows("kept-events", "events", RowScan::all(1_000)).await.expect("rows");
    assert_eq!(rows.iter().filter(|row| !row.id.starts_with("new-")).count(), 21);
    live.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_schema_is_known_before_it_is_appended() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Latest;
        s.schema = r#"{"type":"object","required":["n"]}"#.into();
    })
    .await;
    let live = bench.start().await;
    let record = |value: &str| NewRecord {
        key: Some(b"a".to_vec()),
        value: Some(value.into()),
        ..NewRecord::default()
    };
    assert_eq!(live.engine.check("s", &record("{\"n\":1}")), Ok(()));
    let poison = live.engine.check("s", &record("{}")).unwrap_err();
    assert_eq!(poison.reason, Reason::SchemaInvalid);
    assert_eq!(live.engine.check("kv", &record("{}")), Ok(()));
    live.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_time_is_over_is_forgotten_and_its_room_told() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Latest;
        s.ttl_s = 1;
    })
    .await;
    let live = bench.start().await;
    let stored = async |value: &str| {
        let record =
            NewRecord { key: Some(b"a".to_vec()), value: Some(value.into()), ..NewRecord::default() };
        match live.engine.append_and_wait("s", record).await {
            Ok((_, Outcome::Stored(shown))) => shown.version,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((stored("1").await, stored("2").await), (1, 2));
    becomes(&*live.engine, "a", |found| found.is_none()).await;
    let told = live.news.take().news;
    let forgotten = told.iter().any(|news| news.kind == NewsKind::Forgotten && &*news.shown.key == "a");
    assert!(forgotten, "{told:?}");
    assert_eq!(stored("3").await, 1, "forgotten altogether, so it begins anew");
    live.stop(Duration::from_secs(10)).await;
}
