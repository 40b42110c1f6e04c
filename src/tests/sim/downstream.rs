//! Another stream that reads what the first one emitted, as it lies in the log: repeats, and repeats behind newer ones.
//!
//! Invariant: whatever was emitted how often, each key takes each in once, and those of one source key in order; at every
//! step, across restarts that begin again at what was committed and hold nothing.
//! Not here: how it came to be emitted again (`run`).

use super::tally::OF_ALL;
use crate::{
    adapters::memory::MemoryStore,
    app::{App, At, Poison, Reason, Step},
    engine::fold::{Assignment, Effects, Flight, Fold, FoldSettings},
    origin::{ORIGIN_HEADER, Origin},
    ports::{Scan, Store},
    record::{NewRecord, Record, Slice},
};
use futures_util::FutureExt;
use rand::{Rng, rngs::StdRng};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const STREAM: &str = "downstream";
const PARTITIONS: u32 = 2;

/// Keeps the ids of all it was sent, in order.
struct Keep;

impl App for Keep {
    type Event = String;
    type Entity = Vec<String>;

    fn decode(&self, record: &Record<'_>) -> Result<String, Poison> {
        let value: Value = serde_json::from_slice(record.value.unwrap_or_default()).unwrap_or_default();
        let id = value["id"].as_str().ok_or_else(|| Poison::new(Reason::MissingField, "it has no id"))?;
        Ok(id.to_owned())
    }

    fn step(&self, was: Option<Vec<String>>, id: String, _: &At<'_>) -> Step<Vec<String>> {
        let mut all = was.unwrap_or_default();
        all.push(id);
        Step::keep(all)
    }

    fn adds_up(&self) -> bool {
        true
    }
}

fn fold() -> Fold<Keep> {
    let settings = FoldSettings {
        stream: STREAM.into(),
        topic: super::tally::EMITS.into(),
        by_partition: false,
        has_row_ids: false,
        key_bytes_max: 8,
        value_bytes_max: 1 << 20,
        entity_bytes_max: 1 << 20,
        depth_max: 5,
        cache_bytes_max: 1 << 20,
        tombstone_keep_ms: 1_000,
        ttl_ms: None,
    };
    Fold::new(Arc::new(Keep), settings)
}

fn partition(record: &NewRecord) -> u32 {
    let key = record.key.as_deref().unwrap_or_default();
    key.iter().map(|&byte| u32::from(byte)).sum::<u32>() % PARTITIONS
}

fn origin(record: &NewRecord) -> Origin {
    let found = record.headers.iter().find(|(name, _)| name == ORIGIN_HEADER);
    let text = found.and_then(|(_, value)| value.clone()).expect("an origin");
    let text = String::from_utf8(text).expect("text");
    text.strip_suffix(&format!("/{}", super::tally::EMITS)).expect("its topic").parse().expect("an origin")
}

/// Reads what was emitted to its end. `counted`: by source key, what has to be there. Returns how many had been emitted
/// again, and how many of these behind something newer of their source and key.
pub fn judge(rng: &mut StdRng, emitted: &[NewRecord], counted: &BTreeMap<String, Vec<String>>) -> (u64, u64) {
    let store = MemoryStore::default();
    for of in 0..PARTITIONS {
        let log: Vec<&NewRecord> = emitted.iter().filter(|record| partition(record) == of).collect();
        let (mut fold, mut assignment, mut at) = (fold(), Arc::new(Assignment::new(1, of)), 0);
        while at < log.len() {
            let upto = (at + rng.random_range(1..6)).min(log.len());
            gather(&mut fold, &log, at..upto, &assignment);
            take(&mut fold, &store);
            look(&store, counted, false);
            at = upto;
            if rng.random_bool(0.2) {
                // Another instance begins where the last one had committed.
                (fold, assignment) = (self::fold(), Arc::new(Assignment::new(assignment.id + 1, of)));
                at -= rng.random_range(0..=at.min(4));
            }
        }
    }
    look(&store, counted, true);
    repeats(emitted)
}

fn gather(
    fold: &mut Fold<Keep>,
    log: &[&NewRecord],
    records: std::ops::Range<usize>,
    assignment: &Arc<Assignment>,
) {
    let mut slice = Slice::new(0, assignment.partition);
    for (offset, record) in records.clone().map(|at| (at as u64, log[at])) {
        let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        slice.push(offset, offset as i64, record.key.as_deref(), record.value.as_deref(), headers);
    }
    let flight = Flight { slice, id: 0, assignment: assignment.clone(), permit: None };
    fold.gather(Arc::new(flight), (0..records.len() as u32).collect());
}

fn take(fold: &mut Fold<Keep>, store: &MemoryStore) {
    let found = store.load(STREAM, &fold.missing()).now_or_never().expect("at once").expect("loaded");
    fold.admit(found).expect("they can be read");
    let Effects { letters, upserts, .. } = fold.fold(None).expect("folded");
    assert!(letters.is_empty(), "{letters:?}");
    let wanted = upserts.len();
    let taken = store.write(STREAM, upserts).now_or_never().expect("at once").expect("written");
    assert_eq!(taken, wanted, "nobody else writes");
    fold.confirm();
}

/// Each key holds the beginning of what it has to hold, and in the end all of it.
fn look(store: &MemoryStore, counted: &BTreeMap<String, Vec<String>>, at_rest: bool) {
    let scan = Scan { limit: 1_000, ..Scan::default() };
    let found = store.scan(STREAM, scan).now_or_never().expect("at once").expect("scanned");
    let mut held = BTreeMap::<(String, String), Vec<String>>::new();
    for document in found {
        let all: Vec<String> = serde_json::from_str(document.value.expect("a value").text()).expect("ids");
        for id in all {
            let source = id.split('-').next().expect("a key").to_owned();
            held.entry((document.key.to_string(), source)).or_default().push(id);
        }
    }
    for ((key, source), ids) in &held {
        assert!(key == source || key == OF_ALL, "{key} holds what {source} emitted");
        assert!(
            counted[source].starts_with(ids),
            "{key} holds {ids:?} of {source}, which emitted {counted:?}"
        );
    }
    if at_rest {
        let right = counted.iter().flat_map(|(source, ids)| {
            [source, OF_ALL].map(|key| ((key.to_owned(), source.clone()), ids.clone()))
        });
        assert_eq!(held, right.collect(), "at rest");
    }
}

fn repeats(emitted: &[NewRecord]) -> (u64, u64) {
    let (mut newest, mut seen) = (BTreeMap::new(), std::collections::BTreeSet::new());
    let (mut again, mut late) = (0, 0);
    for record in emitted {
        let origin = origin(record);
        let newest = newest.entry((record.key.clone(), origin.lane)).or_insert(origin.position.offset);
        if !seen.insert((record.key.clone(), origin.to_string())) {
            again += 1;
            late += u64::from(origin.position.offset < *newest);
        }
        *newest = origin.position.offset.max(*newest);
    }
    (again, late)
}
