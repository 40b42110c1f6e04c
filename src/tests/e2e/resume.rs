//! Coming back with `since`: what was missed follows where it is still known, and else the truth is told anew.

use super::{client::Viewer, ground::Ground, load::send, sse::Sse};
use serde_json::{Value, json};

const ROOM: &str = "kv/a";

fn position(entity: &Value) -> String {
    entity["position"].as_str().expect("position").to_owned()
}

/// What an ack says of a room, without the rest of the entity.
fn said(rooms: &[Value]) -> Value {
    let room = |room: &Value| json!({"room": room["room"], "resumed": room["resumed"], "version": room["entity"]["version"]});
    rooms.iter().map(room).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_follows_after_a_cut() {
    let Some(ground) = Ground::new("resume").await else { return };
    let statecast = ground.start().await;
    let producer = ground.producer();
    send(&producer, &ground.name, "a", Some("1")).await;
    ground.reaches("a", 1).await;
    let mut first = Viewer::connect(&statecast.base, "websocket").await;
    first.subscribe(&[ROOM], &[]).await;
    let held = first.sees(ROOM, 1).await;
    let stays = Viewer::connect(&statecast.base, "websocket").await;
    let sse = Sse::open(&statecast.base, &[ROOM], None).await;
    sse.sees("the snapshot", |event| event.data["entity"]["version"] == json!(1)).await;
    let cursor = sse.cursor();
    drop(sse);
    first.cut().await;

    for value in ["2", "3"] {
        send(&producer, &ground.name, "a", Some(value)).await;
    }
    ground.reaches("a", 3).await;
    let mut again = Viewer::connect(&statecast.base, "websocket").await;
    let ack = again.subscribe(&[ROOM], &[(ROOM, &position(&held))]).await;
    assert_eq!(said(&ack), json!([{"room": ROOM, "resumed": true, "version": null}]));
    let missed = again.sees(ROOM, 3).await;
    assert_eq!((&missed["value"], &missed["version"]), (&json!(3), &json!(3)));

    let sse = Sse::open(&statecast.base, &[ROOM], Some(&cursor)).await;
    sse.sees("the missed change by SSE", |event| {
        event.name == "change" && event.data.to_string().contains("\"version\":3")
    })
    .await;
    assert!(
        sse.events().iter().all(|event| event.data["entity"].is_null()),
        "a resumed room has no snapshot of its entity: {:?}",
        sse.events()
    );

    let mut whole = stays;
    let nothing_missed = whole.subscribe(&[ROOM], &[(ROOM, &position(&missed))]).await;
    assert_eq!(said(&nothing_missed), json!([{"room": ROOM, "resumed": true, "version": null}]));
    send(&producer, &ground.name, "a", Some("4")).await;
    assert_eq!(whole.sees(ROOM, 4).await["value"], json!(4));
    assert_eq!(whole.heard(|heard| heard.changes.len()), 1, "only what came after `since`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_process_tells_the_truth_anew_or_that_nothing_was_missed() {
    let Some(ground) = Ground::new("fresh").await else { return };
    let producer = ground.producer();
    let statecast = ground.start().await;
    for key in ["a", "b", "gone"] {
        send(&producer, &ground.name, key, Some("1")).await;
    }
    let [a, b, gone] =
        [ground.reaches("a", 1).await, ground.reaches("b", 1).await, ground.reaches("gone", 1).await];
    let since = [a, b, gone].map(|document| {
        // What `findOne` gives is enough to subscribe with.
        let at = document.get_document("position").expect("position");
        let number = |name: &str| at.get_i64(name).expect(name);
        format!("{}.{}.{}", number("epoch"), number("partition"), number("offset"))
    });
    statecast.kill().await;
    send(&producer, &ground.name, "a", Some("2")).await;
    send(&producer, &ground.name, "gone", None).await;

    let statecast = ground.start().await;
    ground.reaches("a", 2).await;
    ground.reaches("gone", 2).await;
    let mut viewer = Viewer::connect(&statecast.base, "websocket").await;
    let rooms = ["kv/a", "kv/b", "kv/gone"];
    let since: Vec<_> = rooms.iter().copied().zip(since.iter().map(String::as_str)).collect();
    viewer.subscribe(&rooms, &since).await;
    assert_eq!(viewer.sees("kv/a", 2).await["value"], json!(2));
    let gone = viewer.sees("kv/gone", 2).await;
    assert_eq!((&gone["value"], &gone["deleted"]), (&Value::Null, &json!(true)));
    send(&producer, &ground.name, "b", Some("2")).await;
    assert_eq!(viewer.sees("kv/b", 2).await["value"], json!(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_history_does_not_reach_back_the_entity_is_given() {
    let Some(ground) = Ground::new("history").await else { return };
    let statecast = ground.start_with(&["live.history_changes_max=2"]).await;
    let producer = ground.producer();
    let mut viewer = Viewer::connect(&statecast.base, "websocket").await;
    viewer.subscribe(&[ROOM], &[]).await;
    let mut seen = Vec::new();
    for version in 1..=6 {
        send(&producer, &ground.name, "a", Some(&version.to_string())).await;
        seen.push(position(&viewer.sees(ROOM, version).await));
    }
    let mut again = Viewer::connect(&statecast.base, "websocket").await;
    let ack = again.subscribe(&[ROOM], &[(ROOM, &seen[0])]).await;
    assert_eq!(said(&ack), json!([{"room": ROOM, "resumed": false, "version": 6}]));
    let mut again = Viewer::connect(&statecast.base, "websocket").await;
    let ack = again.subscribe(&[ROOM], &[(ROOM, &seen[4])]).await;
    assert_eq!(said(&ack), json!([{"room": ROOM, "resumed": true, "version": null}]));
    assert_eq!(again.sees(ROOM, 6).await["value"], json!(6));
}
