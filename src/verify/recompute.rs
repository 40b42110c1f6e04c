//! One partition folded again from its first record, each stored entity compared as the fold comes to where it stands.
//!
//! Invariant: the writer's own fold decides; a batch ends wherever a stored entity stands, so that each is seen as it was
//! then. Of the store one thing is believed: which of two partitions brought an event first, for no log says that.
//! Not here: what else the store holds.

use super::{Report, Stored, compare};
use crate::{
    cli::Exit,
    clock,
    document::Document,
    engine::{
        fold::{Assignment, Flight, ShardFold},
        stream::StreamSpec,
    },
    ports::{PartitionReader, PullLimit, Store},
    record::{Key, Position, Slice},
    serve::Fault,
};
use indicatif::ProgressBar;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{sync::Arc, time::Duration};

const PULL: PullLimit = PullLimit { records_max: 1_000, bytes_max: 1 << 20 };
/// A log that gives nothing for so long, though it has more, is away.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Recomputed<'s> {
    fold: Box<dyn ShardFold>,
    spec: &'s StreamSpec,
    store: Arc<dyn Store>,
    stored: Stored,
    /// Offsets at which something is stored.
    stands: FxHashSet<u64>,
    /// Who of this partition inserted each row first, as the log says.
    firsts: FxHashMap<String, Position>,
    /// What the log says beyond what is stored, newest per entity.
    beyond: FxHashMap<(Key, Option<u32>), Document>,
    /// The log does not begin at its beginning: versions and histories cannot be had.
    is_cut: bool,
    assignment: Arc<Assignment>,
    now_ms: i64,
}

impl<'s> Recomputed<'s> {
    pub fn new(
        fold: Box<dyn ShardFold>,
        spec: &'s StreamSpec,
        store: Arc<dyn Store>,
        stored: Stored,
        is_cut: bool,
    ) -> Self {
        let stands = stored.documents.values().map(|document| document.position.offset).collect();
        Recomputed {
            fold,
            spec,
            store,
            stored,
            stands,
            firsts: FxHashMap::default(),
            beyond: FxHashMap::default(),
            is_cut,
            assignment: Arc::new(Assignment::new(1, 0)),
            now_ms: clock::now_ms(),
        }
    }

    /// Folds every record up to the offset `upto`.
    pub async fn run(
        &mut self,
        mut reader: Box<dyn PartitionReader>,
        upto: u64,
        bar: &ProgressBar,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let mut reached = None;
        while reached.is_none_or(|reached| reached < upto) {
            let pulled = tokio::time::timeout(PATIENCE, reader.pull(PULL)).await;
            let late = |_| Fault::new(Exit::Unavailable, "the log gives no further records");
            let slice = pulled.map_err(late)?.map_err(super::log_fault)?;
            let records = slice.iter().take_while(|record| record.position.offset <= upto).count();
            let before = reached;
            reached = slice.last_offset().or(reached);
            report.records += records as u64;
            if let Some(last) = reached {
                // Offsets have holes: what is passed is what counts.
                let last = last.min(upto);
                bar.inc(last.saturating_sub(before.unwrap_or(last)));
            }
            self.slice(slice, records, report).await?;
        }
        Ok(())
    }

    async fn slice(&mut self, slice: Slice, records: usize, report: &mut Report) -> Result<(), Fault> {
        let offsets: Vec<u64> = slice.iter().take(records).map(|record| record.position.offset).collect();
        let flight = Arc::new(Flight { slice, id: 0, assignment: self.assignment.clone(), permit: None });
        let mut from = 0;
        for (at, offset) in offsets.iter().enumerate() {
            if self.stands.contains(offset) || at + 1 == offsets.len() {
                self.batch(&flight, (from..=at as u32).collect(), report).await?;
                from = at as u32 + 1;
            }
        }
        Ok(())
    }

    async fn batch(
        &mut self,
        flight: &Arc<Flight>,
        indices: Vec<u32>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let fault = |error: crate::engine::fold::Fault| Fault::new(Exit::Internal, error.to_string());
        self.fold.gather(flight.clone(), indices);
        // Nothing is held but what this fold made, so what is not held was never there.
        self.fold.admit(Vec::new()).map_err(fault)?;
        let firsts = self.firsts_of(self.fold.row_ids(), flight.slice.partition()).await?;
        self.fold.admit_firsts(firsts);
        let effects = self.fold.fold().map_err(fault)?;
        for (_, row) in effects.rows {
            self.firsts.entry(row.id).or_insert(row.first);
        }
        for upsert in effects.upserts {
            self.compare(upsert.document, report);
        }
        self.fold.confirm();
        Ok(())
    }

    /// Who brought these events first, as far as it was not one of the records that are folded now.
    async fn firsts_of(&self, ids: Vec<String>, partition: u32) -> Result<Vec<(String, Position)>, Fault> {
        let (known, new): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| self.firsts.contains_key(id));
        let ours = known.into_iter().filter_map(|id| self.firsts.get(&id).copied().map(|first| (id, first)));
        let mut firsts: Vec<_> = ours.collect();
        if let Some(rows) = self.spec.rows.first().filter(|_| !new.is_empty()) {
            let stored = self.store.row_firsts(&self.spec.collection, rows, &new).await;
            let stored = stored.map_err(super::store_fault)?;
            firsts.extend(stored.into_iter().filter(|(_, first)| first.partition != partition));
        }
        Ok(firsts)
    }

    fn compare(&mut self, expected: Document, report: &mut Report) {
        let id = (expected.key.clone(), expected.partial);
        match self.stored.documents.get(&id) {
            Some(stored) if stored.position == expected.position => {
                report.compared += 1;
                if let Some(what) =
                    compare::difference(self.spec, stored, &expected, self.is_cut, self.now_ms)
                {
                    report.differs(stored, what);
                }
                self.stored.documents.remove(&id);
            }
            // It will come to where it is stored.
            Some(_) => {}
            None => drop(self.beyond.insert(id, expected)),
        }
    }

    /// Tells what is stored where the log has nothing of it; returns what the store seems to lack.
    pub fn finish(self, report: &mut Report) -> Vec<Document> {
        for stored in self.stored.documents.values() {
            if self.is_cut {
                report.passed_over += 1;
            } else {
                let at = stored.position;
                report.differs(stored, format!("store is at {at}, where the log has no change of it"));
            }
        }
        self.beyond.into_values().collect()
    }
}
