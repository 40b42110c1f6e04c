//! All of `config/examples/` in one process, on Kafka and MongoDB: each topic gets records, and what they come to is read,
//! listed, told to rooms, checked by `verify`, and in the dead letters where it is none.
//!
//! Not here: what each projection does with which record (`tests::examples`, in memory).

use super::{
    binary::{self, Statecast},
    client::Viewer,
    eventually,
    ground::Ground,
    load::{send, send_raw},
    same,
    sse::Sse,
};
use crate::clock;
use bson::doc;
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::FutureProducer,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const VIEWS: i64 = 50;
const READINGS: i64 = 20;
const PRICES: [f64; 4] = [10.0, 30.0, 20.0, 12.5];

/// Which stream reads which topic: the examples', and the agents' own, which share theirs.
const STREAMS: [(&str, &str); 16] = [
    ("agents-routing", "agent-routing-decisions"),
    ("agents-actions", "agent-actions"),
    ("agents-transformations", "agent-transformation-events"),
    ("agents-performance", "router-performance-metrics"),
    ("decisions-by-hand", "agent-routing-decisions"),
    ("actions-by-hand", "agent-actions"),
    ("transformations-by-hand", "agent-transformation-events"),
    ("performance-by-hand", "router-performance-metrics"),
    ("agent-feed", "agent-actions"),
    ("orders", "order-events"),
    ("page-views", "page-views"),
    ("page-views-by-country", "page-views"),
    ("sensors", "sensor-readings"),
    ("stocks", "stock-prices"),
    ("stock-figures", "stock-prices"),
    ("stock-ticker", "stock-prices"),
];

/// `--config FILE` for every one of them.
fn files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let flags = files.iter().map(|path| ["--config".to_owned(), path.display().to_string()]);
    flags.flatten().collect()
}

/// On topics of this test's own: who shares a topic, shares it here.
fn settings(ground: &Ground) -> Vec<String> {
    let own = STREAMS.iter().flat_map(|(stream, of)| {
        [format!("streams.{stream}.topic={}", topic(ground, of)), format!("streams.{stream}.enabled=true")]
    });
    // Its path is from where one starts, and the tests start elsewhere.
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/order.schema.json");
    let schema = format!("streams.orders.schema={}", schema.display());
    ground.settings().into_iter().chain(own).chain([schema]).collect()
}

fn topic(ground: &Ground, of: &str) -> String {
    format!("{}-{of}", ground.name)
}

async fn produce(ground: &Ground, producer: &FutureProducer) {
    let of = |name: &str| topic(ground, name);
    let to = async |name: &str, key: &str, value: Value| {
        send(producer, &of(name), key, Some(&value.to_string())).await;
    };
    let now_ms = clock::now_ms();
    for i in 0..READINGS {
        // Under the gateway's key, as the example has it.
        to("sensor-readings", &format!("gateway-{}", i % 3), json!({"sensor": "cellar-1", "celsius": i}))
            .await;
    }
    to("sensor-readings", "gateway-0", json!({"sensor": "cellar-1"})).await;
    for id in ["1", "2", "1", "2", "1"] {
        let data = json!({"order": "o-1", "euros": 12.5});
        let event =
            json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "data": data});
        to("order-events", "o-1", event).await;
    }
    to("order-events", "o-1", json!({"order": "no event"})).await;
    let binary =
        [("ce_specversion", "1.0"), ("ce_id", "3"), ("ce_source", "/shop"), ("ce_type", "order.paid")];
    let headers = binary.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    send_raw(producer, &of("order-events"), 0, Some(b"o-2"), Some(b"{\"order\":\"o-2\"}"), headers).await;
    for i in 1..=VIEWS {
        let visitor = format!("v-{}", i % 10);
        let at = clock::iso(now_ms - i * 1_000);
        let page = if i % 5 == 0 { "/docs" } else { "/pricing" };
        to(
            "page-views",
            &visitor,
            json!({"visitor": visitor, "page": page, "country": "DE", "ms": i, "at": at}),
        )
        .await;
    }
    to("page-views", "v-1", json!({"page": "/docs", "ms": "slow"})).await;
    for (day, price) in PRICES.iter().enumerate() {
        let date = format!("2000-10-0{}T00:00:00Z", day + 1);
        to("stock-prices", "ACME", json!({"symbol": "ACME", "price": price, "date": date})).await;
    }
}

/// By PUT, as agents-by-hand.toml tells.
async fn by_hand(statecast: &Statecast) {
    for (stream, value) in [
        ("decisions-by-hand", json!({"selected_agent": "coder", "routing_time_ms": 12})),
        ("actions-by-hand", json!({"agent_name": "coder", "action_type": "tool_call"})),
        ("transformations-by-hand", json!({"source_agent": "coder", "target_agent": "critic"})),
        ("performance-by-hand", json!({"routing_duration_ms": 12})),
    ] {
        let url = format!("{}/api/streams/{stream}/coder", statecast.base);
        let answer = reqwest::Client::new().put(url).json(&value).send().await.expect("an answer");
        assert_eq!(answer.status(), 202, "{stream}");
    }
}

async fn get(statecast: &Statecast, path: &str) -> Value {
    statecast.get(path).await.json().await.unwrap_or_default()
}

