//! SIGKILL under load, again and again: nothing lost, nothing applied twice, nothing confirmed and then forgotten.

use super::{binary::Statecast, eventually, ground::Ground, load::Load};
use crate::metrics;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

const KILLS: u64 = 4;
const KEYS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_of_every_key_is_the_number_of_its_records() {
    let Some(ground) = Ground::new("crash").await else { return };
    ground.create_topics().await;
    let load = Load::start(&ground, KEYS);
    for _ in 0..KILLS {
        let statecast = ground.start_beside(&[]).await;
        let before = ground.versions().await;
        eventually("it stores while it is loaded", async || {
            let now = ground.versions().await;
            let moved =
                now.iter().filter(|(key, version)| before.get(*key).is_none_or(|b| b < version)).count();
            if moved >= KEYS as usize / 2 { Ok(()) } else { Err((moved, statecast.said())) }
        })
        .await;
        statecast.kill().await;
    }
    let statecast = ground.start().await;
    let sent = load.end().await;
    assert_eq!(sent.len(), KEYS as usize);
    ground.settles_at(&sent).await;
    assert_eq!(statecast.metric(metrics::KEYS_MOVED).await, 0);
}

/// Writers that go on putting until the server is gone; what each was told is stored.
async fn put_until_gone(base: String, confirmed: Arc<Mutex<BTreeMap<String, Value>>>, writer: u64) {
    let http = Client::builder().timeout(Duration::from_secs(20)).build().expect("client");
    for n in 0_u64.. {
        // Some keys once, some again and again.
        let key = if n % 2 == 0 { format!("w{writer}-{n}") } else { format!("w{writer}") };
        let put = http.put(format!("{base}/api/streams/kv/{key}?wait=stored")).json(&json!({"n": n}));
        let Ok(answer) = put.send().await else { return };
        if answer.status() != 200 {
            continue;
        }
        let Ok(entity) = answer.json::<Value>().await else { return };
        confirmed.lock().expect("confirmed").insert(key, entity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_embedded_store_confirmed_is_there_after_sigkill() {
    const ROUNDS: usize = 4;
    const WRITERS: u64 = 8;
    let folder = TempDir::new().expect("folder");
    let settings = [format!("embedded.data_dir={}", folder.path().display())];
    let confirmed: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    for round in 1..=ROUNDS {
        let statecast = Statecast::start(&settings).await;
        let before = confirmed.lock().expect("confirmed").len();
        let writers = (0..WRITERS).map(|writer| {
            let writer = writer + WRITERS * round as u64;
            tokio::spawn(put_until_gone(statecast.base.clone(), confirmed.clone(), writer))
        });
        let writers: Vec<_> = writers.collect();
        eventually("writes are confirmed", async || {
            let now = confirmed.lock().expect("confirmed").len() - before;
            if now > 100 { Ok(()) } else { Err((now, statecast.said())) }
        })
        .await;
        statecast.kill().await;
        join_all(writers).await.into_iter().for_each(|ended| ended.expect("no panic"));
    }

    let statecast = Statecast::start(&settings).await;
    let confirmed = std::mem::take(&mut *confirmed.lock().expect("confirmed"));
    for (key, told) in confirmed {
        let found = statecast.entity(&key).await.unwrap_or_else(|| panic!("{key} was confirmed: {told}"));
        let version = |entity: &Value| entity["version"].as_u64().expect("version");
        if version(&found) == version(&told) {
            assert_eq!(found, told, "{key}");
        } else {
            // A write that was appended but not confirmed before the end is stored after it, once.
            assert_eq!(version(&found), version(&told) + 1, "{key}: {told} became {found}");
        }
    }
}
