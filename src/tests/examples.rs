//! Every configuration of `config/examples/`: loaded as a user would, and run with records of its kind.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::{
        load::{self, Inputs},
        streams,
    },
    engine::{
        api::{Engine, State},
        run::{self, Running},
    },
    ports::{Log, Ports, RowScan, Store},
    record::NewRecord,
};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc, time::Duration};

const SOON: Duration = Duration::from_secs(60);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");

/// One example, running on a log and a store in memory.
struct Example {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    live: Running,
}

impl Example {
    async fn start(file: &str) -> Example {
        Example::start_with(&Path::new(FOLDER).join(file)).await
    }

    async fn start_with(file: &Path) -> Example {
        let inputs = Inputs { files: vec![file.to_owned()], ..Inputs::default() };
        let config = load::load(&inputs).unwrap_or_else(|faults| panic!("{faults}")).config;
        let (log, store) = (Arc::new(MemoryLog::default()), Arc::new(MemoryStore::default()));
        log.create_topics(&streams::topics(&config)).await.expect("topics");
        let ports = Ports { log: log.clone(), store: store.clone(), readers: store.clone() };
        let live = run::start(&config, ports, apps::register(&config), "test".into()).await.expect("engine");
        while !live.engine.streams().iter().all(|s| s.state == State::Running) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Example { log, store, live }
    }

    fn engine(&self) -> &dyn Engine {
        &*self.live.engine
    }

    async fn send(&self, topic: &str, key: Option<&str>, value: &Value) {
        self.send_record(topic, key, value, Vec::new()).await;
    }

