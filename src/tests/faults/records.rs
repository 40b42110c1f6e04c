//! The cases about records: poison of every kind, letters that cannot be written, documents that the store refuses, keys
//! that two write at once, one key that has nearly all of the traffic.

use super::{
    audit,
    feed::Mix,
    scene::{Outcome, Scene, Setup},
};
use crate::{
    metrics,
    tests::e2e::{binary::Statecast, eventually, ground::Ground, within},
};
use bson::doc;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Nothing but bad records, until somebody acts.
pub async fn poisoned(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f27", seed, &["engine.poison_run_max=50".into()]).await;
    scene.feed.set(Mix { bad_percent: 100, ..Mix::default() });
    eventually("readiness tells that it is held", async || {
        let answer = statecast.get("/health/ready").await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        if status == 503 { Ok(()) } else { Err((status, text)) }
    })
    .await;
    sleep(Duration::from_secs(4)).await;
    scene.feed.set(Mix::default());
    let released = Arc::<AtomicU64>::default();
    let operator = tokio::spawn(release(statecast.admin.clone(), released.clone()));
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    operator.abort();
    let released = released.load(Ordering::Relaxed);
    assert!(released > 1, "what was held was released {released} times");
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

pub async fn malformed(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f25", seed, &[]).await;
    scene.feed.set(Mix { bad_percent: 20, strange: true, ..Mix::default() });
    sleep(Duration::from_secs(15)).await;
    scene.feed.set(Mix::default());
    let recovery = scene.recovered().await;
    assert_first_generation(&statecast).await;
    let letters = scene.ground.read_topic(&scene.ground.dead_letters()).await;
    let headers = letters.iter().flat_map(|letter| &letter.headers);
    let reasons =
        headers.filter(|(name, _)| name == "statecast-dlq-reason").filter_map(|(_, value)| value.clone());
    let reasons: BTreeSet<String> = reasons.map(|reason| String::from_utf8(reason).expect("text")).collect();
    let wanted = ["duplicate_name", "invalid_key", "malformed_json", "number_range", "too_deep", "too_large"];
    assert!(wanted.iter().all(|reason| reasons.contains(*reason)), "not every kind came: {reasons:?}");
    scene.judge(&statecast, recovery).await
}

async fn assert_first_generation(statecast: &Statecast) {
    let pipeline = statecast.pipeline().await;
    assert_eq!(pipeline["streams"][0]["generation"], 1, "{pipeline}");
}

/// A letter that cannot be written holds what lies behind its record.
pub async fn no_dead_letters(seed: u64) -> Outcome {
    let setup = Setup {
        settings: vec!["kafka.delivery_timeout_ms=1500".into()],
        mix: Mix { bad_percent: 0, ..Mix::default() },
        ..Setup::default()
    };
    let (scene, statecast) = Scene::begin_with("f28", seed, setup).await;
    delete_topic(&scene.ground, &scene.ground.dead_letters()).await;
    scene.feed.set(Mix::default());
    eventually("the pipeline says what cannot be written", async || {
        let pipeline = statecast.pipeline().await;
        let writers = pipeline["streams"][0]["writers"].as_array().cloned().unwrap_or_default();
        let says = |writer: &Value| writer["stuck"].as_str().is_some_and(|why| why.contains(".dlq"));
        if writers.iter().any(says) { Ok(()) } else { Err(pipeline) }
    })
    .await;
    sleep(Duration::from_secs(5)).await;
    let (looks, firsts) = (scene.sampler.now().looks, scene.feed.first_bad());
    assert!(!firsts.is_empty(), "nothing bad was sent");
    let sampled = within(Duration::from_secs(30), "a look at the commits", async || {
        let now = scene.sampler.now();
        if now.looks > looks { Ok(now) } else { Err(()) }
    })
    .await;
    for (partition, bad) in firsts {
        let next = sampled.committed[partition as usize];
        assert!(next <= bad as u64, "partition {partition}: {next} is past {bad}, which has no letter");
    }
    scene.ground.create_topics().await;
    let recovery = scene.recovered().await;
    assert_first_generation(&statecast).await;
    scene.judge(&statecast, recovery).await
}

pub async fn delete_topic(ground: &Ground, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ground.client_config().create().expect("admin");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let deleted = admin.delete_topics(&[topic], &options).await.expect("answer");
    assert_eq!(deleted, [Ok(topic.to_owned())]);
}

/// A rule of the collection forbids some documents of each batch: the records that lead to them become dead letters, and
/// all else of their batches is stored in order.
pub async fn refused(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f20", seed, &[]).await;
    forbid(&scene).await;
    scene.feed.set(Mix { forbidden_percent: 10, ..Mix::default() });
    sleep(Duration::from_secs(15)).await;
    scene.feed.set(Mix::default());
    let recovery = scene.recovered().await;
    let refused = audit::refused(&scene.ground).await.len();
    assert!(refused > 50, "{refused} records were refused");
    assert_first_generation(&statecast).await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {refused} of them refused by MongoDB"));
    outcome
}

async fn forbid(scene: &Scene) {
    let database = scene.ground.collection("kv").client().database(&scene.ground.name);
    let rule = doc! { "collMod": "kv", "validator": { "value.forbidden": { "$ne": true } } };
    database.run_command(rule).await.expect("a rule");
}

/// The same, and the process dies between letters, documents and commits. What is forbidden is the last of its key, so that
/// nothing hides it from the store however the batches are cut that it comes in again.
pub async fn refused_and_killed(seed: u64) -> Outcome {
    const KILLS: usize = 4;
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, mut statecast) = Scene::begin("f20-kill", seed, &[]).await;
    forbid(&scene).await;
    scene.feed.set(Mix { forbidden_percent: 10, forbidden_last: true, ..Mix::default() });
    let mut refused = 0;
    for kill in 0..KILLS {
        // Each dies in the midst of it, not before it has come to anything.
        refused = within(Duration::from_secs(60), "more is refused", async || {
            let now = audit::refused(&scene.ground).await.len();
            if now > refused { Ok(now) } else { Err((kill, now)) }
        })
        .await;
        sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
        statecast.kill().await;
        statecast = scene.start().await;
    }
    scene.feed.set(Mix::default());
    let recovery = scene.recovered().await;
    let refused = audit::refused(&scene.ground).await.len();
    assert!(refused > 50, "{refused} records were refused");
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {refused} of them refused by MongoDB, {KILLS} kills"));
    outcome
}

