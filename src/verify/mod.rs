//! `statecast verify`: everything a stream has stored, computed again from its log by the very same step.
//!
//! Invariant: only reads; like is compared with like: each entity at the position it is stored at, and what the store lacks
//! only up to the furthest position it has of that partition. So it may run beside a live instance.
//! Not here: how a document is compared (`compare`), how a partition is folded (`recompute`).

mod compare;
mod recompute;
#[cfg(test)]
mod tests;

use crate::{
    cli::Exit,
    config::{self, Config},
    document::Document,
    engine::{fold::FoldSettings, stream::StreamSpec},
    ports::{EntityId, LogError, Ports, Scan, StoreError},
    serve::Fault,
};
use indicatif::{ProgressBar, ProgressStyle};
use recompute::Recomputed;
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, fmt};

/// Documents in one page of a scan.
const SCAN_PAGE: usize = 1_000;
/// Differences told of one stream; more are counted.
const TOLD_MAX: usize = 1_000;

/// One difference between store and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub stream: String,
    pub key: String,
    pub partial: Option<u32>,
    /// What differs: `store has ..., log says ...`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.stream, self.key)?;
        if let Some(partition) = self.partial {
            write!(f, " (partition {partition})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What came of one stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub stream: String,
    pub records: u64,
    /// Entities (or partials) that were compared.
    pub compared: u64,
    /// Not told apart: the log no longer has what they were made of, their topic was made anew, they came from another
    /// partition, or they moved on while this was read.
    pub passed_over: u64,
    pub differences: Vec<Difference>,
    /// Beyond those that are told.
    pub more: u64,
}

impl Report {
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }

    fn differs(&mut self, document: &Document, what: String) {
        if self.differences.len() == TOLD_MAX {
            self.more += 1;
            return;
        }
        let (stream, key) = (self.stream.clone(), document.key.to_string());
        self.differences.push(Difference { stream, key, partial: document.partial, what });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        let Report { stream, records, compared, passed_over, differences, more } = self;
        let found = differences.len() as u64 + more;
        write!(f, "{stream}: {records} records read, {compared} compared, {found} differences")?;
        if *passed_over > 0 {
            write!(f, ", {passed_over} passed over")?;
        }
        Ok(())
    }
}

/// The streams of this name: one of that name, or all of the app's.
pub fn chosen(specs: Vec<StreamSpec>, name: &str) -> Result<Vec<StreamSpec>, Fault> {
    let names: Vec<String> = specs.iter().map(|spec| spec.name.to_string()).collect();
    let is = |spec: &StreamSpec| &*spec.name == name || spec.app.as_deref() == Some(name);
    let chosen: Vec<StreamSpec> = specs.into_iter().filter(is).collect();
    if chosen.is_empty() {
        let why = format!("no enabled stream or app is named {name:?}; there are {}", names.join(", "));
        return Err(Fault::new(Exit::Configuration, why));
    }
    Ok(chosen)
}

/// Computes one stream again and compares it with what is stored.
pub async fn stream(config: &Config, ports: &Ports, spec: &StreamSpec) -> Result<Report, Fault> {
    let identity = ports.log.identity(&spec.topic.name).await.map_err(log_fault)?;
    let why = || Fault::new(Exit::Unavailable, format!("there is no topic {}", spec.topic.name));
    let partitions = identity.ok_or_else(why)?.partitions;
    let mut stored = by_partition(ports, spec).await?;
    // Only documents tell the epoch without claiming a new one.
    let epochs = stored.values().flatten().map(|document| document.position.epoch);
    let epoch = epochs.max().unwrap_or(0);
    let mut report = Report { stream: spec.name.to_string(), ..Report::default() };
    let bar = bar(&spec.name);
    for partition in 0..partitions {
        let documents = stored.remove(&partition).unwrap_or_default();
        let (current, old): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| document.position.epoch == epoch);
        report.passed_over += old.len() as u64;
        let stored = Stored::new(current);
        let (from, end) = ports.log.bounds(&spec.topic.name, partition).await.map_err(log_fault)?;
        let Some(upto) = stored.furthest.filter(|upto| (from..end).contains(upto)) else {
            // Nothing stored of it, or nothing left of what was stored.
            report.passed_over += stored.documents.len() as u64;
            continue;
        };
        bar.inc_length(upto + 1 - from);
        let reader = ports.log.read(&spec.topic.name, epoch, partition, from).map_err(log_fault)?;
        let fold = (spec.fold)(settings(&config.engine, spec));
        let mut recomputed = Recomputed::new(fold, spec, ports.readers.clone(), stored, from > 0);
        recomputed.run(reader, upto, &bar, &mut report).await?;
        let behind = recomputed.finish(&mut report);
        look_again(ports, spec, behind, &mut report).await?;
    }
    // Partitions that the topic no longer has.
    report.passed_over += stored.values().map(|documents| documents.len() as u64).sum::<u64>();
    bar.finish_and_clear();
    Ok(report)
}

