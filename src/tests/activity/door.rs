//! `POST /events/generate`: what is answered, and what is in the log then.

use super::bench::{Bench, Next, PARTITIONS, TOPIC};
use crate::ports::Log;
use serde_json::{Value, json};

fn click() -> Value {
    json!({"userId": "ann", "eventType": "click", "payload": {"x": 1}, "app": "web"})
}

fn id(body: &Value) -> String {
    body["eventId"].as_str().unwrap_or_else(|| panic!("no eventId in {body}")).to_owned()
}

async fn records(bench: &Bench) -> u64 {
    let mut records = 0;
    for partition in 0..PARTITIONS {
        records += bench.log.bounds(TOPIC, partition).await.expect("bounds").1;
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_gets_its_id_and_time_and_is_found_under_it() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let answer = going.post("/events/generate?wait=stored", None, &click()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = id(&answer.body);
    assert_eq!(answer.body, json!({"eventId": id}));
    let path = answer.headers["location"].to_str().expect("text").to_owned();
    let stored = going.get(&path).await;
    assert_eq!(stored.status, 200);
    let stored = stored.body;
    assert_eq!((&stored["eventId"], &stored["userId"]), (&json!(id), &json!("ann")));
    assert_eq!((&stored["payload"], &stored["app"]), (&json!({"x": 1}), &json!("web")), "all of it is kept");
    assert_eq!(stored["position"].as_str(), answer.headers["statecast-position"].to_str().ok());
    assert!(stored["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{stored}");
    let other = going.post("/events/generate", None, &click()).await;
    assert_ne!(self::id(&other.body), id, "without a key it is another event");
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_is_wrong_is_named_and_nothing_is_appended() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let wrong = json!({"userId": "", "eventType": 7, "eventId": "x", "timestamp": "y"});
    let answer = going.post("/events/generate", None, &wrong).await;
    assert_eq!((answer.status, &answer.body["type"]), (422, &json!("/problems/invalid-body")));
    let errors = answer.body["errors"].as_array().expect("errors");
    let fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().expect("field")).collect();
    assert_eq!(fields, ["eventId", "timestamp", "userId", "eventType", "payload"]);
    assert!(errors.iter().all(|error| error["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty())));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(going.post("/events/generate", None, &json!([1])).await.status, 422);
    assert_eq!(going.post("/events/generate", Some(""), &click()).await.status, 400);
    assert_eq!(going.post("/events/generate?wait=long", None, &click()).await.status, 400);
    assert_eq!(records(&bench).await, 0);
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_is_the_same_event_counted_once() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = going.post("/events/generate?wait=stored", Some("order 7"), &click()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        ids.push(id(&answer.body));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(records(&bench).await, 3, "the log has them all");
    assert_eq!(bench.stored().await, ids);
    assert_eq!(going.counts("ann").await.expect("counts")["click"], 1);
    let mut of_bob = click();
    of_bob["userId"] = json!("bob");
    let other = going.post("/events/generate", Some("order 7"), &of_bob).await;
    assert_ne!(id(&other.body), ids[0], "another user's key is another key");
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_take_is_appended_again_and_counts_once() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    bench.log.next(&[Next::Away, Next::Silent, Next::Away, Next::Silent]);
    let answer = going.post("/events/generate?wait=stored", None, &click()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(records(&bench).await, 3, "two that the log said nothing of, and the one it confirmed");
    going.takes_in(&bench).await;
    assert_eq!(bench.stored().await, [id(&answer.body)]);
    assert_eq!(going.counts("ann").await.expect("counts")["click"], 1);
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stays_away_is_a_503_that_says_what_is_known() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let attempts = bench.config.produce.attempts_max;
    bench.log.next(&vec![Next::Away; attempts]);
    let answer = going.post("/events/generate", None, &click()).await;
    assert_eq!((answer.status, &answer.body["type"]), (503, &json!("/problems/log-unavailable")));
    assert!(answer.headers.contains_key("retry-after") && !answer.body.to_string().contains("10.0.0.9"));
    let nothing = id(&answer.body);
    assert_eq!(records(&bench).await, 0, "no half-accepted event");
    assert_eq!(going.get(&format!("/events/processed/{nothing}")).await.status, 404);

    // One of them may be in the log: unknown, whatever the last attempt said.
    let mut next = vec![Next::Away; attempts];
    next[1] = Next::Silent;
    bench.log.next(&next);
    let answer = going.post("/events/generate", None, &click()).await;
    assert_eq!((answer.status, &answer.body["type"]), (503, &json!("/problems/outcome-unknown")));
    let id = id(&answer.body);
    let again = going.post("/events/generate?wait=stored", Some(&id), &click()).await;
    assert_eq!(
        (again.status, &again.body["eventId"]),
        (201, &json!(id)),
        "its id names it when it is sent again"
    );
    going.takes_in(&bench).await;
    assert_eq!(bench.stored().await, [id]);
    assert_eq!(going.counts("ann").await.expect("counts")["click"], 1);
    going.stop().await;
}
