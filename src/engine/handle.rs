//! The engine as the outside holds it: reads, writes and waits over the running streams.
//!
//! Invariant: a read answers from memory only what this instance owns; everything else comes from the store's primary.
//! Not here: the actors (`generation`), the state of everything (`status`).

use super::{
    api::{
        DeadLetters, Engine, Health, ListPage, ListQuery, Locate, Outcome, Read, ReadError, RoomsUnder,
        StreamInfo, StreamStatus, WriteError,
    },
    fold::{WAIT_HEADER, Waited},
    list::{self, Cursor, Sorted},
    status,
    stream::{LOOK_AGAIN, Stream},
};
use crate::{
    app::Poison,
    clock,
    document::{Document, Positions, Shown},
    ports::{EntityId, LogError, RowScan, Scan, StoreError, StoredRow},
    record::{Key, NewRecord, Position, Slice},
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Entities read at once while a list is filtered or sorted.
const SCAN_PAGE: usize = 1_000;

pub struct Handle {
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) desk: Option<Arc<dyn DeadLetters>>,
}

impl Handle {
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| &**stream.name() == name)
    }

    fn readable(&self, name: &str) -> Result<&Arc<Stream>, ReadError> {
        self.find(name).ok_or_else(|| ReadError::NoStream(name.to_owned()))
    }

    async fn append_to(&self, stream: &Stream, record: NewRecord) -> Result<Position, WriteError> {
        let (log, topic) = (stream.shared.log.clone(), stream.spec.topic.name.clone());
        // Outside, so that a caller who leaves does not leave a record half appended.
        let appended = stream.shared.outside.spawn(async move { log.append(&topic, record).await });
        let appended = appended.await.unwrap_or_else(|e| Err(LogError::Unknown(e.to_string())));
        let epoch = stream.progress.epoch.load(Ordering::Acquire);
        appended.map(|(partition, offset)| Position { epoch, partition, offset }).map_err(|e| match e {
            LogError::Unavailable(why) | LogError::Fatal(why) | LogError::Corrupt(why) => {
                WriteError::Unavailable(why)
            }
            LogError::Unknown(detail) => WriteError::Unknown { position: None, detail },
            LogError::Refused(why) => WriteError::Refused(why),
        })
    }

    async fn wait_for(
        &self,
        stream: &Stream,
        key: &str,
        position: Position,
        mut waiting: super::waiters::Waiting,
    ) -> Result<Outcome, WriteError> {
        let limit = Duration::from_millis(stream.shared.settings.wait_timeout_ms);
        let lost = |detail: &str| WriteError::Unknown { position: Some(position), detail: detail.into() };
        let told = tokio::time::timeout(limit, async {
            tokio::select! {
                told = waiting.outcome() => told,
                () = self.stored_elsewhere(stream, key, position) => None,
            }
        });
        match told.await {
            Ok(Some(Waited::Known(outcome))) => Ok(outcome),
            Ok(Some(Waited::Seen) | None) => {
                // The outcome went another way: own position stored and newest is a yes, all else is unknown.
                let stored = load(stream, key).await.ok().flatten();
                match stored.filter(|document| document.position == position) {
                    Some(document) => Ok(Outcome::Stored((&document).into())),
                    None => Err(lost("a later record has been stored since")),
                }
            }
            Err(_) => Err(lost("it was not confirmed in time")),
        }
    }

    /// Returns when another instance has stored this position; never while the partition is ours.
    async fn stored_elsewhere(&self, stream: &Stream, key: &str, position: Position) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if stream.progress.owned.has(position.partition) {
                continue;
            }
            let stored = load(stream, key).await.ok().flatten();
            if stored.is_some_and(|document| document.position.covers(&position)) {
                return;
            }
        }
    }

    async fn read_one(&self, name: &str, key: &str) -> Result<Option<Read>, ReadError> {
        let stream = self.readable(name)?;
        if let Some(documents) = stream.view.documents(key, &stream.progress.owned) {
            return Ok(stream.shown(&documents).map(|shown| Read { age_ms: age_ms(stream, &shown), shown }));
        }
        let documents = load_all(stream, key).await?;
        Ok(stream.shown(&documents).map(|shown| Read { shown, age_ms: 0 }))
    }

    async fn list_of(&self, name: &str, query: ListQuery) -> Result<ListPage, ReadError> {
        let stream = self.readable(name)?;
        let after = query.after.as_deref().map(Cursor::decode).transpose()?;
        let scan = Scan {
            prefix: query.prefix.clone(),
            from: query.from.clone(),
            after: None,
            limit: SCAN_PAGE,
            with_removed: false,
        };
        match query.sort.clone() {
            Some(sort) => sorted(stream, scan, Sorted::new(sort, after, query.limit), &query).await,
            None => {
                in_key_order(stream, Scan { after: after.map(|cursor| cursor.key), ..scan }, &query).await
            }
        }
    }
}

