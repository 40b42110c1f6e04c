//! Events of users through the real door: once, for ever, whatever ends or comes again.

use super::{binary::Statecast, eventually, ground::Ground, within};
use bson::Document;
use futures_util::{StreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

const EVENTS: u64 = 3_000;
const USERS: u64 = 20;
/// What must stand in no line of a log.
const SECRET: &str = "s3cret-payload";

/// The stream alone, on a topic and a group of this test's own.
pub fn settings(ground: &Ground, group: &str) -> Vec<String> {
    let own = ["streams.kv.enabled=false".to_owned(), "streams.activity.enabled=true".to_owned()];
    let named =
        [format!("streams.activity.topic={}", topic(ground)), format!("streams.activity.group={group}")];
    ground.settings().into_iter().chain(own).chain(named).collect()
}

pub fn topic(ground: &Ground) -> String {
    format!("{}-events", ground.name)
}

fn user(n: u64) -> String {
    format!("u{}", n % USERS)
}

fn event(n: u64) -> String {
    let kind = if n.is_multiple_of(3) { "click" } else { "view" };
    let id = Uuid::from_u128(u128::from(n)).to_string();
    json!({"eventId": id, "userId": user(n), "eventType": kind, "payload": {"n": n, "what": SECRET}})
        .to_string()
}

/// Each event one to four times, some of them by partitions that their key does not belong to, and what is no event
/// among them; `sent` says how far it is.
async fn produce(producer: FutureProducer, topic: String, sent: Arc<AtomicU64>) {
    let mut random = StdRng::seed_from_u64(7);
    let mut records = Vec::new();
    for n in 0..EVENTS {
        for again in 0..random.random_range(1..=4) {
            // A duplicate comes a little later than the event, and later ones later still.
            let at = n * 10 + again * random.random_range(0..4_000);
            let partition = (again == 2).then(|| random.random_range(0..4));
            records.push((at, user(n), event(n), partition));
        }
        if n.is_multiple_of(100) {
            records.push((n * 10, user(n), format!("{{\"eventId\": {SECRET}"), None));
            records.push((n * 10, user(n), json!({"eventId": SECRET, "userId": user(n)}).to_string(), None));
        }
    }
    records.sort_by_key(|(at, ..)| *at);
    let appends = stream::iter(records).map(|(_, key, value, partition)| {
        let (producer, topic, sent) = (producer.clone(), topic.clone(), sent.clone());
        async move {
            let mut record = FutureRecord::to(&topic).key(&key).payload(&value);
            record.partition = partition;
            let acknowledged = producer.send(record, Timeout::Never).await;
            acknowledged.map_err(|(error, _)| error).expect("acknowledged");
            sent.fetch_add(1, Ordering::Relaxed);
            // Slow enough that what is killed is killed amid it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    appends.buffered(40).collect::<Vec<()>>().await;
}

/// Totals of each user, over all partitions: (click, view).
async fn totals(ground: &Ground) -> BTreeMap<String, (i64, i64)> {
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for document in ground.documents_of("activity").await {
        let user = document.get_document("_id").expect("a partial").get_str("key").expect("key").to_owned();
        let Ok(value) = document.get_document("value") else { panic!("{document}") };
        let by_type = value.get_document("byType").expect("types");
        let count = |kind: &str| by_type.get_i64(kind).unwrap_or(0);
        let sum = totals.entry(user).or_default();
        *sum = (sum.0 + count("click"), sum.1 + count("view"));
    }
    totals
}

fn wanted() -> BTreeMap<String, (i64, i64)> {
    let mut wanted: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for n in 0..EVENTS {
        let sum = wanted.entry(user(n)).or_default();
        if n.is_multiple_of(3) { sum.0 += 1 } else { sum.1 += 1 }
    }
    wanted
}

/// Nobody is ever counted beyond what there is, and in the end everybody is whole.
async fn settles(ground: &Ground) {
    let wanted = wanted();
    within(Duration::from_secs(180), "every event is counted once", async || {
        let found = totals(ground).await;
        for (user, (click, view)) in &found {
            let most = wanted[user];
            assert!(
                *click <= most.0 && *view <= most.1,
                "{user} counts too much: {click}, {view} of {most:?}"
            );
        }
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
    let rows = ground.documents_of("activity.events").await;
    let mut ids: Vec<_> = rows.iter().map(|row| row.get_str("_id").expect("id").to_owned()).collect();
    ids.sort();
    let all: Vec<_> = (0..EVENTS).map(|n| Uuid::from_u128(u128::from(n)).to_string()).collect();
    assert_eq!(ids.len(), all.len());
    assert!(ids == all, "each event is one row");
}

async fn is_read(statecast: &Statecast) {
    eventually("nothing is waiting any more", async || {
        let streams = statecast.get("/api/streams").await.json::<Value>().await.expect("JSON");
        let lag: u64 =
            streams["streams"][0]["lag"].as_array().expect("lag").iter().filter_map(Value::as_u64).sum();
        let state = streams["streams"][0]["state"].clone();
        if lag == 0 && state == "running" { Ok(()) } else { Err((streams, statecast.said())) }
    })
    .await;
}

fn firsts(rows: &[Document]) -> BTreeMap<String, Document> {
    let first = |row: &Document| row.get_document("first").expect("first").clone();
    rows.iter().map(|row| (row.get_str("_id").expect("id").to_owned(), first(row))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_counts_once_across_kill_rebalance_and_a_topic_read_again() {
    let Some(ground) = Ground::new("activity").await else { return };
    let group = format!("{}-first", ground.name);
    let first = settings(&ground, &group);
    let one = Statecast::start(&first).await;
    one.has_partitions(4).await;
    let sent = Arc::new(AtomicU64::new(0));
    let producing = tokio::spawn(produce(ground.producer(), topic(&ground), sent.clone()));
    let comes_to = async |count: u64| {
        eventually("events are sent", async || {
            let now = sent.load(Ordering::Relaxed);
            if now >= count { Ok(()) } else { Err(now) }
        })
        .await;
    };

    // Killed amid it, and another instance takes over.
    comes_to(1_200).await;
    one.kill().await;
    let two = Statecast::start(&first).await;
    comes_to(2_500).await;
    // A third joins: partitions move while events come.
    let three = Statecast::start(&first).await;
    three.has_partitions(2).await;
    comes_to(4_500).await;
    two.kill().await;
    three.has_partitions(4).await;
    producing.await.expect("all were acknowledged");
    settles(&ground).await;
    is_read(&three).await;
    assert!(!three.has_said(SECRET), "payloads are in no log");
    let before = (totals(&ground).await, firsts(&ground.documents_of("activity.events").await));
    let letters = ground.read_topic(&format!("{}.dlq", topic(&ground))).await;
    assert!(letters.len() >= 60, "each at least once: {}", letters.len());
    three.terminate().await;

    // Another group has committed nothing: the topic is read from its beginning.
    let again = Statecast::start(&settings(&ground, &format!("{}-again", ground.name))).await;
    again.has_partitions(4).await;
    is_read(&again).await;
    // And the whole of it comes a second time.
    produce(ground.producer(), topic(&ground), Arc::default()).await;
    is_read(&again).await;
    settles(&ground).await;
    let after = (totals(&ground).await, firsts(&ground.documents_of("activity.events").await));
    assert!(after == before, "nothing has moved");
    is_shown(&again).await;
}

/// The same by the door.
async fn is_shown(statecast: &Statecast) {
    let (mut seen, mut after) = (0, String::new());
    loop {
        let path = format!("/events/processed?userId=u3&eventType=view&limit=30{after}");
        let page = statecast.get(&path).await.json::<Value>().await.expect("JSON");
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(items.iter().all(|event| event["userId"] == "u3" && event["eventType"] == "view"));
        seen += items.len() as i64;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, wanted()["u3"].1);
    let user = statecast.get("/events/users/u3").await.json::<Value>().await.expect("JSON");
    assert_eq!(user["value"]["byType"], json!({"click": wanted()["u3"].0, "view": wanted()["u3"].1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_in_by_http_and_is_listed() {
    let Some(ground) = Ground::new("generate").await else { return };
    let statecast = Statecast::start(&settings(&ground, &format!("{}-g", ground.name))).await;
    let http = reqwest::Client::new();
    let body = json!({"userId": "ann", "eventType": "login", "payload": {"ip": "::1"}});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let url = format!("{}/events/generate?wait=stored", statecast.base);
        let answer = http.post(url).header("idempotency-key", "k").json(&body).send().await.expect("answer");
        assert_eq!(answer.status(), 201);
        ids.push(answer.json::<Value>().await.expect("JSON")["eventId"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let listed = statecast.get("/events/processed?userId=ann").await.json::<Value>().await.expect("JSON");
    let items = listed["items"].as_array().expect("items");
    assert_eq!((items.len(), &items[0]["eventId"], &items[0]["payload"]), (1, &ids[0], &body["payload"]));
    let user = statecast.get("/events/users/ann").await.json::<Value>().await.expect("JSON");
    assert_eq!(user["value"]["total"], 1);
    // As any other producer finds it.
    let records = ground.read_topic(&topic(&ground)).await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.key.as_deref() == Some(b"ann")));
    let value: Value = serde_json::from_slice(records[0].value.as_deref().expect("value")).expect("JSON");
    assert_eq!((&value["eventId"], &value["userId"]), (&ids[0], &json!("ann")));
}
