//! What upserts cost, measured: `cargo test --release upserts_per_second -- --ignored --nocapture`.
//!
//! Not a test of speed: it fails only when an upsert is lost. The figures go to `docs/`.

use super::{
    contract::{store::upsert, unique},
    services,
};
use crate::{
    adapters::mongo::MongoStore,
    config::{Mongodb, Secret},
    ports::{EntityId, Store, Upsert},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::time::Instant;

const UPSERTS: u64 = 200_000;
const BATCH: u64 = 1_000;
const IN_FLIGHT: usize = 4;

/// CPU seconds this process has used, where `/proc` tells.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// A batch of documents of about 200 bytes of JSON.
fn batch(from: u64, version: u64) -> Vec<Upsert> {
    let one = |i: u64| {
        let json = format!(
            r#"{{"name":"user","n":{i},"price":12.5,"tags":["a","b","c"],"at":{{"x":1,"y":-2,"z":true,"w":null}},"pad":"{:-<90}"}}"#,
            version
        );
        upsert(&format!("user-{i:08}"), version, i + version * UPSERTS, &json)
    };
    (from..from + BATCH).map(one).collect()
}

async fn measure(store: &MongoStore, name: &str, stream_name: &str, version: u64) {
    let batches: Vec<_> = (0..UPSERTS).step_by(BATCH as usize).map(|from| batch(from, version)).collect();
    let (started, cpu) = (Instant::now(), cpu_s());
    let writes = batches.into_iter().map(|batch| {
        let (store, stream_name) = (store.clone(), stream_name.to_owned());
        async move { tokio::spawn(async move { store.write(&stream_name, batch).await }).await }
    });
    let written = stream::iter(writes).buffer_unordered(IN_FLIGHT);
    let written: Vec<_> = written.try_collect().await.expect("join");
    let written: usize = written.into_iter().map(|written| written.expect("write")).sum();
    report(name, started, cpu);
    assert_eq!(written as u64, UPSERTS);
}

fn report(name: &str, started: Instant, cpu: f64) {
    let per_million = 1e6 / UPSERTS as f64;
    let rate = UPSERTS as f64 / started.elapsed().as_secs_f64();
    println!("{name}: {rate:.0}/s, {:.2} CPU-s of this process per million", (cpu_s() - cpu) * per_million);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn upserts_per_second() {
    let Some(uri) = services::mongodb() else { return };
    let config = Mongodb { uri: Secret(uri), database: "statecast_load".into(), ..Mongodb::default() };
    let store = MongoStore::connect(&config).await.expect("connect");
    let stream_name = unique("load");
    store.prepare(&stream_name, &[]).await.expect("prepare");
    measure(&store, "new keys", &stream_name, 1).await;
    measure(&store, "known keys", &stream_name, 2).await;
    let (started, cpu) = (Instant::now(), cpu_s());
    for from in (0..UPSERTS).step_by(BATCH as usize) {
        let id = |i: u64| EntityId { key: format!("user-{i:08}").as_str().into(), partial: None };
        let ids: Vec<_> = (from..from + BATCH).map(id).collect();
        assert_eq!(store.load(&stream_name, &ids).await.expect("load").len() as u64, BATCH);
    }
    report("loads", started, cpu);
}
