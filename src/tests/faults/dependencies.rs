//! The cases about Kafka, MongoDB, and the way to them.

use super::{
    proxy::Proxy,
    scene::{Outcome, Scene, Setup},
    services::{self, KAFKA, MONGODB, freeze_for, kill_for},
};
use crate::{metrics, tests::e2e::binary::Statecast};
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

/// Each of three brokers in turn, so that every leader and the coordinator of the group move.
pub async fn brokers_killed(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f5-3", seed, &[]).await;
    let (mut recovery, mut moves) = (Duration::ZERO, 0);
    for broker in services::brokers() {
        moves += leaders_moved(&scene, &broker).await;
        recovery = recovery.max(scene.recovered().await);
        sleep(BETWEEN).await;
    }
    let mut outcome = survived(scene, &statecast, recovery).await;
    outcome.note.push_str(&format!(", leaders moved {moves} times"));
    outcome
}

/// Kills one of three brokers for 5 s; how many partitions have another leader then.
pub async fn leaders_moved(scene: &Scene, broker: &str) -> usize {
    let before = scene.ground.leaders().await;
    kill_for(broker, seconds(5)).await;
    let after = scene.ground.leaders().await;
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(moved > 0, "{broker} led nothing: {before:?}, {after:?}");
    moved
}

pub async fn kafka_frozen(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f6", seed, &[]).await;
    freeze_for(KAFKA, seconds(15)).await;
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_killed(seed: u64) -> Outcome {
    // A proxy would let in whom a dead server refuses.
    let setup = Setup { direct: true, ..Setup::default() };
    let (scene, statecast) = Scene::begin_with("f14", seed, setup).await;
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
    let (scene, statecast) = Scene::begin("f16", seed, &[]).await;
    scene.store.mode.delay_ms.store(300, Ordering::Relaxed);
    sleep(seconds(15)).await;
    scene.store.mode.delay_ms.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_cut(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f17", seed, &[]).await;
    scene.store.mode.cut_per_mille.store(30, Ordering::Relaxed);
    sleep(seconds(15)).await;
    scene.store.mode.cut_per_mille.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    let cuts = scene.store.mode.cuts.load(Ordering::Relaxed);
    assert!(cuts > 0, "nothing was cut");
    let mut outcome = survived(scene, &statecast, recovery).await;
    outcome.note.push_str(&format!(", {cuts} replies cut"));
    outcome
}

/// First the way to MongoDB is a black hole, then that to Kafka.
pub async fn swallowed(seed: u64) -> Outcome {
    let (kafka, setting) = before_kafka(seed).await;
    let (scene, statecast) = Scene::begin("f22", seed, &[setting]).await;
    for proxy in [&scene.store, &kafka] {
        proxy.mode.hold.store(true, Ordering::Relaxed);
        let before = scene.sampler.now();
        sleep(seconds(20)).await;
        let after = scene.sampler.now();
        assert!(after.lag > before.lag, "nothing was swallowed: {before:?}, {after:?}");
        proxy.mode.hold.store(false, Ordering::Relaxed);
        scene.recovered().await;
        sleep(BETWEEN).await;
    }
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

pub async fn store_flaps(seed: u64) -> Outcome {
    store_flaps_times(10, seed).await
}

pub async fn store_flaps_times(times: u32, seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f24", seed, &[]).await;
    for _ in 0..times {
        scene.store.mode.shut.store(true, Ordering::Relaxed);
        scene.store.cut_all();
        sleep(BETWEEN).await;
        scene.store.mode.shut.store(false, Ordering::Relaxed);
        sleep(BETWEEN).await;
    }
    let recovery = scene.recovered().await;
    survived(scene, &statecast, recovery).await
}

/// Commits come to nothing, whoever makes them, over a kill.
pub async fn commits_refused(seed: u64) -> Outcome {
    const OFFSET_COMMIT: i32 = 8;
    let (proxy, setting) = before_kafka(seed).await;
    let (scene, statecast) = Scene::begin("f9", seed, &[setting]).await;
    proxy.mode.refused_api.store(OFFSET_COMMIT, Ordering::Relaxed);
    sleep(BETWEEN).await;
    let (before, stored) = (scene.ground.committed().await, statecast.metric(metrics::RECORDS_STORED).await);
    sleep(seconds(8)).await;
    assert!(statecast.metric(metrics::RECORDS_STORED).await > stored, "nothing is stored meanwhile");
    statecast.kill().await;
    let statecast = scene.start().await;
    sleep(seconds(4)).await;
    assert_eq!(scene.ground.committed().await, before, "something was committed");
    proxy.mode.refused_api.store(-1, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    assert!(outcome.repeated > 0, "nothing was read again");
    outcome.note.push_str(&format!(", {} commits refused", proxy.mode.cuts.load(Ordering::Relaxed)));
    outcome
}

/// Writes are given up, made again, and come to the server ten seconds late, behind newer ones.
pub async fn store_late(seed: u64) -> Outcome {
    let settings = ["mongodb.call_timeout_ms=1000".into()];
    let (scene, statecast) = Scene::begin("f18", seed, &settings).await;
    for _ in 0..8 {
        scene.store.mode.hold_update_ms.store(10_000, Ordering::Relaxed);
        sleep(seconds(1)).await;
    }
    sleep(seconds(12)).await;
    let held = scene.store.mode.held.load(Ordering::Relaxed);
    assert!(held > 3, "{held} writes were late");
    let recovery = scene.recovered().await;
    let mut outcome = survived(scene, &statecast, recovery).await;
    outcome.note.push_str(&format!(", {held} writes 10 s late"));
    outcome
}

/// The instance reaches Kafka by the proxy; who judges does not.
async fn before_kafka(seed: u64) -> (Proxy, String) {
    let (door, behind) = services::kafka_door();
    let proxy = Proxy::on(&door, behind, seed).await;
    let setting = format!("kafka.brokers={}", proxy.at);
    (proxy, setting)
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