    async fn send_record(&self, topic: &str, key: Option<&str>, value: &Value, headers: Vec<(&str, &str)>) {
        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), Some(v.as_bytes().to_vec()))).collect();
        let key = key.map(|key| key.as_bytes().to_vec());
        let value = Some(value.to_string().into_bytes());
        self.log
            .append(topic, NewRecord { key, value, headers, ..NewRecord::default() })
            .await
            .expect("appended");
    }

    /// Waits until what is shown of a key is as `is` wants it.
    async fn shows(&self, stream: &str, key: &str, is: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        loop {
            let read = self.engine().read(stream, key).await.expect("read");
            let value = read.and_then(|read| read.shown.value);
            let value = value.map_or(Value::Null, |json| serde_json::from_str(json.text()).expect("json"));
            if is(&value) {
                return value;
            }
            assert!(start.elapsed() < SOON, "{stream}/{key} is {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn dead_letters(&self, topic: &str) -> u64 {
        let (from, to) = self.log.bounds(&format!("{topic}.dlq"), 0).await.expect("bounds");
        to - from
    }
}

fn near(found: &Value, exact: f64) -> bool {
    found.as_f64().is_some_and(|found| (found - exact).abs() <= exact * 0.011)
}

#[test]
fn there_are_at_least_five_and_each_is_run_by_a_test() {
    let own = include_str!("examples.rs");
    let files = fs::read_dir(FOLDER).expect("folder").map(|entry| entry.expect("entry").file_name());
    let files: Vec<String> = files.map(|name| name.into_string().expect("name")).collect();
    let files: Vec<_> = files.into_iter().filter(|name| name.ends_with(".toml")).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert!(own.contains(&format!("Example::start(\"{file}\")")), "{file} is run by no test");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sensors_show_the_newest_reading_and_refuse_what_is_none() {
    let example = Example::start("sensors.toml").await;
    let reading = |sensor: &str, celsius: f64| json!({"sensor": sensor, "celsius": celsius});
    for i in 0..40_i32 {
        let sensor = format!("cellar-{}", i % 2);
        example.send("sensor-readings", None, &reading(&sensor, f64::from(i))).await;
    }
    example.send("sensor-readings", None, &json!({"sensor": "cellar-1"})).await;
    example.send("sensor-readings", None, &json!({"sensor": "cellar-1", "celsius": 900})).await;
    example.send("sensor-readings", None, &reading("last", 1.5)).await;
    example.shows("sensors", "last", |value| value["celsius"] == 1.5).await;
    for sensor in ["cellar-0", "cellar-1"] {
        example.shows("sensors", sensor, |value| value["sensor"] == sensor).await;
    }
    let start = std::time::Instant::now();
    while example.dead_letters("sensor-readings").await != 2 {
        assert!(start.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_counted_once_in_both_modes_of_cloud_events() {
    let example = Example::start("orders.toml").await;
    for _ in 0..3 {
        for id in ["1", "2"] {
            let data = json!({"order": "o-1", "euros": 12.5});
            let event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "data": data});
            example.send("order-events", Some("o-1"), &event).await;
        }
        let headers = vec![
            ("ce_specversion", "1.0"),
            ("ce_id", "3"),
            ("ce_source", "/shop"),
            ("ce_type", "order.paid"),
        ];
        example.send_record("order-events", Some("o-1"), &json!({"order": "o-1"}), headers).await;
    }
    let other =
        json!({"specversion": "1.0", "id": "9", "source": "/shop", "type": "t", "data": {"order": "o-1"}});
    example.send("order-events", Some("o-1"), &other).await;
    let shown = example.shows("orders", "o-1", |value| value["last_id"] == "/shop#9").await;
    assert_eq!(shown["count"], 4);
    let rows = example.store.scan_rows("orders", "events", RowScan::all(100)).await.expect("rows");
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["/shop#1", "/shop#2", "/shop#3", "/shop#9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_views_have_their_quantiles_over_the_last_hour() {
    let example = Example::start("page-views.toml").await;
    let now_ms = crate::clock::now_ms();
    for i in 1..=200_i64 {
        let at = crate::clock::iso(now_ms - i * 1_000);
        let visitor = format!("v-{}", i % 20);
        let view = json!({"visitor": visitor, "page": "/pricing", "country": "DE", "ms": i, "at": at});
        example.send("page-views", Some(&visitor), &view).await;
    }
    let long_ago = crate::clock::iso(now_ms - 2 * 3_600_000);
    example
        .send(
            "page-views",
            Some("v-0"),
            &json!({"visitor": "x", "page": "/pricing", "country": "DE", "ms": 9, "at": long_ago}),
        )
        .await;
    let shown =
        example.shows("page-views", "/pricing", |value| value["views"] == 200 && value["late"] == 1).await;
    assert_eq!((&shown["visitors"], &shown["ms_mean"]), (&json!(20), &json!(100.5)));
    assert!(near(&shown["ms_p50"], 100.0) && near(&shown["ms_p99"], 198.0), "{shown}");
    let by_country = example
        .shows("page-views-by-country", "DE/~1pricing", |value| {
            let past = value["windows"].as_array().into_iter().flatten();
            past.filter_map(|window| window["views"].as_u64()).sum::<u64>()
                + value["views"].as_u64().unwrap_or(0)
                == 200
        })
        .await;
    assert_eq!(by_country["group"], json!({"country": "DE", "page": "/pricing"}));
}

/// An item of the declared feed as the built-in feed shows an action.
fn as_built_in(item: &Value) -> Value {
    let value = &item["value"];
    let either =
        |snake: &str, camel: &str| value.get(snake).or(value.get(camel)).cloned().unwrap_or_default();
    json!({
        "id": value.get("id").unwrap_or(&item["position"]),
        "correlationId": either("correlation_id", "correlationId"),
        "agentName": either("agent_name", "agentName"),
        "actionType": either("action_type", "actionType"),
        "actionName": either("action_name", "actionName"),
        "durationMs": either("duration_ms", "durationMs").as_f64(),
        "createdAt": item["time"],
        "model": value["model"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_declared_feed_of_actions_is_the_built_in_one() {
    let example = Example::start("agent-actions.toml").await;
    let now_ms = crate::clock::now_ms();
    for i in 0..250_i64 {
        // In pairs out of order and by threes of one time, over all partitions.
        let i = i ^ 1;
        let at = crate::clock::iso(now_ms - 600_000 + i / 3 * 1_000);
        let agent = format!("agent-{}", i % 7);
        let mut action = json!({"agent_name": agent, "action_type": "tool_call", "action_name": format!("action-{i}"),
            "duration_ms": i, "correlation_id": format!("c-{i}"), "timestamp": at, "model": "m"});
        match i % 10 {
            0 => action["id"] = format!("id-{i}").into(),
            1 => {
                action = json!({"agentName": agent, "actionType": "error", "durationMs": 0.5, "timestamp": at, "model": null})
            }
            // A day in the future: both count it at its record's time.
            2 => action["timestamp"] = crate::clock::iso(now_ms + 86_400_000).into(),
            3 => drop(action.as_object_mut().expect("object").remove("timestamp")),
            _ => {}
        }
        example.send("agent-actions", Some(&agent), &action).await;
    }
    let last = json!({"agent_name": "last", "action_type": "success", "model": "m"});
    example.send("agent-actions", Some("last"), &last).await;
    let start = std::time::Instant::now();
    loop {
        let feed = example.shows("agent-feed", "all", Value::is_array).await;
        let declared: Vec<Value> = feed.as_array().expect("items").iter().map(as_built_in).collect();
        let read = example.engine().read_room("agents", "actions").await.expect("read");
        let built_in = read.and_then(|read| read.shown.value);
        let built_in: Vec<Value> =
            built_in.map_or_else(Vec::new, |json| serde_json::from_str(json.text()).expect("a list"));
        let is_whole = built_in.first().is_some_and(|action| action["agentName"] == "last");
        if is_whole && built_in.len() == 100 && declared == built_in {
            return;
        }
        let first = built_in.iter().zip(&declared).find(|(one, other)| one != other);
        assert!(start.elapsed() < SOON, "{} and {} actions, {first:?}", built_in.len(), declared.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_agents_by_hand_come_to_the_agents_own_streams() {
    let example = Example::start("agents-by-hand.toml").await;
    let put = async |stream: &str, value: Value| {
        let status = example.engine().streams().into_iter().find(|status| &*status.stream == stream);
        assert!(status.is_some_and(|status| status.writable), "{stream} is written by PUT");
        let record = NewRecord {
            key: Some(b"coder".to_vec()),
            value: Some(value.to_string().into_bytes()),
            ..NewRecord::default()
        };
        example.engine().append(stream, record).await.expect("appended");
    };
    put("decisions-by-hand", json!({"selected_agent": "coder", "routing_time_ms": 12})).await;
    put("actions-by-hand", json!({"agent_name": "coder", "action_type": "tool_call"})).await;
    put("transformations-by-hand", json!({"source_agent": "coder", "target_agent": "critic"})).await;
    put("performance-by-hand", json!({"routing_duration_ms": 12})).await;
    for (room, at, wanted) in [
        ("summary", "/0/agent", json!("coder")),
        ("actions", "/0/actionType", json!("tool_call")),
        ("transformations", "/0/targetAgent", json!("critic")),
        ("performance", "/requests", json!(1)),
    ] {
        let start = std::time::Instant::now();
        loop {
            let read = example.engine().read_room("agents", room).await.expect("read");
            let value = read.and_then(|read| read.shown.value);
            let value = value.map_or(Value::Null, |json| serde_json::from_str(json.text()).expect("json"));
            if value.pointer(at) == Some(&wanted) {
                break;
            }
            assert!(start.elapsed() < SOON, "{room} is {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stocks_have_their_newest_price_and_figures_over_all() {
    let example = Example::start("stocks.toml").await;
    for (day, price) in [(1, 10.0), (3, 30.0), (2, 20.0), (4, 12.5)] {
        // As `make replay` sends them.
        let price = json!({"symbol": "ACME", "price": price, "date": format!("2000-10-0{day}T00:00:00Z")});
        example.send("stock-prices", Some("ACME"), &price).await;
    }
    example.shows("stocks", "ACME", |value| value["price"] == 12.5).await;
    let shown = example.shows("stock-figures", "ACME", |value| value["prices"] == 4).await;
    let expected =
        json!({"low": 10, "high": 30, "mean": 18.125, "last": 12.5, "prices": 4, "median": shown["median"]});
    assert_eq!(shown, expected);
    assert!(near(&shown["median"], 12.5), "{shown}");
    let prices = |ticker: &Value| -> Vec<f64> {
        ticker.as_array().into_iter().flatten().filter_map(|item| item["value"]["price"].as_f64()).collect()
    };
    example.shows("stock-ticker", "all", |ticker| prices(ticker) == [12.5, 20.0, 30.0, 10.0]).await;
    let writable = |name: &str| example.engine().streams().iter().any(|s| &*s.stream == name && s.writable);
    assert!(writable("stocks"), "`make replay` writes it by PUT");
}

/// "Add your own stream" of the architecture's page, followed to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_that_the_documentation_adds_is_there() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md")).expect("page");
    let section = page.split("## Add your own stream").nth(1).expect("section");
    let text =
        section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("halls.toml");
    let record = section.split("like\n`").nth(1).and_then(|rest| rest.split('`').next()).expect("a record");
    let folder = tempfile::TempDir::new().expect("folder");
    let file = folder.path().join("halls.toml");
    fs::write(&file, text).expect("written");
    let example = Example::start_with(&file).await;
    let record = serde_json::from_str(record).expect("the record is JSON");
    example.send("turns", None, &record).await;
    example.send("turns", None, &record).await;
    example.shows("halls", "north", |value| *value == json!({"turns": 2, "visitors": 1})).await;
}
