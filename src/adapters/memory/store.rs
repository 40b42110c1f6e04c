//! The store in this process's memory: ordered maps under one lock.
//!
//! Invariant: the guard is `Upsert::applies_to`, taken under the lock, so that writers at once cannot pass each other.
//! Not here: any bound; it holds whatever is written, unless it is told to refuse something.

use crate::{
    app::Poison,
    document::{Document, Json},
    ports::{EntityId, RefusedDocument, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
    record::{Key, Position},
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Held>);

/// What a document is refused for, as a rule of a real store would.
pub type Rule = fn(&Document) -> Option<Poison>;

#[derive(Debug, Default)]
struct Held {
    rule: Option<Rule>,
    streams: HashMap<String, Stream>,
    marks: BTreeMap<String, Json>,
}

#[derive(Debug, Default)]
struct Stream {
    entities: BTreeMap<(Key, Option<u32>), Entity>,
    rows: HashMap<String, Rows>,
    /// Identity of the log, and its epoch.
    epoch: Option<(String, u32)>,
}

#[derive(Debug)]
struct Entity {
    document: Document,
    expires_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Rows {
    by_id: HashMap<String, StoredRow>,
    by_time: BTreeMap<(i64, String), ()>,
}

impl MemoryStore {
    /// From here on documents are refused by this rule, in every stream.
    #[cfg(test)]
    pub fn refuse(&self, rule: Rule) {
        self.held().rule = Some(rule);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on a stream, which comes into being when first named.
    fn with<T>(&self, stream: &str, work: impl FnOnce(&mut Stream) -> T) -> T {
        work(self.held().streams.entry(stream.to_owned()).or_default())
    }
}

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl Stream {
    fn write(&mut self, upserts: Vec<Upsert>, rule: Option<Rule>) -> Result<usize, StoreError> {
        let (mut applied, mut refused) = (0, Vec::new());
        for upsert in upserts {
            let id = (upsert.document.key.clone(), upsert.document.partial);
            let stored = self.entities.get(&id).map(|entity| &entity.document);
            if !upsert.applies_to(stored) {
                continue;
            }
            if let Some(poison) = rule.and_then(|rule| rule(&upsert.document)) {
                let (key, partial) = id;
                refused.push(RefusedDocument { id: EntityId { key, partial }, poison });
            } else {
                let Upsert { document, expires_ms, .. } = upsert;
                self.entities.insert(id, Entity { document, expires_ms });
                applied += 1;
            }
        }
        if refused.is_empty() { Ok(applied) } else { Err(StoreError::RefusedDocuments(refused)) }
    }

    fn scan(&self, scan: &Scan) -> Vec<Document> {
        let prefix = scan.prefix.as_deref().unwrap_or_default();
        let (from, after) = (scan.from.as_deref().unwrap_or_default(), scan.after.as_deref());
        let first: Key = from.max(prefix).max(after.unwrap_or_default()).into();
        let mut page: Vec<Document> = Vec::new();
        for (id, entity) in self.entities.range((Bound::Included((first, None)), Bound::Unbounded)) {
            let same_key = page.last().is_some_and(|last| last.key == id.0);
            if !id.0.starts_with(prefix) || (page.len() >= scan.limit && !same_key) {
                break;
            }
            if after != Some(&*id.0) && (scan.with_removed || entity.document.value.is_some()) {
                page.push(entity.document.clone());
            }
        }
        page
    }

    fn forget(&mut self, ids: Vec<(EntityId, Position)>) -> usize {
        let mut gone = 0;
        for (id, position) in ids {
            let id = (id.key, id.partial);
            if self.entities.get(&id).is_some_and(|entity| entity.document.position == position) {
                self.entities.remove(&id);
                gone += 1;
            }
        }
        gone
    }

    fn last_epoch(&self) -> Option<u32> {
        self.epoch.as_ref().map(|(_, epoch)| *epoch)
    }

    fn epoch(&mut self, identity: &str, last: Option<u32>) -> Option<(u32, bool)> {
        let found = match &self.epoch {
            Some((known, epoch)) if known == identity => return Some((*epoch, false)),
            _ if self.last_epoch() != last => return None,
            Some((_, epoch)) => (epoch + 1, true),
            None => (0, false),
        };
        self.epoch = Some((identity.to_owned(), found.0));
        Some(found)
    }
}

impl Rows {
    fn insert(&mut self, rows: Vec<StoredRow>) -> usize {
        let were = self.by_id.len();
        for row in rows {
            if !self.by_id.contains_key(&row.id) {
                self.by_time.insert((row.time_ms, row.id.clone()), ());
                self.by_id.insert(row.id.clone(), row);
            }
        }
        self.by_id.len() - were
    }

    fn scan(&self, scan: &RowScan) -> Vec<StoredRow> {
        let wanted = |id: &(i64, String)| self.by_id.get(&id.1).filter(|row| scan.wants(row)).cloned();
        let after = scan.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        if scan.newest_first {
            let ids = self.by_time.range((Bound::Unbounded, after)).rev();
            return ids.filter_map(|(id, ())| wanted(id)).take(scan.limit).collect();
        }
        let ids = self.by_time.range((after, Bound::Unbounded));
        ids.filter_map(|(id, ())| wanted(id)).take(scan.limit).collect()
    }
}

impl Store for MemoryStore {
    fn prepare<'a>(&'a self, stream: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with(stream, |_| ());
        done(())
    }

    fn last_epoch<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>> {
        done(self.with(stream, |stream| stream.last_epoch()))
    }

    fn epoch<'a>(
        &'a self,
        stream: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>> {
        done(self.with(stream, |stream| stream.epoch(identity, last)))
    }

    fn load<'a>(
        &'a self,
        stream: &'a str,
        ids: &'a [EntityId],
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(self.with(stream, |stream| {
            let found = ids.iter().filter_map(|id| stream.entities.get(&(id.key.clone(), id.partial)));
            found.map(|entity| entity.document.clone()).collect()
        }))
    }

    fn load_partials<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        let range = (Key::from(key), Some(0))..=(Key::from(key), Some(u32::MAX));
        done(self.with(stream, |stream| {
            stream.entities.range(range).map(|(_, entity)| entity.document.clone()).collect()
        }))
    }

    fn write<'a>(
        &'a self,
        stream: &'a str,
        upserts: Vec<Upsert>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        let rule = self.held().rule;
        ready(self.with(stream, |stream| stream.write(upserts, rule))).boxed()
    }

    fn insert_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        done(self.with(stream, |stream| stream.rows.entry(name.to_owned()).or_default().insert(rows)))
    }

    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>> {
        done(self.with(stream, |stream| {
            let Some(rows) = stream.rows.get(name) else { return Vec::new() };
            let found = ids.iter().filter_map(|id| rows.by_id.get(id));
            found.map(|row| (row.id.clone(), row.first)).collect()
        }))
    }

    fn load_row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>> {
        done(self.with(stream, |stream| stream.rows.get(name).and_then(|rows| rows.by_id.get(id).cloned())))
    }

    fn scan_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>> {
        done(self.with(stream, |stream| stream.rows.get(name).map_or(Vec::new(), |rows| rows.scan(&scan))))
    }

    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(self.with(stream, |stream| stream.scan(&scan)))
    }

    fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        done(self.with(stream, |stream| {
            stream.entities.values().filter(|entity| entity.document.value.is_some()).count() as u64
        }))
    }

    fn expired<'a>(
        &'a self,
        stream: &'a str,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(self.with(stream, |stream| {
            let gone = stream.entities.values().filter(|e| e.expires_ms.is_some_and(|at| at <= now_ms));
            gone.take(limit).map(|entity| entity.document.clone()).collect()
        }))
    }

    fn forget<'a>(
        &'a self,
        stream: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        done(self.with(stream, |stream| stream.forget(ids)))
    }

    fn put_mark<'a>(&'a self, name: &'a str, json: Json) -> BoxFuture<'a, Result<(), StoreError>> {
        self.held().marks.insert(name.to_owned(), json);
        done(())
    }

    fn marks<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Json)>, StoreError>> {
        let held = self.held();
        let from = held.marks.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        done(from.map(|(name, json)| (name.clone(), json.clone())).collect())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        done(())
    }
}
