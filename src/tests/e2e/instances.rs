//! Two instances in one group: each shows every key, also those the other takes in, and one may die under load.

use super::{binary::Statecast, client::Viewer, eventually, ground::Ground, load::Load};
use crate::partitioner::partition_of;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const KEYS: u64 = 16;

fn rooms() -> Vec<String> {
    (0..KEYS).map(|k| format!("kv/k{k}")).collect()
}

fn partition(room: &str) -> u64 {
    u64::from(partition_of(room.trim_start_matches("kv/").as_bytes(), 4))
}

/// A client with every key's room; which of them are fed from the store is told as it is.
async fn watch(instance: &Statecast, own: &[u64], since: &BTreeMap<String, String>) -> Viewer {
    let mut viewer = Viewer::connect(&instance.base, "websocket").await;
    let rooms = rooms();
    let names: Vec<_> = rooms.iter().map(String::as_str).collect();
    let since: Vec<_> = since.iter().map(|(room, position)| (room.as_str(), position.as_str())).collect();
    for room in viewer.subscribe(&names, &since).await {
        let name = room["room"].as_str().expect("room");
        let fed = if own.contains(&partition(name)) { Value::Null } else { json!("store") };
        assert_eq!(room["feed"], fed, "{name}, where {own:?} are read here: {room}");
    }
    viewer
}

/// Waits until every room has gone on by so many versions.
async fn moves(viewer: &Viewer, by: u64) {
    let versions = || -> Vec<u64> { rooms().iter().map(|room| viewer.version(room)).collect() };
    let before = versions();
    eventually("every key moves, whoever takes it in", async || {
        let now = versions();
        let all = now.iter().zip(&before).all(|(now, before)| *now >= before + by);
        if all { Ok(()) } else { Err((before.clone(), now)) }
    })
    .await;
    viewer.check();
}

async fn sees_all(viewer: &Viewer, sent: &BTreeMap<String, u64>) {
    for (key, version) in sent {
        assert_eq!(viewer.sees(&format!("kv/{key}"), *version).await["version"], json!(version), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_each_see_the_keys_of_both_and_one_may_be_killed() {
    let Some(ground) = Ground::new("instances").await else { return };
    let one = ground.start().await;
    let other = ground.start_beside(&[]).await;
    let own = other.has_partitions(2).await;
    let own_of_one = one.has_partitions(2).await;
    let load = Load::start(&ground, KEYS);
    for k in 0..KEYS {
        ground.reaches(&format!("k{k}"), 1).await;
    }

    let at_one = watch(&one, &own_of_one, &BTreeMap::new()).await;
    let at_other = watch(&other, &own, &BTreeMap::new()).await;
    moves(&at_one, 3).await;
    moves(&at_other, 3).await;

    let since = rooms().into_iter().map(|room| {
        let position = at_other.last(&room)["position"].as_str().expect("position").to_owned();
        (room, position)
    });
    let since: BTreeMap<_, _> = since.collect();
    other.kill().await;
    one.has_partitions(4).await;
    moves(&at_one, 3).await;
    eventually("its client knows that it is gone", async || {
        at_other.heard(|heard| heard.ended.clone().ok_or("connected"))
    })
    .await;

    let again = ground.start_beside(&[]).await;
    let own = again.has_partitions(2).await;
    let at_again = watch(&again, &own, &since).await;
    moves(&at_again, 3).await;
    let sent = load.end().await;
    ground.settles_at(&sent).await;
    sees_all(&at_one, &sent).await;
    sees_all(&at_again, &sent).await;
    for (instance, key) in [(&one, "k0"), (&again, "k0"), (&one, "k1"), (&again, "k1")] {
        eventually("GET shows the newest", async || {
            let entity = instance.entity(key).await.expect("there");
            if entity["version"] == json!(sent[key]) { Ok(()) } else { Err(entity) }
        })
        .await;
    }
}
