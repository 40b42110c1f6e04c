//! The oracle's own test: `make oracle` runs the binary with one bug after the other in it, each in a situation that brings
//! it out, and the oracle has to find each for what it is.
//!
//! Invariant: a bug that goes unseen, or is found as something else only, fails the run.
//! Not here: that nothing is found without a bug; that is what every case of `make faults` says.

use super::{
    feed::Mix,
    oracle::{Finding, Kind, repeated},
    records::delete_topic,
    scene::{Scene, Setup},
};
use crate::engine::seeded;
use futures_util::future::LocalBoxFuture;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};
use tokio::time::sleep;

/// With a bug some of it never comes to rest.
const PATIENCE: Duration = Duration::from_secs(20);
const UNDER_LOAD: Duration = Duration::from_secs(5);
/// Of each reply of the store.
const SLOW_MS: u32 = 500;

struct Bug {
    name: &'static str,
    found_as: Kind,
    run: fn(u64) -> LocalBoxFuture<'static, Vec<Finding>>,
}

const ALL: &[Bug] = &[
    Bug {
        name: seeded::COMMIT_BEFORE_WRITE,
        found_as: Kind::CommittedEarly,
        run: |seed| Box::pin(killed_before_a_slow_store(seed)),
    },
    Bug {
        name: seeded::COMMIT_ONE_SHORT,
        found_as: Kind::Repeated,
        run: |seed| Box::pin(stopped_and_started(seed)),
    },
    Bug {
        name: seeded::DROP_WHEN_FULL,
        found_as: Kind::Lost,
        run: |seed| Box::pin(full_before_a_slow_store(seed)),
    },
    Bug { name: seeded::SWAP_UPDATES, found_as: Kind::Reordered, run: |seed| Box::pin(large_slices(seed)) },
    Bug {
        name: seeded::LETTER_NOT_AWAITED,
        found_as: Kind::Lost,
        run: |seed| Box::pin(no_dead_letters(seed)),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long, and of a binary with bugs: make oracle"]
async fn every_seeded_bug_is_found_for_what_it_is() {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (only, seed) = (variable("ONLY"), variable("SEED").and_then(|seed| seed.parse().ok()));
    let seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let wanted: Vec<&Bug> =
        ALL.iter().filter(|bug| only.as_deref().is_none_or(|only| only == bug.name)).collect();
    assert!(!wanted.is_empty(), "there is no bug {only:?}");
    for bug in wanted {
        eprintln!("{} (seed {seed})", bug.name);
        let findings = (bug.run)(seed).await;
        let mut kinds = BTreeMap::<Kind, (usize, &str)>::new();
        for finding in &findings {
            kinds.entry(finding.kind).or_insert((0, &finding.what)).0 += 1;
        }
        for (kind, (count, first)) in &kinds {
            eprintln!("  {count} {kind:?}: {first}");
        }
        assert!(
            kinds.contains_key(&bug.found_as),
            "{} is not found as {:?}: {kinds:?}",
            bug.name,
            bug.found_as
        );
    }
}

fn with(bug: &'static str, settings: Vec<String>) -> Setup {
    Setup { settings, seeded: Some(bug), patience: PATIENCE, ..Setup::default() }
}

async fn killed_before_a_slow_store(seed: u64) -> Vec<Finding> {
    let setup = with(seeded::COMMIT_BEFORE_WRITE, Vec::new());
    let (scene, statecast) = Scene::begin_with("bug-early", seed, setup).await;
    scene.store.mode.delay_ms.store(SLOW_MS, Ordering::Relaxed);
    sleep(UNDER_LOAD).await;
    statecast.kill().await;
    scene.store.mode.delay_ms.store(0, Ordering::Relaxed);
    let statecast = scene.start().await;
    let recovery = scene.recovered().await;
    scene.findings(&statecast, recovery).await.0
}

async fn stopped_and_started(seed: u64) -> Vec<Finding> {
    let (scene, statecast) =
        Scene::begin_with("bug-short", seed, with(seeded::COMMIT_ONE_SHORT, Vec::new())).await;
    let (status, _) = statecast.terminate().await;
    assert_eq!(status.code(), Some(0));
    let statecast = scene.start().await;
    let recovery = scene.recovered().await;
    let (mut findings, outcome) = scene.findings(&statecast, recovery).await;
    findings.extend(repeated(&outcome));
    findings
}

async fn full_before_a_slow_store(seed: u64) -> Vec<Finding> {
    let setup = with(seeded::DROP_WHEN_FULL, vec!["engine.mailbox_slices_max=1".into()]);
    let (scene, statecast) = Scene::begin_with("bug-full", seed, setup).await;
    scene.store.mode.delay_ms.store(SLOW_MS, Ordering::Relaxed);
    sleep(UNDER_LOAD).await;
    scene.store.mode.delay_ms.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    scene.findings(&statecast, recovery).await.0
}

/// While writers wait for their store, what comes meanwhile becomes slices with several updates of a key.
async fn large_slices(seed: u64) -> Vec<Finding> {
    let setup = with(seeded::SWAP_UPDATES, vec!["engine.mailbox_slices_max=1".into()]);
    let (scene, statecast) = Scene::begin_with("bug-swap", seed, setup).await;
    scene.store.mode.delay_ms.store(SLOW_MS, Ordering::Relaxed);
    sleep(UNDER_LOAD).await;
    scene.store.mode.delay_ms.store(0, Ordering::Relaxed);
    let recovery = scene.recovered().await;
    scene.findings(&statecast, recovery).await.0
}

async fn no_dead_letters(seed: u64) -> Vec<Finding> {
    let setup = Setup {
        // Slow ones among them would still be behind when patience ends, and this is nothing of theirs.
        viewers: 0,
        mix: Mix { bad_percent: 0, ..Mix::default() },
        ..with(seeded::LETTER_NOT_AWAITED, vec!["kafka.delivery_timeout_ms=1500".into()])
    };
    let (scene, statecast) = Scene::begin_with("bug-letter", seed, setup).await;
    delete_topic(&scene.ground, &scene.ground.dead_letters()).await;
    scene.feed.set(Mix::default());
    sleep(UNDER_LOAD).await;
    scene.ground.create_topics().await;
    let recovery = scene.recovered().await;
    scene.findings(&statecast, recovery).await.0
}
