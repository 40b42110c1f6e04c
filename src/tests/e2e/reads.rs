//! Reading over HTTP what was written over Kafka and HTTP, on real Kafka and MongoDB.

use super::{binary::Statecast, ground::Ground, load::send};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PATH: &str = "/api/streams/kv/user-1";
/// Three pages of them.
const KEYS: u64 = 25;

async fn ask(
    statecast: &Statecast,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: &str,
) -> Response {
    let request = reqwest::Client::new().request(method, format!("{}{path}", statecast.base));
    let request = request.header(header.0, header.1).header("content-type", "application/json");
    request.body(body.to_owned()).send().await.expect("an answer")
}

async fn put(statecast: &Statecast, path: &str, header: (&str, &str), value: &Value) -> Response {
    ask(statecast, Method::PUT, path, header, &value.to_string()).await
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn body(answer: Response) -> Value {
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_at_once_by_its_position_and_waited_for() {
    let Some(ground) = Ground::new("reads").await else { return };
    let statecast = ground.start().await;
    // Whoever has the position of a write reads that write or a later one, right behind it.
    for n in 1..=20 {
        let accepted = put(&statecast, PATH, ("accept", "*/*"), &json!(n)).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        let position = body(accepted).await["position"].as_str().expect("position").to_owned();
        let read = statecast.get(&format!("{PATH}?min_position={position}")).await;
        assert_eq!(
            (header(&read, "etag"), header(&read, "statecast-position")),
            (format!("\"{n}\""), position)
        );
        assert_eq!(body(read).await["value"], n);
    }
    let held = ask(&statecast, Method::GET, PATH, ("if-none-match", "\"20\""), "").await;
    assert_eq!(held.status(), StatusCode::NOT_MODIFIED);

    // A long poll ends with what a plain client of Kafka writes, and with its removal.
    let producer = ground.producer();
    let (mut since, mut version) = (header(&held, "statecast-position"), 20);
    for value in [Some("\"from Kafka\""), None, Some("{}")] {
        let path = format!("{PATH}?wait=60s&since={since}");
        let (polled, (partition, offset)) =
            tokio::join!(statecast.get(&path), send(&producer, &ground.name, "user-1", value));
        let wanted = if value.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(polled.status(), wanted);
        since = format!("0.{partition}.{offset}");
        assert_eq!(header(&polled, "statecast-position"), since);
        version += 1;
    }
    assert_eq!(header(&statecast.get(PATH).await, "etag"), format!("\"{version}\""));
    let nothing = statecast.get(&format!("{PATH}?wait=100ms&since={since}")).await;
    assert_eq!(nothing.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_with_one_version_one_wins_and_a_list_is_whole_page_by_page() {
    let Some(ground) = Ground::new("list").await else { return };
    let statecast = ground.start().await;
    for n in 0..KEYS {
        let path = format!("/api/streams/kv/item-{n:02}?wait=stored");
        let stored = put(&statecast, &path, ("if-none-match", "*"), &json!({"n": n, "odd": n % 2})).await;
        assert_eq!(stored.status(), StatusCode::OK);
        let again = put(&statecast, &path, ("if-none-match", "*"), &json!({"n": 99})).await;
        assert_eq!(again.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(body(again).await["entity"]["value"]["n"], n);
    }
    let path = "/api/streams/kv/item-00";
    let [one, two] = [json!({"n": 0, "odd": 7}), json!({"n": 0, "odd": 8})];
    let (one, two) = tokio::join!(
        put(&statecast, path, ("if-match", "\"1\""), &one),
        put(&statecast, path, ("if-match", "\"1\""), &two)
    );
    let states: BTreeSet<u16> = [&one, &two].map(|answer| answer.status().as_u16()).into();
    assert_eq!(states, BTreeSet::from([200, 412]));

    let (mut keys, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/api/streams/kv?prefix=item-&from=item-01&limit=10&after={after}");
        let page = body(statecast.get(&path).await).await;
        let items = page["items"].as_array().expect("items").clone();
        keys.extend(items.iter().map(|item| item["key"].as_str().expect("key").to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    let wanted: Vec<String> = (1..KEYS).map(|n| format!("item-{n:02}")).collect();
    assert_eq!((keys, pages), (wanted, 3));
    let sorted = statecast.get("/api/streams/kv?prefix=item-&filter=/odd:eq:1&sort=-/n&limit=3").await;
    let sorted = body(sorted).await;
    let numbers: Vec<_> =
        sorted["items"].as_array().expect("items").iter().map(|i| i["value"]["n"].clone()).collect();
    assert_eq!(json!(numbers), json!([23, 21, 19]));
}
