//! The cases about Kafka, MongoDB, and the way to them.

use super::{
    proxy::Proxy,
    scene::{Outcome, Scene},
    services::{KAFKA, MONGODB, freeze_for, kill_for},
};
use crate::tests::e2e::binary::Statecast;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::sleep;

const BETWEEN: Duration = Duration::from_secs(2);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub async fn kafka_killed(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f5", seed, &[]).await;
    kill_for(KAFKA, seconds(1)).await;
    scene.recovered().await;
    sleep(BETWEEN).await;
    kill_for(KAFKA, seconds(10)).await;
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn kafka_frozen(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f6", seed, &[]).await;
    freeze_for(KAFKA, seconds(15)).await;
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_killed(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f14", seed, &[]).await;
    kill_for(MONGODB, seconds(1)).await;
    scene.recovered().await;
    sleep(BETWEEN).await;
    kill_for(MONGODB, seconds(10)).await;
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_frozen(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f15", seed, &[]).await;
    freeze_for(MONGODB, seconds(5)).await;
    scene.recovered().await;
    sleep(BETWEEN).await;
    freeze_for(MONGODB, seconds(15)).await;
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_slow(seed: u64) -> Outcome {
    let (proxy, scene, statecast) = behind_proxy("f16", seed).await;
    proxy.mode.delay_ms.store(300, Ordering::Relaxed);
    sleep(seconds(15)).await;
    proxy.mode.delay_ms.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_cut(seed: u64) -> Outcome {
    let (proxy, scene, statecast) = behind_proxy("f17", seed).await;
    proxy.mode.cut_per_mille.store(30, Ordering::Relaxed);
    sleep(seconds(15)).await;
    proxy.mode.cut_per_mille.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    let cuts = proxy.mode.cuts.load(Ordering::Relaxed);
    assert!(cuts > 0, "nothing was cut");
    let mut outcome = survived(scene, &statecast, recovery).await;
    outcome.note.push_str(&format!(", {cuts} replies cut"));
    outcome
}

pub async fn store_swallowed(seed: u64) -> Outcome {
    let (proxy, scene, statecast) = behind_proxy("f22", seed).await;
    proxy.mode.hold.store(true, Ordering::Relaxed);
    sleep(seconds(20)).await;
    proxy.mode.hold.store(false, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_flaps(seed: u64) -> Outcome {
    let (proxy, scene, statecast) = behind_proxy("f24", seed).await;
    for _ in 0..10 {
        proxy.mode.shut.store(true, Ordering::Relaxed);
        proxy.cut_all();
        sleep(BETWEEN).await;
        proxy.mode.shut.store(false, Ordering::Relaxed);
        sleep(BETWEEN).await;
    }
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

/// The instance reaches MongoDB by the proxy; who judges does not.
async fn behind_proxy(case: &str, seed: u64) -> (Proxy, Scene, Statecast) {
    let uri = crate::tests::services::mongodb().expect("MongoDB; run make faults");
    let host = uri.trim_start_matches("mongodb://").split('/').next().expect("a host").to_owned();
    let proxy = Proxy::before(host, seed).await;
    let settings = [format!("mongodb.uri=mongodb://{}/?directConnection=true", proxy.at)];
    let (scene, statecast) = Scene::begin(case, seed, &settings).await;
    (proxy, scene, statecast)
}

/// It was the same process all along, in its first generation: nothing had to be restarted.
async fn survived(scene: Scene, statecast: &Statecast, recovery: Duration) -> Outcome {
    let pipeline = statecast.pipeline().await;
    assert_eq!(
        pipeline["streams"][0]["generation"], 1,
        "a dependency's fault is no fault of ours: {pipeline}"
    );
    scene.judge(statecast, recovery).await
}