/// Two groups read the same partitions into one store, so every new key is written by both at once.
pub async fn written_by_two(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f21", seed, &[]).await;
    let prefix = format!("kafka.group_prefix={}-b", scene.ground.name);
    let other = scene.start_so(&[&prefix]).await;
    other.has_partitions(4).await;
    scene.feed.set(Mix { fresh_percent: 60, ..Mix::default() });
    sleep(Duration::from_secs(20)).await;
    scene.feed.set(Mix::default());
    let recovery = scene.recovered().await;
    for instance in [&statecast, &other] {
        assert_first_generation(instance).await;
    }
    let keys = scene.feed.fresh();
    let met = statecast.metric(metrics::CONFLICTS).await + other.metric(metrics::CONFLICTS).await;
    let met = met + statecast.metric(metrics::STALE_WRITES).await + other.metric(metrics::STALE_WRITES).await;
    assert!(met > 0, "they never met");
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {keys} new keys, {met} writes met another"));
    outcome
}

/// Nine records in ten are of one key, and a crowd watches it.
pub async fn hot_key(seed: u64) -> Outcome {
    let (mut scene, statecast) = Scene::begin("f43", seed, &[]).await;
    scene.watch_key("k0", 50);
    scene.feed.set(Mix { hot_percent: 90, ..Mix::default() });
    sleep(Duration::from_secs(20)).await;
    let (ends, committed) = (scene.sampler.now().ends, scene.sampler.now().committed);
    let recovery = scene.recovered().await;
    let lags: Vec<u64> = ends.iter().zip(committed).map(|(end, next)| end.saturating_sub(next)).collect();
    let hottest = ends.iter().enumerate().max_by_key(|(_, end)| **end).map(|(at, _)| at);
    let others = lags.iter().enumerate().filter(|(at, _)| Some(*at) != hottest).map(|(_, lag)| *lag).max();
    let others = others.expect("other partitions");
    assert!(others < 1_000, "partitions beside the hot one lag: {lags:?}");
    let sent = metrics::CHANGES_SENT;
    let (sent, conflated) = (statecast.total(sent).await, statecast.total(metrics::CONFLATED).await);
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {sent} changes sent, {conflated} left out for newer ones"));
    outcome
}
