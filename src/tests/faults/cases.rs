//! The cases about ourselves: killed, stopped, frozen, moved about, fed with poison, watched by nobody who reads.

use super::{
    dependencies,
    scene::{Outcome, Scene},
    services::{self, KAFKA, MONGODB},
};
use crate::tests::e2e::eventually;
use futures_util::future::LocalBoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

pub struct Case {
    /// As in the design's list of faults.
    pub id: &'static str,
    pub what: &'static str,
    pub run: fn(u64) -> LocalBoxFuture<'static, Outcome>,
}

macro_rules! case {
    ($id:literal, $what:literal, $run:path) => {
        Case { id: $id, what: $what, run: |seed| Box::pin($run(seed)) }
    };
}

pub const ALL: &[Case] = &[
    case!("F1", "our process killed (SIGKILL) five times at random moments", killed),
    case!("F2", "our process stopped and started three times", stopped),
    case!("F4", "our process frozen beyond its session, another one takes over, then thawed", frozen),
    case!("F5", "Kafka killed, back after 1 s and after 10 s", dependencies::kafka_killed),
    case!("F6", "Kafka frozen for 15 s", dependencies::kafka_frozen),
    case!("F7", "Kafka killed, then our process stopped", gone_and_stopped),
    case!("F10", "an instance comes and goes, six times", storm),
    case!(
        "F11",
        "an instance is killed while MongoDB is frozen, and its partitions move",
        moved_while_frozen
    ),
    case!("F14", "MongoDB killed, back after 1 s and after 10 s", dependencies::store_killed),
    case!("F15", "MongoDB frozen for 5 s and for 15 s", dependencies::store_frozen),
    case!("F16", "MongoDB slow: 300 ms for each reply, for 15 s", dependencies::store_slow),
    case!("F17", "connections to MongoDB reset in the middle of replies, for 15 s", dependencies::store_cut),
    case!("F22", "the way to MongoDB swallows everything for 20 s", dependencies::store_swallowed),
    case!("F24", "the way to MongoDB comes and goes every 2 s, ten times", dependencies::store_flaps),
    case!("F27", "nothing but bad records until partitions are held, then released", poisoned),
];

async fn killed(seed: u64) -> Outcome {
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, mut statecast) = Scene::begin("f1", seed, &[]).await;
    for _ in 0..5 {
        sleep(Duration::from_millis(dice.random_range(300..3_000))).await;
        statecast.kill().await;
        statecast = scene.start().await;
    }
    let recovery = scene.recovered().await;
    scene.judge(&statecast, recovery).await
}

async fn stopped(seed: u64) -> Outcome {
    let (scene, mut statecast) = Scene::begin("f2", seed, &[]).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(2)).await;
        let (status, took) = statecast.terminate().await;
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(10), "it took {took:?} to stop");
        statecast = scene.start().await;
    }
    let recovery = scene.recovered().await;
    let outcome = scene.judge(&statecast, recovery).await;
    assert_eq!(outcome.repeated, 0, "a clean stop repeats nothing");
    outcome
}

async fn frozen(seed: u64) -> Outcome {
    let (scene, zombie) = Scene::begin("f4", seed, &[]).await;
    let statecast = scene.start().await;
    statecast.has_partitions(2).await;
    sleep(Duration::from_secs(1)).await;
    zombie.signal("STOP");
    // Its session is 4 s.
    statecast.has_partitions(4).await;
    sleep(Duration::from_secs(3)).await;
    zombie.signal("CONT");
    let recovery = scene.recovered().await;
    statecast.has_partitions(2).await;
    zombie.has_partitions(2).await;
    let outcome = scene.judge(&statecast, recovery).await;
    drop(zombie);
    outcome
}

async fn gone_and_stopped(seed: u64) -> Outcome {
    let (scene, mut statecast) = Scene::begin("f7", seed, &[]).await;
    for _ in 0..2 {
        services::send("kill", KAFKA).await;
        sleep(Duration::from_secs(1)).await;
        let (status, took) = statecast.terminate().await;
        assert!(took < Duration::from_secs(12), "it took {took:?} to stop");
        // 0: drained in time; 70: it said that it could not. Never a signal, never a hang.
        assert!(matches!(status.code(), Some(0 | 70)), "{status:?}");
        services::send("restart", KAFKA).await;
        statecast = scene.start().await;
    }
    let recovery = scene.recovered().await;
    scene.judge(&statecast, recovery).await
}

async fn storm(seed: u64) -> Outcome {
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, statecast) = Scene::begin("f10", seed, &[]).await;
    for round in 0..6 {
        let other = scene.start_beside().await;
        sleep(Duration::from_millis(dice.random_range(1_000..4_000))).await;
        if round % 2 == 0 {
            other.kill().await;
        } else {
            other.terminate().await;
        }
    }
    let recovery = scene.recovered().await;
    statecast.has_partitions(4).await;
    scene.judge(&statecast, recovery).await
}

async fn moved_while_frozen(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f11", seed, &[]).await;
    // No instance begins without a store, so one that is there goes.
    let other = scene.start_beside().await;
    other.has_partitions(2).await;
    services::send("stop", MONGODB).await;
    sleep(Duration::from_secs(2)).await;
    other.kill().await;
    statecast.has_partitions(4).await;
    sleep(Duration::from_secs(2)).await;
    services::send("cont", MONGODB).await;
    let recovery = scene.recovered().await;
    scene.judge(&statecast, recovery).await
}

async fn poisoned(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f27", seed, &["engine.poison_run_max=50".into()]).await;
    scene.feed.set_bad(100);
    eventually("readiness tells that it is held", async || {
        let answer = statecast.get("/health/ready").await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        if status == 503 { Ok(()) } else { Err((status, text)) }
    })
    .await;
    scene.feed.set_bad(1);
    let released = Arc::<AtomicU64>::default();
    let operator = tokio::spawn(release(statecast.admin.clone(), released.clone()));
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    operator.abort();
    let released = released.load(Ordering::Relaxed);
    assert!(released > 0, "nothing was held");
    outcome.note.push_str(&format!(", {released} times released"));
    outcome
}

/// An operator: what is bad still lies in the log, so each run of it holds its partition again, and is released again.
async fn release(admin: String, released: Arc<AtomicU64>) {
    let http = reqwest::Client::new();
    loop {
        sleep(Duration::from_millis(100)).await;
        let Ok(answer) = http.get(format!("{admin}/admin/pipeline")).send().await else { continue };
        let pipeline: Value = answer.json().await.expect("JSON");
        let partitions = pipeline["streams"][0]["partitions"].as_array().cloned().unwrap_or_default();
        for partition in partitions.iter().filter(|one| !one["held_since"].is_null()) {
            let url = format!("{admin}/admin/partitions/kv/{}/release", partition["partition"]);
            http.post(url).send().await.expect("an answer");
            released.fetch_add(1, Ordering::Relaxed);
        }
    }
}
