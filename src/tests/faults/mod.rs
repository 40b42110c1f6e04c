//! What may break, broken under load, on real Kafka and MongoDB: `make faults`, which writes docs/faults.md.
//!
//! Invariant: whatever is broken, one oracle decides: the log as it lies in Kafka, folded plainly, against what the store
//! holds, what the dead letters hold, what was committed at every sampled moment, and what each viewer was shown. Sets are
//! compared, never counts.
//! Not here: interleavings (`sim`), single promises (`e2e`).

mod audit;
mod bugs;
mod cases;
mod clients;
mod dependencies;
mod feed;
mod history;
mod oracle;
mod process;
pub mod proxy;
mod records;
mod report;
mod sampler;
mod scene;
pub mod services;
mod socket;
mod watcher;
mod wire;

use report::Row;
use std::panic::AssertUnwindSafe;

/// All of them, or those `ONLY` names. They stop services that others would need, so they run alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long, and it kills the services: make faults"]
async fn every_fault_is_survived() {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (only, seed) = (variable("ONLY"), variable("SEED").and_then(|seed| seed.parse().ok()));
    let seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let mut rows = Vec::new();
    let brokers = services::brokers().len();
    let is_wanted =
        |case: &&cases::Case| case.brokers == brokers && only.as_deref().is_none_or(|only| only == case.id);
    for case in cases::ALL.iter().filter(is_wanted) {
        eprintln!("{} {} (seed {seed})", case.id, case.what);
        let run = AssertUnwindSafe((case.run)(seed));
        let ended = futures_util::FutureExt::catch_unwind(run).await;
        // Whatever it left broken is mended, or the next one would pay for it.
        services::mend().await;
        let row = Row::new(case, seed, ended);
        eprintln!("  {}", row.line());
        rows.push(row);
    }
    assert!(!rows.is_empty(), "there is no fault {only:?} on {brokers} brokers");
    report::write(&rows, only.is_none().then_some(brokers));
    let failed: Vec<_> = rows.iter().filter(|row| row.failed()).map(Row::line).collect();
    assert!(failed.is_empty(), "not survived:\n{}", failed.join("\n"));
}

/// Those that break nothing which other tests of the same run need, with few rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_and_a_store_that_comes_and_goes_are_survived() {
    if crate::tests::services::kafka().is_none() || crate::tests::services::mongodb().is_none() {
        return;
    }
    let seed = rand::random_range(0..1_000_000);
    eprintln!("make faults ONLY=F1 SEED={seed}, or F24");
    let killed = cases::killed_times(2, seed).await;
    assert!(killed.memory_mib > 0, "{killed:?}");
    let flapped = dependencies::store_flaps_times(3, seed).await;
    assert!(flapped.memory_mib > 0, "{flapped:?}");
}
