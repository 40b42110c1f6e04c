//! The store on fjall.
//!
//! Invariant: a write is answered only once it is synced to disk. Reads and the looks before a write run on threads that
//! may wait for the disk; the writing thread only checks and writes.
//! Not here: the guard (`write`), rows (`rows`), pages (`pages`).

use super::{
    Root,
    changes::MakeCollection,
    commit::{Act, Group, Outcome, Staged},
    folder::Spaces,
    keys, pages,
    reads::Reads,
    registry::{self, Collection},
    rows::{InsertRows, NewRow, RaiseEpoch},
    write::{Forget, Put, Write},
};
use crate::{
    document::{Document, Json},
    ports::{EntityId, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
    record::Position,
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::oneshot;

/// Hashes of different kinds of names are kept apart by these.
const DOCUMENTS: u8 = 0;
const ROWS: u8 = 1;
const META: u8 = 2;

/// A batch no larger is looked up by the writing thread itself: another thread would cost more than it saves.
const SMALL: usize = 8;

pub struct EmbeddedStore {
    root: Arc<Root>,
}

fn unreadable(error: &fjall::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

async fn blocking<T: Send + 'static>(
    reads: &Reads,
    work: impl FnOnce() -> fjall::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = reads.run(work).await;
    let done = done.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    done.map_err(|error| unreadable(&error))
}

fn closed(_: oneshot::error::RecvError) -> StoreError {
    StoreError::Unavailable("the folder was closed".into())
}

fn documents_of(stream: &str) -> String {
    format!("documents/{stream}")
}

fn rows_of(stream: &str, name: &str) -> String {
    format!("rows/{stream}\0{name}") // no other pair reads the same
}

impl EmbeddedStore {
    pub(super) fn new(root: Arc<Root>) -> Self {
        EmbeddedStore { root }
    }

    /// A collection, made where it is missing.
    async fn collection(&self, name: String) -> Result<Arc<Collection>, StoreError> {
        if let Some(collection) = self.root.registry.collection(&name) {
            return Ok(collection);
        }
        let (reply, made) = oneshot::channel();
        let registry = self.root.registry.clone();
        self.root.committer.submit(Box::new(MakeCollection { registry, name, made: None, reply }));
        Ok(made.await.map_err(closed)??)
    }

    /// Reads on a thread that may wait for the disk. A collection that is not there holds nothing.
    async fn read<T: Default + Send + 'static>(
        &self,
        reads: &Reads,
        collection: &str,
        read: impl FnOnce(&Spaces, u32) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(collection) = self.root.registry.collection(collection) else { return Ok(T::default()) };
        let spaces = self.root.folder.spaces.clone();
        blocking(reads, move || read(&spaces, collection.number)).await
    }

    async fn write_all(&self, stream: &str, upserts: Vec<Upsert>) -> Result<usize, StoreError> {
        if upserts.is_empty() {
            return Ok(0);
        }
        let stream = self.collection(documents_of(stream)).await?;
        let bytes = upserts.iter().map(|u| u.document.value.as_ref().map_or(0, |json| json.text().len()));
        let permit = self.root.committer.admit(bytes.sum::<usize>() + upserts.len() * 64).await;
        let (root, number, small) = (self.root.clone(), stream.number, upserts.len() <= SMALL);
        let prepare = move || {
            let mut puts = Vec::with_capacity(upserts.len());
            for upsert in upserts {
                let mut put = Put::new(number, upsert, |name| root.committer.hash(DOCUMENTS, name));
                if !small {
                    put.look(&root.folder.spaces.documents, &root.stripes)?;
                }
                puts.push(put);
            }
            Ok::<_, fjall::Error>(puts)
        };
        let puts = if small {
            prepare().map_err(|e| unreadable(&e))?
        } else {
            blocking(&self.root.reads.pipeline, prepare).await?
        };
        let (reply, outcome) = oneshot::channel();
        let stripes = self.root.stripes.clone();
        let write = Write { stream, stripes, puts, applied: Vec::new(), permit, reply };
        self.root.committer.submit(Box::new(write));
        outcome.await.map_err(closed)?
    }

    async fn insert_all(&self, stream: &str, name: &str, rows: Vec<StoredRow>) -> Result<usize, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let collection = self.collection(rows_of(stream, name)).await?;
        let bytes = rows.iter().map(|row| row.json.text().len() + 2 * row.id.len() + 64);
        let permit = self.root.committer.admit(bytes.sum()).await;
        let (root, small) = (self.root.clone(), rows.len() <= SMALL);
        let prepare = move || {
            let rows = rows.iter().map(|row| {
                let mut row = NewRow::new(collection.number, row, |name| root.committer.hash(ROWS, name));
                if !small {
                    row.look(&root.folder.spaces.rows, &root.stripes)?;
                }
                Ok(row)
            });
            rows.collect::<fjall::Result<Vec<_>>>()
        };
        let rows = if small {
            prepare().map_err(|e| unreadable(&e))?
        } else {
            blocking(&self.root.reads.pipeline, prepare).await?
        };
        let (reply, outcome) = oneshot::channel();
        let stripes = self.root.stripes.clone();
        self.root.committer.submit(Box::new(InsertRows {
            stripes,
            rows,
            inserted: Vec::new(),
            permit,
            reply,
        }));
        outcome.await.map_err(closed)?
    }

    async fn forget_all(&self, stream: &str, ids: Vec<(EntityId, Position)>) -> Result<usize, StoreError> {
        let Some(stream) = self.root.registry.collection(&documents_of(stream)) else { return Ok(0) };
        let ids = ids.into_iter().map(|(id, position)| {
            let name = keys::document(stream.number, &id.key, id.partial);
            let hash = self.root.committer.hash(DOCUMENTS, &name);
            (name, hash, position)
        });
        let (ids, stripes) = (ids.collect(), self.root.stripes.clone());
        let (reply, outcome) = oneshot::channel();
        self.root.committer.submit(Box::new(Forget { stream, stripes, ids, applied: Vec::new(), reply }));
        outcome.await.map_err(closed)?
    }

    async fn raise_epoch(
        &self,
        stream: &str,
        identity: Option<&str>,
        last: Option<u32>,
    ) -> Result<Option<(u32, bool)>, StoreError> {
        let name = registry::epoch_name(stream);
        let hash = self.root.committer.hash(META, name.as_bytes());
        let (reply, outcome) = oneshot::channel();
        let identity = identity.map(str::to_owned);
        self.root.committer.submit(Box::new(RaiseEpoch { name, hash, identity, last, found: None, reply }));
        outcome.await.map_err(closed)?
    }

    async fn put(&self, name: String, json: Json) -> Result<(), StoreError> {
        let (reply, outcome) = oneshot::channel();
        let stage = move |group: &mut Group| {
            group.put_meta(name.clone(), json.text().as_bytes().to_vec());
            Ok(Staged::Yes)
        };
        let finish = move |outcome: &Outcome| drop(reply.send(outcome.clone().map_err(StoreError::from)));
        self.root.committer.submit(Box::new(Act(stage, finish)));
        outcome.await.map_err(closed)?
    }
}

