//! A store in which writers cross: all of them have asked who was first before any of them inserts.
//!
//! Invariant: beyond waiting for each other, the store is the one inside.

use crate::{
    adapters::memory::MemoryStore,
    document::{Document, Json},
    ports::{EntityId, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
    record::Position,
};
use futures_util::future::{BoxFuture, FutureExt};
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;

pub struct Crossing {
    store: Arc<MemoryStore>,
    asked: Barrier,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Whoever waits so long is not one of them.
const CROSS_WITHIN: Duration = Duration::from_secs(2);

impl Crossing {
    pub fn new(store: Arc<MemoryStore>, writers: usize) -> Self {
        Crossing { store, asked: Barrier::new(writers) }
    }
}

impl Store for Crossing {
    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> Answer<'a, Vec<(String, Position)>> {
        async move {
            let firsts = self.store.row_firsts(stream, name, ids).await;
            let _ = tokio::time::timeout(CROSS_WITHIN, self.asked.wait()).await; // the last ones cross nobody
            firsts
        }
        .boxed()
    }

    fn prepare<'a>(&'a self, stream: &'a str, rows: &'a [String]) -> Answer<'a, ()> {
        self.store.prepare(stream, rows)
    }

    fn last_epoch<'a>(&'a self, stream: &'a str) -> Answer<'a, Option<u32>> {
        self.store.last_epoch(stream)
    }

    fn epoch<'a>(
        &'a self,
        stream: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> Answer<'a, Option<(u32, bool)>> {
        self.store.epoch(stream, identity, last)
    }

    fn load<'a>(&'a self, stream: &'a str, ids: &'a [EntityId]) -> Answer<'a, Vec<Document>> {
        self.store.load(stream, ids)
    }

    fn load_partials<'a>(&'a self, stream: &'a str, key: &'a str) -> Answer<'a, Vec<Document>> {
        self.store.load_partials(stream, key)
    }

    fn write<'a>(&'a self, stream: &'a str, upserts: Vec<Upsert>) -> Answer<'a, usize> {
        self.store.write(stream, upserts)
    }

    fn insert_rows<'a>(&'a self, stream: &'a str, name: &'a str, rows: Vec<StoredRow>) -> Answer<'a, usize> {
        self.store.insert_rows(stream, name, rows)
    }

    fn load_row<'a>(&'a self, stream: &'a str, name: &'a str, id: &'a str) -> Answer<'a, Option<StoredRow>> {
        self.store.load_row(stream, name, id)
    }

    fn scan_rows<'a>(&'a self, stream: &'a str, name: &'a str, scan: RowScan) -> Answer<'a, Vec<StoredRow>> {
        self.store.scan_rows(stream, name, scan)
    }

    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> Answer<'a, Vec<Document>> {
        self.store.scan(stream, scan)
    }

    fn count<'a>(&'a self, stream: &'a str) -> Answer<'a, u64> {
        self.store.count(stream)
    }

    fn expired<'a>(&'a self, stream: &'a str, now_ms: i64, limit: usize) -> Answer<'a, Vec<Document>> {
        self.store.expired(stream, now_ms, limit)
    }

    fn forget<'a>(&'a self, stream: &'a str, ids: Vec<(EntityId, Position)>) -> Answer<'a, usize> {
        self.store.forget(stream, ids)
    }

    fn put_mark<'a>(&'a self, name: &'a str, json: Json) -> Answer<'a, ()> {
        self.store.put_mark(name, json)
    }

    fn marks<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<(String, Json)>> {
        self.store.marks(prefix)
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.store.ping()
    }
}
