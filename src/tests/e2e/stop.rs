//! SIGTERM under load: what was stored is committed, whoever watches is told, and the next start repeats nothing.

use super::{client::Viewer, eventually, ground::Ground, load::Load};
use crate::metrics;
use futures_util::TryStreamExt;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const KEYS: u64 = 200;
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_is_clean_and_the_next_start_repeats_nothing() {
    let Some(ground) = Ground::new("stop").await else { return };
    let statecast = ground.start().await;
    let mut viewer = Viewer::connect(&statecast.base, "websocket").await;
    viewer.subscribe(&["kv/k0"], &[]).await;
    let load = Load::start(&ground, KEYS);
    viewer.sees("kv/k0", 20).await;

    let (status, took) = statecast.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP_WITHIN, "{took:?}");
    let goodbye =
        eventually("goodbye", async || viewer.heard(|heard| heard.goodbye.clone()).ok_or("nothing")).await;
    assert!(goodbye["reason"].is_string() && goodbye["retry_ms"].is_u64(), "{goodbye}");

    // One record, one version: so per partition what is stored and what is committed are one number.
    let (stored, committed) = (stored_by_partition(&ground).await, ground.committed().await);
    assert_eq!(committed, stored, "committed, and stored");
    let sent = load.end().await;
    let records: u64 = sent.values().sum();
    let unread = records - committed.iter().sum::<u64>();

    let statecast = ground.start().await;
    ground.settles_at(&sent).await;
    let received = eventually("the metric is there", async || {
        let received = statecast.metric(metrics::RECORDS_RECEIVED).await;
        if received >= unread { Ok(received) } else { Err(received) }
    })
    .await;
    assert_eq!(received, unread, "a record was read again");
    assert_eq!(statecast.entity("k0").await.expect("there")["version"], json!(sent["k0"]));
}

async fn stored_by_partition(ground: &Ground) -> Vec<u64> {
    let mut stored: BTreeMap<i64, i64> = (0..4).map(|partition| (partition, 0)).collect();
    let documents: Vec<bson::Document> = ground.all().await.try_collect().await.expect("documents");
    for document in documents {
        let partition =
            document.get_document("position").expect("position").get_i64("partition").expect("partition");
        *stored.entry(partition).or_default() += document.get_i64("version").expect("version");
    }
    stored.into_values().map(|versions| versions as u64).collect()
}
