//! Declared streams through the whole engine over the in-memory twin: partials over partitions, rows for ever, time to live.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::Reason,
    apps,
    config::{Config, Format, Projection, Stream, streams},
    engine::{
        api::{Engine, Kind, ListQuery, Outcome, State},
        broadcaster::{Broadcaster, Parts, hub::Settings},
        news::NewsKind,
        run::{self, Running},
    },
    http::doors::logs::{LogEvent, LogPage},
    http::{self, Context},
    ports::{Log, Ports, RowScan, Store},
    record::NewRecord,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

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

/// The public listener's routes over a running engine.
fn door(bench: &Bench, live: &Running) -> Router {
    let config = Arc::new(bench.config.clone());
    let context = Context { engine: live.engine.clone(), config, stop: CancellationToken::new() };
    http::public(&context, apps::doors(&bench.config).with_state(context.clone()))
}

async fn get(door: &Router, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).expect("request");
    let answer = door.clone().oneshot(request).await.expect("answer");
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_log_are_listed_page_by_page_and_read_by_their_id() {
    let bench = Bench::new(|s| {
        s.projection = Projection::Log;
        s.format = Format::CloudEvents;
    })
    .await;
    let live = bench.start().await;
    let event = |i: u32| json!({"specversion": "1.0", "id": i.to_string(), "source": "/shop", "type": "t", "data": i});
    for i in 0..9_u32 {
        for _ in 0..2 {
            let record = NewRecord {
                key: Some(format!("u{}", i % 3).into_bytes()),
                value: Some(event(i).to_string().into_bytes()),
                time_ms: Some(i64::from(i) * 1_000),
                ..NewRecord::default()
            };
            live.engine.append("s", record).await.expect("appended");
        }
    }
    for user in 0..3 {
        becomes(&*live.engine, &format!("u{user}"), |found| found.is_some_and(|f| f["count"] == 3)).await;
    }
    let door = door(&bench, &live);
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let (status, body) = get(&door, &format!("/api/logs/s?limit=4{after}")).await;
        assert_eq!(status, 200, "{body}");
        let page: LogPage = serde_json::from_value(body).expect("as it is described");
        ids.extend(page.items.into_iter().map(|event| event.id));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, (0..9).rev().map(|i| format!("/shop#{i}")).collect::<Vec<_>>());
    let (_, of_one) = get(&door, "/api/logs/s?key=u1&order=asc&from=1970-01-01T00:00:02Z").await;
    let of_one: LogPage = serde_json::from_value(of_one).expect("as it is described");
    assert_eq!(of_one.items.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["/shop#4", "/shop#7"]);

    let (status, body) = get(&door, "/api/logs/s/%2Fshop%237").await;
    let one: LogEvent = serde_json::from_value(body).expect("as it is described");
    assert_eq!((status, one.key.as_str(), one.value), (200, "u1", event(7)));
    assert_eq!(one.time, "1970-01-01T00:00:07.000Z");
    assert!(one.position.starts_with("0."), "{}", one.position);
    for (path, status) in [
        ("/api/logs/s/none", 404),
        ("/api/logs/kv", 404),
        ("/api/logs/nothing", 404),
        ("/api/logs/s?user=u1", 400),
        ("/api/logs/s?from=monday", 400),
        ("/api/logs/s/%2Fshop%237?key=u1", 400),
    ] {
        assert_eq!(get(&door, path).await.0, status, "{path}");
    }
    let (_, document) = get(&door, "/openapi.json").await;
    assert!(document["paths"]["/api/logs/{stream}"]["get"].is_object());
    live.stop(Duration::from_secs(10)).await;
}

/// What `/live` says, up to and with what is waited for.
async fn said(body: &mut axum::body::BodyDataStream, what: &str) -> String {
    let mut all = String::new();
    while !all.contains(what) {
        let next = tokio::time::timeout(SOON, body.next()).await.unwrap_or_else(|_| panic!("{what}: {all}"));
        let bytes = next.expect("the line goes on").expect("bytes");
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_room_shows_its_key_and_moves_with_it() {
    for projection in [Projection::Latest, Projection::Recent] {
        let bench = Bench::new(|s| {
            s.projection = projection;
            s.rooms = [("board".to_owned(), "all".to_owned())].into();
            if projection == Projection::Recent {
                s.key = "*".into();
            }
        })
        .await;
        let live = bench.start().await;
        let parts = Parts {
            engine: live.engine.clone(),
            news: live.news.clone(),
            settings: Settings::from(&bench.config),
            runtime: tokio::runtime::Handle::current(),
        };
        let rooms = Broadcaster::start_on(live.arbiters.last().expect("a thread"), parts);
        let door = http::stream::routes(rooms, &bench.config);
        append(&*live.engine, Some("all"), &json!({"n": 1}), None).await;
        becomes(&*live.engine, "all", |found| found.is_some()).await;
        let request = Request::get("/live?room=s:board").body(Body::empty()).expect("request");
        let answer = door.oneshot(request).await.expect("answer");
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body().into_data_stream();
        let snapshot = said(&mut body, "{\"n\":1}").await;
        assert!(snapshot.contains("event: snapshot") && snapshot.contains("\"key\":\"board\""), "{snapshot}");
        append(&*live.engine, Some("another"), &json!({"n": 2}), None).await;
        append(&*live.engine, Some("all"), &json!({"n": 3}), None).await;
        let change = said(&mut body, "{\"n\":3}").await;
        assert!(change.contains("event: change") && change.contains("\"room\":\"s:board\""), "{change}");
        let of_all = projection == Projection::Recent;
        assert_eq!(change.contains("{\"n\":2}"), of_all, "only the events of its key: {change}");
        live.stop(Duration::from_secs(10)).await;
    }
}
