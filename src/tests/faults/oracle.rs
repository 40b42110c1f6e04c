//! The judgement at the end: everything comes to rest, and whatever is not as a plain fold of the log has it is found.
//!
//! Invariant: all findings are said, each with its kind; a case is survived if there are none. Whether the oracle sees what
//! it is for is tried in `bugs`.
//! Not here: the fold and what it is compared with (`audit`), what is seen on the way (`sampler`, `watcher`).

use super::{
    audit::{self, Truth},
    sampler::{Sampled, Sampler},
    scene::{Outcome, Scene},
    watcher::Watcher,
};
use crate::{metrics, tests::e2e::binary::Statecast};
use std::time::{Duration, Instant};

/// What is promised of the program as it ships.
const MEMORY_MAX_MIB: u64 = if cfg!(debug_assertions) { 300 } else { 150 };
/// And for each viewer, with all that is its own.
const VIEWER_MAX_KIB: u64 = 32;
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Findings that a failure shows.
const SHOWN_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Acknowledged, and neither counted in the store nor among the dead letters.
    Lost,
    /// A viewer does not come to the newest.
    Stale,
    /// Older over newer, or the value of one version at another one.
    Reordered,
    /// Counted twice, or never sent.
    Doubled,
    CommittedEarly,
    NeverCommitted,
    /// Read again after a clean stop.
    Repeated,
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub kind: Kind,
    pub what: String,
}

impl Finding {
    pub fn new(kind: Kind, what: String) -> Finding {
        Finding { kind, what }
    }
}

/// A clean stop repeats nothing.
pub fn repeated(outcome: &Outcome) -> Option<Finding> {
    let what = format!("{} records were read again after a clean stop", outcome.repeated);
    (outcome.repeated > 0).then(|| Finding::new(Kind::Repeated, what))
}

impl Scene {
    /// The load ends, everything comes to rest, and nothing is found.
    pub async fn judge(self, statecast: &Statecast, recovery: Duration) -> Outcome {
        let (findings, outcome) = self.findings(statecast, recovery).await;
        let shown = &findings[..findings.len().min(SHOWN_MAX)];
        assert!(findings.is_empty(), "{} findings: {shown:?}\n{}", findings.len(), statecast.said());
        outcome
    }

    /// The load ends; what the oracle finds after `patience` at each step, and what the case came to.
    pub async fn findings(self, statecast: &Statecast, recovery: Duration) -> (Vec<Finding>, Outcome) {
        let Scene { ground, feed, sampler, history, store, direct, watchers, patience, .. } = self;
        let sent = feed.end().await;
        let truth = Truth::read(&ground, &sent).await;
        let mut findings = settled(patience, async || truth.differences(&ground).await).await;
        findings.extend(uncommitted(&sampler, patience).await);
        let (letters_again, letters) = truth.letters(&ground).await;
        findings.extend(letters);
        findings.extend(settled(patience, async || stale(&truth, &watchers)).await);
        for (watcher, _) in &watchers {
            findings.extend(truth.wrongly_shown(watcher));
            let faults = watcher.shown.lock().expect("shown").faults.clone();
            findings.extend(faults.into_iter().map(|what| Finding::new(Kind::Reordered, what)));
        }
        let (written, gone_back) = history.read("kv").await;
        findings.extend(gone_back);
        if findings.is_empty() {
            let right = truth.keys.iter().map(|(key, entity)| (key.clone(), entity.version as i64));
            assert_eq!(written, right.collect(), "the history of writes ends as the store does");
        }
        let wire = store.wire();
        if !direct {
            assert!(wire.writes > 0, "nobody saw a write");
            let some_are_refused = !audit::refused(&ground).await.is_empty();
            findings.extend(wire.findings(&truth, some_are_refused));
        }
        let sampled = sampler.now();
        findings.extend(sampled.findings.iter().cloned());
        assert!(sampled.looks > 10, "nobody looked at commits: {} looks", sampled.looks);
        let memory_max_mib = MEMORY_MAX_MIB + VIEWER_MAX_KIB * watchers.len() as u64 / 1024;
        assert!(sampled.memory_max_mib < memory_max_mib, "{} MiB", sampled.memory_max_mib);
        let repeated = statecast.metric(metrics::RECORDS_SEEN).await;
        let note = note(&truth, letters_again, wire.writes, &watchers);
        (findings, outcome(recovery, repeated, &sampled, note))
    }
}

fn outcome(recovery: Duration, repeated: u64, sampled: &Sampled, note: String) -> Outcome {
    let (lag_max, memory_mib) = (sampled.lag_max, sampled.memory_max_mib);
    Outcome { recovery, repeated, lag_max, memory_mib, note }
}

fn note(truth: &Truth, letters_again: u64, writes: u64, watchers: &[(Watcher, Vec<String>)]) -> String {
    let connections: u64 =
        watchers.iter().map(|(watcher, _)| watcher.shown.lock().expect("shown").connections).sum();
    let letters = if letters_again > 0 { format!(", {letters_again} letters twice") } else { String::new() };
    let (records, bad, viewers) = (truth.records, truth.bad.len(), watchers.len());
    let writes = if writes > 0 { format!(", {writes} writes seen") } else { String::new() };
    format!("{records} records, {bad} bad{letters}{writes}, {connections} connections of {viewers} viewers")
}

/// What is still found when it has had so long to go away.
async fn settled(patience: Duration, mut look: impl AsyncFnMut() -> Vec<Finding>) -> Vec<Finding> {
    let start = Instant::now();
    loop {
        let found = look().await;
        if found.is_empty() || start.elapsed() > patience {
            return found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn uncommitted(sampler: &Sampler, patience: Duration) -> Vec<Finding> {
    // The look that is under way may have begun before the end of the load.
    let looks = sampler.now().looks + 2;
    let look = async || {
        let now = sampler.now();
        let is_done = now.looks >= looks && now.lag == Some(0);
        let what = || format!("{:?} is committed of {:?}", now.committed, now.ends);
        if is_done { Vec::new() } else { vec![Finding::new(Kind::NeverCommitted, what())] }
    };
    settled(patience, look).await
}

fn stale(truth: &Truth, watchers: &[(Watcher, Vec<String>)]) -> Vec<Finding> {
    let shown = watchers.iter().filter_map(|(watcher, keys)| {
        let what = truth.is_shown(watcher, keys).err()?;
        let connections = watcher.shown.lock().expect("shown").connections;
        Some(format!("to {:?} in connection {connections}: {what}", watcher.kind))
    });
    shown.map(|what| Finding::new(Kind::Stale, what)).collect()
}