/// Since when this value may be older than what the log has.
fn age_ms(stream: &Stream, shown: &Shown) -> u64 {
    let now = clock::now_ms();
    let away = stream.shared.gate.open_s().map_or(0, |s| s * 1000);
    let oldest = shown.positions.0.iter().filter_map(|position| {
        let progress = stream.progress.partition(position.partition)?;
        Some(progress.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    });
    oldest.min().map_or(away, |ms| away.max((now - ms).max(0) as u64))
}

async fn load(stream: &Stream, key: &str) -> Result<Option<Document>, ReadError> {
    Ok(load_all(stream, key).await?.into_iter().next())
}

/// The documents of a key as the store has them; what is ours is kept in the view.
async fn load_all(stream: &Stream, key: &str) -> Result<Vec<Document>, ReadError> {
    let (store, name, key) = (stream.shared.readers.clone(), stream.collection().clone(), Key::from(key));
    let by_partition = stream.spec.by_partition;
    let wanted = key.clone();
    let call = async move {
        if by_partition {
            return store.load_partials(&name, &wanted).await;
        }
        store.load(&name, &[EntityId { key: wanted, partial: None }]).await
    };
    let documents = stream.try_store(call.boxed()).await.map_err(unreadable)?;
    // Of partials nobody but us may add another, or what is held would not be all of them.
    let ours = match by_partition {
        true => stream.owns_all(),
        false => documents.iter().all(|d| stream.progress.owned.has(d.position.partition)),
    };
    if ours && !documents.is_empty() {
        stream.view.complete(&key, &documents);
    }
    Ok(documents)
}

fn unreadable(error: StoreError) -> ReadError {
    match error {
        StoreError::Unavailable(why) => ReadError::Unavailable(why),
        StoreError::Refused(why) | StoreError::Fatal(why) => ReadError::Internal(why),
        refused @ StoreError::RefusedDocuments(_) => ReadError::Internal(refused.to_string()),
    }
}

async fn scan(stream: &Stream, scan: Scan) -> Result<Vec<Document>, ReadError> {
    let (store, name) = (stream.shared.readers.clone(), stream.collection().clone());
    stream.try_store(async move { store.scan(&name, scan).await }.boxed()).await.map_err(unreadable)
}

/// What a room shows of the keys under its prefix, as the store has them.
async fn room_of_part(stream: &Stream, name: &str) -> Result<Option<Read>, ReadError> {
    let prefix = Some(stream.spec.shows.room_prefix(name));
    let from = Scan { prefix, limit: SCAN_PAGE, with_removed: true, ..Scan::default() };
    let documents = scan(stream, from).await?;
    let value = stream.spec.shows.room(name, &documents, clock::now_ms());
    // A room's position: the last change per partition, removed keys among them.
    let mut newest: BTreeMap<u32, Position> = BTreeMap::new();
    for document in &documents {
        let held = newest.entry(document.position.partition).or_insert(document.position);
        if document.position.covers(held) {
            *held = document.position;
        }
    }
    let Some(first) = documents.first() else { return Ok(None) };
    let shown = Shown {
        key: name.into(),
        version: newest.values().map(|position| position.offset + 1).sum(),
        created_ms: documents.iter().map(|d| d.created_ms).min().unwrap_or(first.created_ms),
        updated_ms: documents.iter().map(|d| d.updated_ms).max().unwrap_or(first.updated_ms),
        positions: Positions(newest.into_values().collect()),
        value,
    };
    Ok(Some(Read { shown, age_ms: 0 }))
}

async fn in_key_order(stream: &Stream, mut from: Scan, query: &ListQuery) -> Result<ListPage, ReadError> {
    let mut page = ListPage::default();
    if query.filters.is_empty() {
        from.limit = (query.limit + 1).min(SCAN_PAGE);
    }
    loop {
        let documents = scan(stream, from.clone()).await?;
        let is_last = documents.len() < from.limit;
        for shown in stream.merged(documents, is_last, &mut from.after) {
            if page.items.len() == query.limit {
                let last = page.items.last().map(|last| last.key.to_string()).unwrap_or_default();
                page.next = Some(Cursor { key: last, by: None }.encode());
                return Ok(page);
            }
            if list::passes(&shown, &query.filters) {
                page.items.push(shown);
            }
        }
        if is_last {
            return Ok(page);
        }
    }
}

async fn sorted(
    stream: &Stream,
    mut from: Scan,
    mut sorted: Sorted,
    query: &ListQuery,
) -> Result<ListPage, ReadError> {
    loop {
        let documents = scan(stream, from.clone()).await?;
        let is_last = documents.len() < from.limit;
        for shown in stream.merged(documents, is_last, &mut from.after) {
            if list::passes(&shown, &query.filters) {
                sorted.take(shown);
            }
        }
        if is_last {
            let (items, next) = sorted.finish();
            return Ok(ListPage { items, next });
        }
    }
}

impl Engine for Handle {
    fn streams(&self) -> Vec<StreamStatus> {
        self.streams.iter().map(|stream| status::stream(stream)).collect()
    }

    fn stream(&self, name: &str) -> Option<StreamInfo> {
        self.find(name).map(|stream| status::info(stream))
    }

    fn check(&self, stream: &str, record: &NewRecord) -> Result<(), Poison> {
        let (Some(stream), Some(value)) = (self.find(stream), &record.value) else { return Ok(()) };
        let mut one = Slice::new(0, 0);
        let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        let time_ms = record.time_ms.unwrap_or_else(clock::now_ms);
        one.push(0, time_ms, record.key.as_deref(), Some(value), headers);
        one.get(0).map_or(Ok(()), |record| (stream.spec.check)(&record))
    }

    fn append<'a>(
        &'a self,
        stream: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<Position, WriteError>> {
        async move {
            let found = self.find(stream).ok_or_else(|| WriteError::NoStream(stream.to_owned()))?;
            self.append_to(found, record).await
        }
        .boxed()
    }

    fn append_and_wait<'a>(
        &'a self,
        stream: &'a str,
        mut record: NewRecord,
    ) -> BoxFuture<'a, Result<(Position, Outcome), WriteError>> {
        async move {
            let found = self.find(stream).ok_or_else(|| WriteError::NoStream(stream.to_owned()))?;
            let waiting = found.shared.waiters.wait().ok_or(WriteError::Busy)?;
            record.headers.push((WAIT_HEADER.to_owned(), Some(waiting.header().into_bytes())));
            let key = record.key.clone().unwrap_or_default();
            let key = String::from_utf8_lossy(&key).into_owned();
            let position = self.append_to(found, record).await?;
            let outcome = self.wait_for(found, &key, position, waiting).await?;
            Ok((position, outcome))
        }
        .boxed()
    }

    fn read<'a>(&'a self, stream: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        self.read_one(stream, key).boxed()
    }

    fn read_stored<'a>(
        &'a self,
        stream: &'a str,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Shown>, ReadError>> {
        async move {
            let stream = self.readable(stream)?;
            if stream.spec.by_partition {
                let mut all = Vec::new();
                for key in keys {
                    all.extend(stream.shown(&load_all(stream, key).await?));
                }
                return Ok(all);
            }
            let ids: Vec<EntityId> =
                keys.iter().map(|key| EntityId { key: key.clone(), partial: None }).collect();
            let (store, name) = (stream.shared.readers.clone(), stream.collection().clone());
            let call = async move { store.load(&name, &ids).await };
            let documents = stream.try_store(call.boxed()).await.map_err(unreadable)?;
            for document in &documents {
                if stream.progress.owned.has(document.position.partition) {
                    stream.view.take_in(document);
                }
            }
            Ok(documents.iter().map(Shown::from).collect())
        }
        .boxed()
    }

    fn rooms_under(&self, prefix: &str) -> Option<RoomsUnder> {
        let under = |stream: &&Arc<Stream>| !stream.spec.rooms.is_empty() && &*stream.room_prefix() == prefix;
        let streams: Vec<&Arc<Stream>> = self.streams.iter().filter(under).collect();
        let names = streams.iter().flat_map(|stream| stream.spec.rooms.clone()).collect();
        (!streams.is_empty())
            .then(|| RoomsUnder { streams: streams.iter().map(|s| s.name().clone()).collect(), names })
    }

    fn read_room<'a>(
        &'a self,
        prefix: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        async move {
            let declared = name.split('/').next().unwrap_or(name);
            let shows = |stream: &&Arc<Stream>| {
                let mut rooms = stream.spec.rooms.iter();
                &*stream.room_prefix() == prefix && rooms.any(|room| room == name || room == declared)
            };
            let found = self.streams.iter().find(shows);
            let stream = found.ok_or_else(|| ReadError::NoStream(format!("{prefix}:{name}")))?;
            match &stream.rooms {
                Some(rooms) => Ok(rooms
                    .read(name)
                    .await?
                    .map(|read| Read { age_ms: read.age_ms.max(age_ms(stream, &read.shown)), ..read })),
                None => room_of_part(stream, name).await,
            }
        }
        .boxed()
    }

    fn reached<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
        wait: Duration,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        async move {
            let stream = self.readable(stream)?;
            Ok(tokio::time::timeout(wait, stream.reached(position)).await.is_ok())
        }
        .boxed()
    }

    fn changed<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
        since: Positions,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        async move {
            let found = self.readable(stream)?;
            let watching = found.watchers.watch(key);
            let deadline = clock::instant() + wait;
            loop {
                let notified = watching.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                let read = self.read_one(stream, key).await?;
                if let Some(read) = read.filter(|read| !since.cover(&read.shown.positions)) {
                    return Ok(Some(read));
                }
                // Changes of other instances are not announced here: look at the store on a beat.
                let beat = clock::instant() + Duration::from_millis(found.shared.feed_interval_ms);
                tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(beat.min(deadline)) => {}
                }
                if clock::instant() >= deadline {
                    return Ok(None);
                }
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, stream: &'a str, query: ListQuery) -> BoxFuture<'a, Result<ListPage, ReadError>> {
        self.list_of(stream, query).boxed()
    }

    fn rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, ReadError>> {
        async move {
            let stream = self.readable(stream)?;
            let (store, of, name) =
                (stream.shared.readers.clone(), stream.collection().clone(), name.to_owned());
            let call = async move { store.scan_rows(&of, &name, scan).await };
            stream.try_store(call.boxed()).await.map_err(unreadable)
        }
        .boxed()
    }

    fn row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, ReadError>> {
        async move {
            let stream = self.readable(stream)?;
            let (store, of) = (stream.shared.readers.clone(), stream.collection().clone());
            let (name, id) = (name.to_owned(), id.to_owned());
            let call = async move { store.load_row(&of, &name, &id).await };
            stream.try_store(call.boxed()).await.map_err(unreadable)
        }
        .boxed()
    }

    fn stream_positions(&self, stream: &str) -> Positions {
        self.find(stream).map(|stream| stream.progress.positions()).unwrap_or_default()
    }

    fn owns(&self, stream: &str, partition: u32) -> bool {
        self.find(stream).is_some_and(|stream| stream.progress.owned.has(partition))
    }

    fn assignment(&self, stream: &str, partition: u32) -> Option<u64> {
        self.find(stream)?.progress.owned.assignment(partition)
    }

    fn pipeline(&self) -> serde_json::Value {
        status::pipeline(&self.streams)
    }

    fn locate<'a>(&'a self, stream: &'a str, what: Locate) -> BoxFuture<'a, serde_json::Value> {
        async move {
            let Some(found) = self.find(stream) else { return serde_json::Value::Null };
            match what {
                Locate::Position(position) => status::locate(found, position, None),
                Locate::Key(key) => match self.read_one(stream, &key).await {
                    Ok(Some(read)) => status::locate_key(found, &key, &read.shown),
                    Ok(None) => status::nowhere(&key, "the store has nothing of this key"),
                    Err(error) => status::nowhere(&key, &error.to_string()),
                },
            }
        }
        .boxed()
    }

    fn health(&self) -> Health {
        status::health(&self.streams)
    }

    fn stale_s(&self) -> Option<u64> {
        self.streams.first().and_then(|stream| stream.shared.gate.open_s())
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetters>> {
        self.desk.clone()
    }
}