/// What the store seemed to lack may have been on its way.
async fn look_again(
    ports: &Ports,
    spec: &StreamSpec,
    behind: Vec<Document>,
    report: &mut Report,
) -> Result<(), Fault> {
    for page in behind.chunks(SCAN_PAGE) {
        let ids: Vec<EntityId> =
            page.iter().map(|d| EntityId { key: d.key.clone(), partial: d.partial }).collect();
        let found = ports.readers.load(&spec.collection, &ids).await.map_err(store_fault)?;
        let found: FxHashMap<_, _> = found.into_iter().map(|d| ((d.key.clone(), d.partial), d)).collect();
        for expected in page {
            match found.get(&(expected.key.clone(), expected.partial)) {
                Some(stored) if stored.position.covers(&expected.position) => report.passed_over += 1,
                Some(stored) if stored.position.partition != expected.position.partition => {
                    report.passed_over += 1;
                }
                Some(stored) => {
                    let (at, says) = (stored.position, expected.position);
                    report.differs(expected, format!("store is at {at}, the log goes on to {says}"));
                }
                // A tombstone that was forgotten is no difference.
                None if expected.value.is_none() => report.passed_over += 1,
                None => {
                    report.differs(expected, format!("store has nothing, the log says {}", expected.position))
                }
            }
        }
    }
    Ok(())
}

/// What is stored of one partition.
struct Stored {
    documents: FxHashMap<(crate::record::Key, Option<u32>), Document>,
    furthest: Option<u64>,
}

impl Stored {
    fn new(documents: Vec<Document>) -> Self {
        let furthest = documents.iter().map(|document| document.position.offset).max();
        let documents = documents.into_iter().map(|d| ((d.key.clone(), d.partial), d)).collect();
        Stored { documents, furthest }
    }
}

async fn by_partition(ports: &Ports, spec: &StreamSpec) -> Result<BTreeMap<u32, Vec<Document>>, Fault> {
    let mut found: BTreeMap<u32, Vec<Document>> = BTreeMap::new();
    let mut after = None;
    loop {
        let scan = Scan { after: after.take(), limit: SCAN_PAGE, with_removed: true, ..Scan::default() };
        let page = ports.readers.scan(&spec.collection, scan).await.map_err(store_fault)?;
        let is_last = page.len() < SCAN_PAGE;
        after = page.last().map(|document| document.key.to_string());
        for document in page {
            found.entry(document.position.partition).or_default().push(document);
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// As a writer's, but that nothing is ever dropped from what it holds.
fn settings(engine: &config::Engine, spec: &StreamSpec) -> FoldSettings {
    FoldSettings {
        stream: spec.name.clone(),
        topic: spec.topic.name.as_str().into(),
        by_partition: spec.by_partition,
        has_row_ids: spec.has_row_ids,
        key_bytes_max: engine.key_bytes_max,
        value_bytes_max: engine.value_bytes_max,
        entity_bytes_max: engine.entity_bytes_max,
        depth_max: engine.depth_max,
        cache_bytes_max: usize::MAX,
        tombstone_keep_ms: (engine.tombstone_keep_s * 1000) as i64,
        ttl_ms: spec.ttl_ms,
    }
}

/// Hidden where standard error is no terminal.
fn bar(stream: &str) -> ProgressBar {
    let style = "{prefix} {bar:30} {pos}/{len} records, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(stream.to_owned())
}

fn log_fault(error: LogError) -> Fault {
    Fault::new(Exit::Unavailable, error.to_string())
}

fn store_fault(error: StoreError) -> Fault {
    Fault::new(Exit::Unavailable, error.to_string())
}
