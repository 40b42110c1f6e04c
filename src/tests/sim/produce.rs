//! Records of every kind, as producers send them: values, removals, conditions, duplicates of events, and poison of known kinds.

use super::{
    App, Profile,
    model::{Intent, Rec},
    run::{KEEP_S, PARTITIONS},
    world::{FORBIDDEN, Inner},
};
use crate::clock;
use rand::{Rng, rngs::StdRng};
use std::collections::BTreeSet;

const KEYS: u64 = 6;
/// A version that no key reaches.
const NEVER: u64 = 1_000_000;

/// All keys that there may be, but for those of poison.
pub fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("k{key}"))
}

/// Where a key's records are.
pub fn partition_of(key: &str) -> u32 {
    let number: usize = key.trim_start_matches('k').parse().expect("a number");
    (number % PARTITIONS) as u32
}

pub struct Producer {
    left: usize,
    made: u64,
    forgetting: bool,
    strays: u32,
    recreated: bool,
    poison_percent: u32,
    forbidden_percent: u32,
    /// Keys that have had what the store refuses, and get nothing else any more: what came behind it in one batch would
    /// hide it, and its fate would hang on how batches are cut.
    spent: BTreeSet<u64>,
    app: App,
    events: Vec<(u64, String, i64)>,
}

impl Producer {
    pub fn new(profile: &Profile, records: usize) -> Self {
        let (poison_percent, app) = (profile.poison, profile.app);
        let forbidden_percent = profile.forbidden;
        let (spent, events) = (BTreeSet::new(), Vec::new());
        let forgetting = profile.forgetting > 0;
        Producer {
            left: records,
            made: 0,
            forgetting,
            strays: profile.strays,
            recreated: profile.recreations > 0,
            poison_percent,
            forbidden_percent,
            spent,
            app,
            events,
        }
    }

    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    pub fn next(&mut self, rng: &mut StdRng, inner: &Inner) -> Rec {
        self.left -= 1;
        self.made += 1;
        // Some keys are hot.
        let key = rng.random_range(0..KEYS).min(rng.random_range(0..KEYS));
        let mut partition = (key as usize % PARTITIONS) as u32;
        if self.strays > 0 && rng.random_range(0..100) < self.strays {
            partition = (partition + 1) % PARTITIONS as u32;
        }
        let offset = inner.log[partition as usize].len() as u64;
        // Times go back now and then: within a partition they decide nothing.
        let mut time_ms = (clock::now_ms() + self.made as i64 * 10) - rng.random_range(0..25);
        // As when a topic is read again: the record is older than any tombstone is kept.
        if self.forgetting && rng.random_bool(0.3) {
            time_ms -= 2_000 * KEEP_S as i64;
        }
        if self.strays > 0 {
            // Across partitions they decide, if each goes by them.
            time_ms = clock::now_ms() + self.made as i64 * 10;
        }
        let name = format!("k{key}").into_bytes();
        let plain = Rec {
            partition,
            offset,
            time_ms,
            key: Some(name.clone()),
            value: None,
            condition: None,
            event: None,
            waiter: None,
            intent: Intent::Value,
            epoch: inner.identity,
        };
        if rng.random_range(0..100) < self.poison_percent {
            return poison(rng, plain);
        }
        let forbidden = self.forbidden_percent > 0 && rng.random_range(0..100) < self.forbidden_percent;
        if forbidden || self.spent.contains(&key) {
            self.spent.insert(key);
            let condition = condition(rng, inner, &name);
            let value = Some(format!("{{\"n\":{},{FORBIDDEN}:1}}", self.made).into_bytes());
            return Rec { value, condition, intent: Intent::Forbidden, ..plain };
        }
        if rng.random_range(0..100) < if self.forgetting { 35 } else { 12 } {
            return Rec { intent: Intent::Remove, ..plain };
        }
        match self.app {
            App::Kv => {
                let mut condition = condition(rng, inner, &name);
                if self.strays > 0 || self.recreated {
                    condition = condition.map(|_| NEVER);
                } else if self.forgetting {
                    // Which version a key is at hangs on when it was forgotten; whether it is there does not.
                    condition = condition.map(|version| if version == 0 { 0 } else { NEVER });
                }
                Rec { value: Some(format!("{{\"n\":{}}}", self.made).into_bytes()), condition, ..plain }
            }
            App::Tally => self.event(rng, key, plain),
        }
    }

    /// A new event, or one of this key's again.
    fn event(&mut self, rng: &mut StdRng, key: u64, plain: Rec) -> Rec {
        let again = self.events.iter().rev().find(|event| event.0 == key).cloned();
        let (id, n) = match again.filter(|_| rng.random_bool(0.3)) {
            Some((_, id, n)) => (id, n),
            None => (format!("k{key}-{}", self.made), rng.random_range(1..100)),
        };
        self.events.push((key, id.clone(), n));
        let value = format!("{{\"id\":\"{id}\",\"n\":{n}}}").into_bytes();
        Rec { value: Some(value), event: Some((id, n)), ..plain }
    }
}

/// Sometimes, and then on the version of the key or the one before.
fn condition(rng: &mut StdRng, inner: &Inner, name: &[u8]) -> Option<u64> {
    let version = inner.model.entities.get(&*String::from_utf8_lossy(name)).map_or(0, |e| e.version);
    let near = version.saturating_sub(rng.random_range(0..2));
    (rng.random_range(0..100) < 20).then_some(near)
}

fn poison(rng: &mut StdRng, plain: Rec) -> Rec {
    let plain = Rec { intent: Intent::Poison, value: Some(b"1".to_vec()), ..plain };
    match rng.random_range(0..7) {
        0 => Rec { key: None, ..plain },
        1 => Rec { key: Some(Vec::new()), ..plain },
        2 => Rec { key: Some(b"\xff".to_vec()), ..plain },
        3 => Rec { key: Some(vec![b'k'; 9]), ..plain },
        4 => Rec { value: Some(b"{\"a\":".to_vec()), ..plain },
        5 => Rec { value: Some(vec![b'['; 6].into_iter().chain(vec![b']'; 6]).collect()), ..plain },
        _ => Rec { value: Some(format!("\"{}\"", "x".repeat(95)).into_bytes()), ..plain },
    }
}
