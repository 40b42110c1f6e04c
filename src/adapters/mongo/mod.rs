//! The store on MongoDB: one collection per stream, a document per key.
//!
//! Invariant: what is confirmed here is held by a majority with its journal, and what is read here cannot be taken back.
//! The guard travels with every statement, so a call whose outcome is unknown may simply be made again.
//! Not here: retrying and breaking the circuit (the engine's), and any cache.

mod call;
mod connect;
mod errors;
mod guard;
pub mod json;
mod pack;
mod read;
mod register;
mod reply;
mod rows;
mod statements;
#[cfg(test)]
mod tests;

use self::{
    call::{Door, Find},
    pack::Shape,
    reply::Taken,
};
use crate::{
    document::{Document, Json},
    ports::{EntityId, RefusedDocument, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
    record::Position,
};
use bson::{RawDocumentBuf, rawdoc};
use futures_util::future::{BoxFuture, FutureExt};

/// Collections that are the engine's own, so no stream's.
const RESERVED: [&str; 3] = [register::STREAMS, register::MARKS, "timers"];
/// The index that holds tombstones only.
const TOMBSTONES: &str = "tombstones";
/// Up to so many documents are counted one by one.
const COUNTED_MAX: u64 = 10_000;

/// Made by `connect`. Writers and readers have connections of their own.
#[derive(Debug, Clone)]
pub struct MongoStore {
    writers: Door,
    readers: Door,
    terms: pack::Terms,
    /// The read concern that shows nothing a failover could take back.
    confirmed: &'static str,
    /// The read concern that shows the newest at the price of a round to the majority.
    newest: &'static str,
}

impl MongoStore {
    /// The same store for HTTP and live rooms: all its calls, `load` too, use the readers' connections.
    pub fn for_readers(&self) -> Self {
        MongoStore { writers: self.readers.clone(), ..self.clone() }
    }

    async fn create(&self, collection: &str) -> Result<(), StoreError> {
        let create = rawdoc! { "create": collection, "writeConcern": self.terms.write_concern.clone() };
        let database = self.writers.database.clone();
        let created = async move {
            match database.run_raw_command(create).await {
                Err(error) if is_there_already(&error) => Ok(()),
                answer => answer.map(|_| ()),
            }
        };
        self.writers.call(created).await
    }

    async fn index(
        &self,
        collection: &str,
        name: &str,
        key: RawDocumentBuf,
        sparse: bool,
    ) -> Result<(), StoreError> {
        let create = rawdoc! {
            "createIndexes": collection,
            "indexes": [rawdoc! { "name": name, "key": key, "sparse": sparse }],
            "writeConcern": self.terms.write_concern.clone(),
        };
        self.writers.command(create).await.map(|_| ())
    }

    async fn prepare_all(&self, stream: &str, rows: &[String]) -> Result<(), StoreError> {
        let wrong = stream.is_empty() || stream.starts_with("system.") || stream.contains(['$', '\0']);
        if wrong || RESERVED.contains(&stream) {
            return Err(StoreError::Fatal(format!("a stream cannot be named {stream:?} in MongoDB")));
        }
        for own in [register::STREAMS, register::MARKS, stream] {
            self.create(own).await?;
        }
        self.index(stream, TOMBSTONES, rawdoc! { "deleted": 1, "expires": 1 }, true).await?;
        for name in rows {
            let collection = rows::collection(stream, name);
            self.create(&collection).await?;
            for (index, key) in rows::indexes() {
                self.index(&collection, index, key, false).await?;
            }
        }
        Ok(())
    }

    /// A refusal by a statement for many documents names none of them: all are tried again in a statement each, which the
    /// guard allows for.
    async fn upsert(&self, stream: &str, upserts: Vec<Upsert>) -> Result<usize, StoreError> {
        let mut taken = self.send(stream, &upserts, Shape::Together).await?;
        if !taken.refused.is_empty() {
            taken = self.send(stream, &upserts, Shape::Apart).await?;
        }
        let named = taken.refused.into_iter().filter_map(|(at, poison)| {
            let document = &upserts.get(at)?.document;
            let id = EntityId { key: document.key.clone(), partial: document.partial };
            Some(RefusedDocument { id, poison })
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() { Ok(taken.count) } else { Err(StoreError::RefusedDocuments(named)) }
    }

    async fn send(&self, stream: &str, upserts: &[Upsert], shape: Shape) -> Result<Taken, StoreError> {
        let (commands, mut too_large) = statements::upserts(&self.terms, stream, upserts, shape)?;
        let mut taken = self.writers.write_each(commands).await?;
        taken.refused.append(&mut too_large);
        Ok(taken)
    }

    async fn documents(&self, door: &Door, find: Find<'_>) -> Result<Vec<Document>, StoreError> {
        if find.limit == 0 {
            return Ok(Vec::new());
        }
        let batches = door.find(find.command(&self.terms)).await?;
        let mut scratch = Vec::new();
        call::each(&batches, |raw| read::document(raw, &mut scratch))
    }

    /// A page, and with it all partials of its last key.
    async fn page(&self, stream: &str, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let mut page = self.documents(&self.readers, read::page(stream, scan, self.confirmed)).await?;
        let cut =
            page.last().filter(|_| page.len() == scan.limit).map(|last| (last.key.clone(), last.partial));
        if let Some((key, Some(partition))) = cut {
            let rest = read::partials(stream, &key, Some(partition), scan.with_removed, self.confirmed);
            page.append(&mut self.documents(&self.readers, rest).await?);
        }
        Ok(page)
    }

    /// Exact for small streams. Of large ones the server's own count, which is kept beside the data and may be off after a
    /// crash of the server, without the tombstones, which are counted in their index.
    async fn count_all(&self, stream: &str) -> Result<u64, StoreError> {
        let some = rawdoc! { "_id": { "$gte": bson::RawBson::MinKey } };
        let mut all = self.count_of(stream, Some((some, "_id_", COUNTED_MAX))).await?;
        if all >= COUNTED_MAX {
            all = self.count_of(stream, None).await?;
        }
        let removed = self.count_of(stream, Some((rawdoc! { "deleted": true }, TOMBSTONES, 0))).await?;
        Ok(all.saturating_sub(removed))
    }

    /// `within`: a filter, the index that answers it alone, and where to stop counting (0: nowhere).
    async fn count_of(
        &self,
        stream: &str,
        within: Option<(RawDocumentBuf, &str, u64)>,
    ) -> Result<u64, StoreError> {
        let mut count = rawdoc! { "count": stream, "maxTimeMS": self.terms.time_max_ms };
        if let Some((filter, index, limit)) = within {
            count.append(bson::raw::cstr!("query"), filter);
            count.append(bson::raw::cstr!("hint"), index);
            count.append(bson::raw::cstr!("limit"), limit as i64);
        }
        let answer = self.readers.command(count).await?;
        let n = reply::count(&answer, "n");
        n.map(|n| n as u64).ok_or_else(|| StoreError::Unavailable("MongoDB: a count without a number".into()))
    }

    async fn rows(&self, find: Find<'_>) -> Result<Vec<StoredRow>, StoreError> {
        if find.limit == 0 {
            return Ok(Vec::new());
        }
        let batches = self.readers.find(find.command(&self.terms)).await?;
        let mut scratch = Vec::new();
        call::each(&batches, |raw| rows::row(raw, &mut scratch))
    }
}

fn is_there_already(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(e) if e.code == errors::NAMESPACE_EXISTS)
}

impl Store for MongoStore {
    fn prepare<'a>(&'a self, stream: &'a str, rows: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.prepare_all(stream, rows).boxed()
    }

    fn last_epoch<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>> {
        async move { Ok(self.registered(stream).await?.map(|held| held.epoch)) }.boxed()
    }

    fn epoch<'a>(
        &'a self,
        stream: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>> {
        self.register(stream, identity, last).boxed()
    }

    fn load<'a>(
        &'a self,
        stream: &'a str,
        ids: &'a [EntityId],
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        async move {
            let find = read::by_ids(stream, ids, self.confirmed)?;
            self.documents(&self.writers, find).await
        }
        .boxed()
    }

    fn load_partials<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        let find = read::partials(stream, key, None, true, self.confirmed);
        self.documents(&self.readers, find).boxed()
    }

    fn write<'a>(
        &'a self,
        stream: &'a str,
        upserts: Vec<Upsert>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.upsert(stream, upserts).boxed()
    }

    fn insert_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        async move {
            let commands = statements::rows(&self.terms, &rows::collection(stream, name), &rows)?;
            drop(rows);
            self.writers.write(commands).await
        }
        .boxed()
    }

    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>> {
        async move {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let collection = rows::collection(stream, name);
            let find = rows::by_ids(&collection, ids, self.confirmed);
            let batches = self.writers.find(find.command(&self.terms)).await?;
            call::each(&batches, rows::first)
        }
        .boxed()
    }

    fn load_row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>> {
        async move {
            let collection = rows::collection(stream, name);
            let find = rows::by_ids(&collection, &[id.to_owned()], self.confirmed);
            Ok(self.rows(find).await?.pop())
        }
        .boxed()
    }

    fn scan_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>> {
        async move {
            let collection = rows::collection(stream, name);
            self.rows(rows::page(&collection, &scan, self.confirmed)).await
        }
        .boxed()
    }

    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        async move { self.page(stream, &scan).await }.boxed()
    }

    fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.count_all(stream).boxed()
    }

    fn expired<'a>(
        &'a self,
        stream: &'a str,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        self.documents(&self.writers, read::expired(stream, now_ms, limit, self.confirmed)).boxed()
    }

    fn forget<'a>(
        &'a self,
        stream: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        async move {
            let commands = statements::deletes(&self.terms, stream, &ids)?;
            self.writers.write(commands).await
        }
        .boxed()
    }

    fn put_mark<'a>(&'a self, name: &'a str, json: Json) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.keep_mark(name, &json).await }.boxed()
    }

    fn marks<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Json)>, StoreError>> {
        self.marks_of(prefix).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let hello = self.writers.command(rawdoc! { "hello": 1 }).await?;
            match hello.get_bool("isWritablePrimary") {
                Ok(true) => Ok(()),
                _ => Err(StoreError::Unavailable("MongoDB: the node is not primary".into())),
            }
        }
        .boxed()
    }
}
