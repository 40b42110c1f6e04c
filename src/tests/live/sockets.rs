//! The stock Socket.IO client against the real transport, by websocket, by polling, and by the upgrade from one to the
//! other.

use super::served::{Served, Stock};
use crate::config::Config;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BOTH: [&str; 2] = ["websocket", "polling"];

fn large(kib: usize) -> String {
    format!("\"{}\"", "x".repeat(kib << 10))
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_changes_since_and_leaving() {
    for how in BOTH {
        let served = Served::start(|_| {}).await;
        served.engine.write("kv", "a", Some(r#"{"n": 1}"#));
        let mut client = Stock::connect(&served, how).await;
        let ack = client.call("subscribe", json!({"rooms": ["kv/a", "kv"]})).await;
        assert_eq!(ack["ok"], true, "{how}: {ack}");
        let entity = &ack["rooms"][0]["entity"];
        assert_eq!(
            (&entity["value"], &entity["version"], &entity["position"]),
            (&json!({"n": 1}), &json!(1), &json!("0.1.0"))
        );
        assert_eq!((&ack["rooms"][0]["resumed"], &ack["rooms"][1]["next"]), (&json!(false), &Value::Null));
        assert!(ack["at"].is_string());
        served.write("a", Some("2"));
        let args = client.event("changes").await;
        assert_eq!(args[0].as_array().map(Vec::len), Some(2), "{how}: one packet, {args}");
        assert_eq!(
            (&args[0][0]["value"], &args[0][0]["skipped"], &args[1]["kv"]),
            (&json!(2), &json!(0), &json!("0.1.1"))
        );
        client.act("cut").await;
        client.wait("disconnected").await;
        served.write("a", Some("3"));
        served.write("a", None);
        client.wait("connected").await;
        let ack = client.call("subscribe", json!({"rooms": ["kv/a"], "since": {"kv/a": "0.1.1"}})).await;
        assert_eq!(
            (&ack["rooms"][0]["resumed"], &ack["rooms"][0]["entity"]),
            (&json!(true), &Value::Null),
            "{how}"
        );
        let told = client.until_version("a", 4).await;
        assert_eq!(
            (&told[0]["deleted"], &told[0]["value"], &told[0]["skipped"]),
            (&json!(true), &Value::Null, &json!(1))
        );
        let left = client.call("unsubscribe", json!({"rooms": ["kv/a"]})).await;
        assert_eq!(left, json!({"ok": true}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_through_the_upgrade_to_a_websocket() {
    let served = Served::start(|_| {}).await;
    let mut client = Stock::connect(&served, "upgrade").await;
    client.call("subscribe", json!({"rooms": ["kv/a"]})).await;
    for version in 1..=200 {
        served.write("a", Some("1"));
        if version % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let told = client.until_version("a", 200).await;
    let versions: Vec<u64> = told.iter().map(|item| item["version"].as_u64().expect("version")).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let skipped: u64 = told.iter().map(|item| 1 + item["skipped"].as_u64().expect("skipped")).sum();
    assert_eq!(skipped, 200);
    assert_eq!(client.wait("upgraded").await["upgraded"], "websocket");
    served.write("a", Some("2"));
    client.until_version("a", 201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_larger_than_a_page_comes_page_by_page() {
    for how in BOTH {
        let served = Served::start(|config| config.live.page_bytes_max = 4_000).await;
        for n in 0..100 {
            served.engine.write("kv", &format!("k{n:03}"), Some("1"));
        }
        let mut client = Stock::connect(&served, how).await;
        let ack = client.call("subscribe", json!({"rooms": ["kv"]})).await;
        let mut keys: Vec<Value> = ack["rooms"][0]["items"].as_array().expect("items").clone();
        let mut next = ack["rooms"][0]["next"].clone();
        while !next.is_null() {
            let page = client.call("page", json!({"room": "kv", "after": next})).await;
            assert_eq!(page["ok"], true, "{page}");
            keys.extend(page["items"].as_array().expect("items").iter().cloned());
            next = page["next"].clone();
        }
        let keys: Vec<&str> = keys.iter().map(|item| item["key"].as_str().expect("key")).collect();
        assert_eq!(keys.len(), 100, "{how}");
        assert!(keys.is_sorted());
    }
}

/// B8: a handler throws in the client.
#[tokio::test(flavor = "multi_thread")]
async fn b8_packets_after_a_handler_threw_still_arrive() {
    for how in BOTH {
        let served = Served::start(|_| {}).await;
        let mut client = Stock::connect(&served, how).await;
        client.call("subscribe", json!({"rooms": ["kv/a"]})).await;
        client.act("throw").await;
        served.write("a", Some("1"));
        client.until_version("a", 1).await;
        for version in 2..=20 {
            served.write("a", Some("1"));
            client.until_version("a", version).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_answered_with_a_problem() {
    for how in BOTH {
        let served = Served::start(|_| {}).await;
        let mut client = Stock::connect(&served, how).await;
        let ack = client.call("subscribe", json!({"rooms": ["kv/a", "nope/x"]})).await;
        let problem = &ack["problem"];
        assert_eq!((&ack["ok"], &problem["status"]), (&json!(false), &json!(404)), "{ack}");
        assert!(problem["errors"][0]["detail"].as_str().is_some_and(|d| d.contains("nope/x")), "{ack}");
        let ack = client.call("subscribe", json!({"rooms": ["kv/a"], "since": {"kv/a": "bad"}})).await;
        assert_eq!(
            (&ack["problem"]["status"], &ack["problem"]["errors"][0]["field"]),
            (&json!(400), &json!("since.kv/a"))
        );
        for bad in
            [json!(5), json!({"rooms": "kv"}), json!({"rooms": [5]}), json!({"room": ["kv"]}), Value::Null]
        {
            let ack = client.call("subscribe", bad.clone()).await;
            assert_eq!((&ack["ok"], &ack["problem"]["status"]), (&json!(false), &json!(400)), "{bad}: {ack}");
        }
        let ack = client.call("page", json!({"room": "kv"})).await;
        assert_eq!(ack["problem"]["status"], 409, "{ack}");
        client.emit("subscribe", json!({"rooms": ["nope"]})).await;
        client.emit("never-heard-of", json!({})).await;
        assert_eq!(
            client.call("subscribe", json!({"rooms": ["kv/a"]})).await["ok"],
            true,
            "it is still there"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_bound_ends_the_connection_and_nothing_else() {
    for how in BOTH {
        let served = Served::start(|_| {}).await;
        let mut other = Stock::connect(&served, "websocket").await;
        other.call("subscribe", json!({"rooms": ["kv/a"]})).await;
        let mut client = Stock::connect(&served, how).await;
        client.emit("subscribe", json!({"rooms": ["x".repeat(80 << 10)]})).await;
        client.wait("disconnected").await;
        client.wait("connected").await;
        served.write("a", Some("1"));
        other.until_version("a", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_foreign_origins_are_refused_on_both_transports() {
    let served =
        Served::start(|config| config.security.allowed_origins = vec!["http://friend.example".into()]).await;
    for how in BOTH {
        let mut foreign = Stock::start(&served, how, Some("http://evil.example"));
        foreign.wait("refused").await;
        let mut friend = Stock::start(&served, how, Some("http://friend.example"));
        friend.wait("connected").await;
        let mut own = Stock::start(&served, how, Some(&served.url));
        own.wait("connected").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_clients_as_there_may_be() {
    let served = Served::start(|config| config.live.clients_max = 1).await;
    let mut first = Stock::connect(&served, "websocket").await;
    let mut second = Stock::start(&served, "websocket", None);
    let refused = second.wait("refused").await;
    assert!(refused["refused"].as_str().is_some_and(|why| why.contains("live-busy")), "{refused}");
    drop(second);
    assert_eq!(first.call("subscribe", json!({"rooms": ["kv/a"]})).await["ok"], true);
    drop(first);
    served.until_clients(0).await;
    Stock::connect(&served, "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_gets_the_newest_when_it_reads_again() {
    let served = Served::start(|config| {
        config.live.unsent_bytes_max = 64 << 10;
        config.live.send_buffer_bytes = 8 << 10;
    })
    .await;
    let (mut slow, mut quick) =
        (Stock::connect(&served, "websocket").await, Stock::connect(&served, "websocket").await);
    slow.call("subscribe", json!({"rooms": ["kv/a"]})).await;
    quick.call("subscribe", json!({"rooms": ["kv/b"]})).await;
    slow.act("pause").await;
    // More than every buffer between the two holds.
    let value = large(100);
    for version in 1..=300_u64 {
        served.write("a", Some(&value));
        if version.is_multiple_of(30) {
            let began = Instant::now();
            served.write("b", Some("1"));
            quick.until_version("b", version / 30).await;
            assert!(began.elapsed() < Duration::from_secs(1), "the other one is not slowed");
        }
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
    slow.act("resume").await;
    let told = slow.until_version("a", 300).await;
    let versions: Vec<u64> = told.iter().map(|item| item["version"].as_u64().expect("version")).collect();
    assert!(versions.is_sorted_by(|a, b| a < b) && versions.len() < 200, "{versions:?}");
    let all: u64 = told.iter().map(|item| 1 + item["skipped"].as_u64().expect("skipped")).sum();
    assert_eq!(all, 300, "{versions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_gone_and_its_page_comes_back_when_it_does() {
    let served = Served::start(|config| {
        config.live.stalled_after_ms = 3_000;
        config.live.send_buffer_bytes = 8 << 10;
    })
    .await;
    let (mut stuck, mut quick) =
        (Stock::connect(&served, "websocket").await, Stock::connect(&served, "websocket").await);
    stuck.call("subscribe", json!({"rooms": ["kv/a"]})).await;
    quick.call("subscribe", json!({"rooms": ["kv/b"]})).await;
    stuck.act("pause").await;
    let (value, began) = (large(200), Instant::now());
    let mut writes = 0;
    while served.live.stats().clients.load(std::sync::atomic::Ordering::Relaxed) > 1 {
        assert!(began.elapsed() < Duration::from_secs(10), "it is still there");
        served.write("a", Some(&value));
        writes += 1;
        served.write("b", Some("1"));
        quick.until_version("b", writes).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let removed = served.live.stats().removed.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(removed, 1, "counted, whether the kernel or we found it first");
    stuck.act("resume").await;
    stuck.wait("disconnected").await;
    stuck.wait("connected").await;
    let ack = stuck.call("subscribe", json!({"rooms": ["kv/a"]})).await;
    assert_eq!(ack["rooms"][0]["entity"]["version"], writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_everyone_and_closes_so_that_stock_clients_come_back() {
    for how in BOTH {
        let served = Served::start(|_| {}).await;
        let mut client = Stock::connect(&served, how).await;
        client.call("subscribe", json!({"rooms": ["kv/a"]})).await;
        served.live.goodbye("restart").await;
        let word = client.event("goodbye").await;
        assert_eq!(word[0]["reason"], "restart", "{how}");
        assert!(word[0]["retry_ms"].is_u64());
        let why = client.wait("disconnected").await;
        assert_ne!(why["disconnected"], "io server disconnect", "{how}: a stock client would stay away");
        let refused = client.wait("refused").await;
        assert!(refused["refused"].as_str().is_some_and(|why| why.contains("stopping")), "{how}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_to_many_clients_of_one_room() {
    let served = Served::start(|_| {}).await;
    let mut clients = Vec::new();
    for index in 0..6 {
        let mut client = Stock::connect(&served, BOTH[index % 2]).await;
        client.call("subscribe", json!({"rooms": ["kv/a", "kv"]})).await;
        clients.push(client);
    }
    for _ in 0..1_000 {
        served.write("a", Some("1"));
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    for client in &mut clients {
        let told = client.until_version("a", 1_000).await;
        for room in ["kv/a", "kv"] {
            let of_room: Vec<&Value> = told.iter().filter(|item| item["room"] == room).collect();
            let all: u64 = of_room.iter().map(|item| 1 + item["skipped"].as_u64().expect("skipped")).sum();
            assert_eq!(all, 1_000, "{room}");
        }
    }
}

/// A session by polling, as far as asked.
async fn polling(served: &Served, joins: bool) -> String {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", served.url);
    let open = reqwest::get(&url).await.expect("an answer").text().await.expect("text");
    let open: Value = serde_json::from_str(open.trim_start_matches('0')).expect("JSON");
    let url = format!("{url}&sid={}", open["sid"].as_str().expect("a session"));
    if joins {
        let joined = reqwest::Client::new().post(&url).body("40").send().await.expect("an answer");
        assert_eq!(joined.status(), 200);
        // A ping may come before the answer.
        while !reqwest::get(&url).await.expect("an answer").text().await.expect("text").contains("40{") {}
    }
    url
}

/// Sends what stands before the body and some of it.
async fn half_sent(served: &Served, url: &str) -> TcpStream {
    let host = served.url.trim_start_matches("http://");
    let path = url.trim_start_matches(&served.url);
    let mut socket = TcpStream::connect(host).await.expect("connected");
    let half = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n42[\"subsc");
    socket.write_all(half.as_bytes()).await.expect("sent");
    socket
}

async fn told(mut socket: TcpStream) -> String {
    let mut told = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_string(&mut told));
    read.await.expect("in time").expect("read");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_poll_and_for_no_body_of_one() {
    let patient = |config: &mut Config| {
        (config.server.stop_deadline_ms, config.server.body_timeout_ms) = (60_000, 60_000);
    };
    let mut served = Served::start(patient).await;
    let (mut polls, mut halves) = (Vec::new(), Vec::new());
    for joins in [true, false] {
        let url = polling(&served, joins).await;
        halves.push(half_sent(&served, &url).await);
        polls.push(tokio::spawn(async move { reqwest::get(url).await.map(|answer| answer.status()) }));
    }
    assert_eq!(served.end().await, 0, "nothing had to be cut");
    for half in halves {
        let told = told(half).await;
        assert!(told.starts_with("HTTP/1.1 400"), "{told}");
    }
    for poll in polls {
        poll.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_poll_that_does_not_come_ends_its_connection() {
    let served = Served::start(|config| config.server.body_timeout_ms = 300).await;
    let url = polling(&served, true).await;
    let told = told(half_sent(&served, &url).await).await;
    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    served.until_clients(1).await;
}