impl Store for EmbeddedStore {
    fn prepare<'a>(&'a self, stream: &'a str, rows: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.collection(documents_of(stream)).await?;
            for name in rows {
                self.collection(rows_of(stream, name)).await?;
            }
            Ok(())
        })
    }

    fn last_epoch<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>> {
        async move { Ok(self.raise_epoch(stream, None, None).await?.map(|(epoch, _)| epoch)) }.boxed()
    }

    fn epoch<'a>(
        &'a self,
        stream: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>> {
        self.raise_epoch(stream, Some(identity), last).boxed()
    }

    fn load<'a>(
        &'a self,
        stream: &'a str,
        ids: &'a [EntityId],
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        Box::pin(async move {
            let (ids, root) = (ids.to_vec(), self.root.clone());
            let load = move |spaces: &Spaces, stream| {
                pages::load(spaces, stream, &ids, &root.stripes, |name| root.committer.hash(DOCUMENTS, name))
            };
            self.read(&self.root.reads.pipeline, &documents_of(stream), load).await
        })
    }

    fn load_partials<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        Box::pin(async move {
            let key = key.to_owned();
            let partials = move |spaces: &Spaces, stream| pages::load_partials(spaces, stream, &key);
            self.read(&self.root.reads.listings, &documents_of(stream), partials).await
        })
    }

    fn write<'a>(
        &'a self,
        stream: &'a str,
        upserts: Vec<Upsert>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.write_all(stream, upserts).boxed()
    }

    fn insert_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.insert_all(stream, name, rows).boxed()
    }

    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>> {
        Box::pin(async move {
            let ids = ids.to_vec();
            let firsts = move |spaces: &Spaces, rows| pages::row_firsts(spaces, rows, &ids);
            self.read(&self.root.reads.pipeline, &rows_of(stream, name), firsts).await
        })
    }

    fn load_row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>> {
        Box::pin(async move {
            let id = id.to_owned();
            let load = move |spaces: &Spaces, rows| pages::load_row(spaces, rows, &id);
            self.read(&self.root.reads.listings, &rows_of(stream, name), load).await
        })
    }

    fn scan_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>> {
        Box::pin(async move {
            let page = move |spaces: &Spaces, rows| pages::scan_rows(spaces, rows, &scan);
            self.read(&self.root.reads.listings, &rows_of(stream, name), page).await
        })
    }

    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        Box::pin(async move {
            self.read(&self.root.reads.listings, &documents_of(stream), move |spaces, stream| {
                pages::scan(spaces, stream, &scan)
            })
            .await
        })
    }

    fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        let collection = self.root.registry.collection(&documents_of(stream));
        let count = collection.map_or(0, |collection| collection.count.load(Ordering::Relaxed));
        ready(Ok(u64::try_from(count).unwrap_or(0))).boxed()
    }

    fn expired<'a>(
        &'a self,
        stream: &'a str,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        Box::pin(async move {
            let expired = move |spaces: &Spaces, stream| pages::expired(spaces, stream, now_ms, limit);
            self.read(&self.root.reads.pipeline, &documents_of(stream), expired).await
        })
    }

    fn forget<'a>(
        &'a self,
        stream: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.forget_all(stream, ids).boxed()
    }

    fn put_mark<'a>(&'a self, name: &'a str, json: Json) -> BoxFuture<'a, Result<(), StoreError>> {
        self.put(format!("{}{name}", registry::MARK), json).boxed()
    }

    fn marks<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Json)>, StoreError>> {
        let (spaces, prefix) = (self.root.folder.spaces.clone(), prefix.to_owned());
        let reads = self.root.reads.listings.clone();
        async move { blocking(&reads, move || pages::marks(&spaces, &prefix)).await }.boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let stopped = || StoreError::Fatal("an earlier write to the folder failed".into());
        ready(if self.root.committer.stopped() { Err(stopped()) } else { Ok(()) }).boxed()
    }
}