/// What is read of each stream, in few words.
async fn read(statecast: &Statecast) -> Value {
    let value = async |path: &str| get(statecast, &format!("/api/streams/{path}")).await["value"].clone();
    let (pricing, figures) = (value("page-views/%2Fpricing").await, value("stock-figures/ACME").await);
    let country = value("page-views-by-country/DE%2F~1docs").await;
    let past = country["windows"].as_array().cloned().unwrap_or_default();
    let docs: u64 = past.iter().chain([&country]).filter_map(|window| window["views"].as_u64()).sum();
    let feed = value("agent-feed/all").await;
    let agents = get(statecast, "/api/intelligence/agents/summary").await;
    json!({
        "sensor": value("sensors/cellar-1").await["celsius"],
        "orders": [value("orders/o-1").await["count"], value("orders/o-2").await["last_id"]],
        "pricing": [pricing["views"], pricing["visitors"]],
        "docs": docs,
        "stock": value("stocks/ACME").await["price"],
        "figures": [figures["prices"], figures["low"], figures["high"], figures["last"]],
        "feed": feed[0]["value"]["agent_name"],
        "agents": agents[0]["agent"],
    })
}

fn wanted() -> Value {
    json!({
        "sensor": READINGS - 1,
        "orders": [2, "/shop#3"],
        "pricing": [VIEWS * 4 / 5, 8],
        "docs": VIEWS / 5,
        "stock": 12.5,
        "figures": [4, 10, 30, 12.5],
        "feed": "coder",
        "agents": "coder",
    })
}

async fn is_listed(statecast: &Statecast) {
    let pages = get(statecast, "/api/streams/page-views?sort=-/views").await;
    let keys: Vec<_> =
        pages["items"].as_array().into_iter().flatten().filter_map(|item| item["key"].as_str()).collect();
    assert_eq!(keys, ["/pricing", "/docs"], "{pages}");
    let log = get(statecast, "/api/logs/orders?order=asc").await;
    let mut ids: Vec<_> =
        log["items"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["/shop#1", "/shop#2", "/shop#3"], "{log}");
}

/// Each dead letter with its bytes, and by its stream's name in the listing.
async fn are_dead_letters(ground: &Ground, statecast: &Statecast) {
    for (stream, of, bytes, letters) in [
        ("sensors", "sensor-readings", r#"{"sensor":"cellar-1"}"#, 1),
        ("orders", "order-events", r#"{"order":"no event"}"#, 1),
        // Two streams read it. Without a country it is none for the other one either, in its own way.
        ("page-views", "page-views", r#"{"ms":"slow","page":"/docs"}"#, 2),
    ] {
        let name = format!("{}.dlq", topic(ground, of));
        let found = eventually(&format!("what is none is in {name}"), async || {
            let found = ground.read_topic(&name).await;
            if found.len() >= letters { Ok(found) } else { Err(found) }
        })
        .await;
        assert_eq!(found.len(), letters, "{found:?}");
        for letter in &found {
            let value: Value = serde_json::from_slice(letter.value.as_deref().expect("value")).expect("JSON");
            assert_eq!(value, serde_json::from_str::<Value>(bytes).expect("JSON"));
        }
        let url = format!("{}/admin/dlq/{stream}", statecast.admin);
        eventually(&format!("a dead letter of {stream} is listed"), async || {
            let listed = reqwest::get(&url).await.expect("an answer").text().await.expect("text");
            if listed.contains("\"reason\"") { Ok(()) } else { Err(listed) }
        })
        .await;
    }
}

/// Every stream of the examples is what its log says; and what is not would be told.
async fn verify(ground: &Ground, files: &[String]) {
    let settings = settings(ground);
    let run = async |name: &str| {
        let verb: Vec<&str> = ["verify", name].into_iter().chain(files.iter().map(String::as_str)).collect();
        binary::run(&verb, &settings).await
    };
    for name in STREAMS.iter().map(|(stream, _)| *stream) {
        let ended = run(name).await;
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
    }
    for (stream, key, change) in [
        ("stock-figures", "ACME", doc! {"$inc": {"version": 1_i64}}),
        ("sensors", "cellar-1", doc! {"$set": {"value.value.celsius": 99}}),
    ] {
        let changed = ground.collection(stream).update_many(doc! {"_id.key": key}, change).await;
        assert!(changed.expect("changed").modified_count > 0);
    }
    for (name, told) in
        [("stock-figures", "stock-figures \"ACME\""), ("sensors", "/celsius: store has 99, log says ")]
    {
        let ended = run(name).await;
        assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
        assert!(ended.stdout.contains(told), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_runs_on_kafka_and_mongodb() {
    let Some(ground) = Ground::new("examples").await else { return };
    let files = files();
    assert!(files.len() >= 2 * 5, "{files:?}");
    let flags: Vec<&str> = files.iter().map(String::as_str).collect();
    let statecast = Statecast::start_with(&flags, &settings(&ground)).await;
    let mut viewer = Viewer::connect(&statecast.base, "websocket").await;
    viewer.subscribe(&["sensors/cellar-1", "page-views//pricing", "agents:summary"], &[]).await;
    let live = Sse::open(&statecast.base, &["stock-ticker:all", "agent-feed:actions"], None).await;

    produce(&ground, &ground.producer()).await;
    by_hand(&statecast).await;
    eventually("each stream shows its records", async || same(read(&statecast).await, &wanted())).await;
    is_listed(&statecast).await;
    eventually("Socket.IO tells them", async || {
        let value = |room: &str| viewer.last(room)["value"].clone();
        let told = json!([
            value("sensors/cellar-1")["celsius"],
            value("page-views//pricing")["views"],
            value("agents/summary")[0]["agent"]
        ]);
        same(told, &json!([READINGS - 1, VIEWS * 4 / 5, "coder"]))
    })
    .await;
    viewer.check();
    live.sees("the ticker has every price", |event| {
        PRICES.iter().all(|price| event.data.to_string().contains(&format!("\"price\":{price:?}")))
    })
    .await;
    live.sees("the feed has the action", |event| event.data.to_string().contains("tool_call")).await;
    are_dead_letters(&ground, &statecast).await;
    assert!(statecast.terminate().await.0.success());
    verify(&ground, &files).await;
}
