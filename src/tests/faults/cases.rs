//! The cases about ourselves: killed, stopped, frozen, moved about, fed with poison, watched by nobody who reads.

use super::{
    clients, dependencies, oracle, process, records,
    scene::{Outcome, Scene},
    services::{self, KAFKA, MONGODB},
};
use futures_util::future::LocalBoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::sleep;

pub struct Case {
    /// As in the design's list of faults.
    pub id: &'static str,
    pub what: &'static str,
    /// The brokers it is about: one, or three.
    pub brokers: usize,
    pub run: fn(u64) -> LocalBoxFuture<'static, Outcome>,
}

macro_rules! case {
    ($id:literal, $what:literal, $run:path) => {
        case!($id, $what, $run, 1)
    };
    ($id:literal, $what:literal, $run:path, $brokers:literal) => {
        Case { id: $id, what: $what, brokers: $brokers, run: |seed| Box::pin($run(seed)) }
    };
}

pub const ALL: &[Case] = &[
    case!("F1", "our process killed (SIGKILL) five times at random moments", killed),
    case!("F2", "our process stopped and started three times", stopped),
    case!(
        "F3",
        "SIGTERM twice, at a start, at a rebalance, three times each and more",
        process::stopped_at_bad_moments
    ),
    case!("F4", "our process frozen beyond its session, another one takes over, then thawed", frozen),
    case!("F5", "Kafka killed, back after 1 s and after 10 s", dependencies::kafka_killed),
    case!(
        "F5-3",
        "each of three Kafka brokers killed in turn, back after 5 s",
        dependencies::brokers_killed,
        3
    ),
    case!("F6", "Kafka frozen for 15 s", dependencies::kafka_frozen),
    case!("F7", "Kafka killed, then our process stopped", gone_and_stopped),
    case!("F9", "commits refused for 14 s, and our process killed meanwhile", dependencies::commits_refused),
    case!("F10", "an instance comes and goes, six times", storm),
    case!(
        "F10-3",
        "an instance comes and goes, six times, and each of three Kafka brokers",
        storm_on_three,
        3
    ),
    case!(
        "F11",
        "an instance is killed while MongoDB is frozen, and its partitions move",
        moved_while_frozen
    ),
    case!("F14", "MongoDB killed, back after 1 s and after 10 s", dependencies::store_killed),
    case!("F15", "MongoDB frozen for 5 s and for 15 s", dependencies::store_frozen),
    case!("F16", "MongoDB slow: 300 ms for each reply, for 15 s", dependencies::store_slow),
    case!("F17", "connections to MongoDB reset in the middle of replies, for 15 s", dependencies::store_cut),
    case!(
        "F18",
        "writes given up after 1 s come to MongoDB after 10 s, behind newer ones",
        dependencies::store_late
    ),
    case!(
        "F20",
        "a rule of the collection forbids one record in ten, in batches with others",
        records::refused
    ),
    case!(
        "F20-kill",
        "the same, of keys of its own, and our process killed four times meanwhile",
        records::refused_and_killed
    ),
    case!("F21", "two groups write the same new keys into one store at once", records::written_by_two),
    case!(
        "F22",
        "the way to MongoDB swallows everything for 20 s, then that to Kafka",
        dependencies::swallowed
    ),
    case!("F24", "the way to MongoDB comes and goes every 2 s, ten times", dependencies::store_flaps),
    case!(
        "F25",
        "one record in five malformed, of twelve kinds, among values with strange names",
        records::malformed
    ),
    case!("F27", "nothing but bad records until partitions are held, then released", records::poisoned),
    case!("F28", "the topic of dead letters deleted, and made again", records::no_dead_letters),
    case!(
        "F29",
        "each actor panics once: consumer, writer, keeper, broadcaster, supervisor",
        process::panicking
    ),
    case!("F29-still", "each actor stands still once, and its thread with it", process::standing_still),
    case!("F30", "1,000 viewers stop reading", clients::not_reading),
    case!("F31", "1,000 viewers cut at once, let in again after 10 s", clients::cut_and_back),
    case!("F32", "our process stopped and started under 5,000 viewers", clients::restarted_under_a_crowd),
    case!("F34", "600 connections that never come to a request", clients::half_requests),
    case!("F35", "300 connections of Socket.IO that send what no client sends", clients::bad_packets),
    case!("F40", "no free file for 6 s", process::out_of_files),
    case!("F43", "nine records in ten of one key, with a crowd of viewers", records::hot_key),
    case!("F44", "started with a wrong configuration", process::wrongly_configured),
];

async fn killed(seed: u64) -> Outcome {
    killed_times(5, seed).await
}

pub async fn killed_times(times: u32, seed: u64) -> Outcome {
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, mut statecast) = Scene::begin("f1", seed, &[]).await;
    for _ in 0..times {
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
    let repeated = oracle::repeated(&outcome);
    assert!(repeated.is_none(), "{repeated:?}\n{}", statecast.said());
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
    let (scene, statecast) = Scene::begin("f10", seed, &[]).await;
    come_and_go(&scene, seed).await;
    let recovery = scene.recovered().await;
    statecast.has_partitions(4).await;
    scene.judge(&statecast, recovery).await
}

/// Leaders and the group's coordinator move while members do.
async fn storm_on_three(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f10-3", seed, &[]).await;
    let brokers = async {
        let mut moves = 0;
        for broker in services::brokers() {
            moves += dependencies::leaders_moved(&scene, &broker).await;
            sleep(Duration::from_secs(2)).await;
        }
        moves
    };
    let ((), moves) = tokio::join!(come_and_go(&scene, seed), brokers);
    let recovery = scene.recovered().await;
    statecast.has_partitions(4).await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", leaders moved {moves} times"));
    outcome
}

async fn come_and_go(scene: &Scene, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    for round in 0..6 {
        let other = scene.start_beside().await;
        sleep(Duration::from_millis(dice.random_range(1_000..4_000))).await;
        if round % 2 == 0 {
            other.kill().await;
        } else {
            other.terminate().await;
        }
    }
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
