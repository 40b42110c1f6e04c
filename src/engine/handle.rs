//! The engine as the outside holds it: reads, writes and waits over the running streams.
//!
//! Invariant: an append is made outside the caller's task, and a wait for its outcome ends in time whoever stored it.
//! Not here: how a stream is read (`read`), the actors (`generation`), the state of everything (`status`).

use super::{
    api::{
        DeadLetters, Engine, Health, ListPage, ListQuery, Locate, Outcome, Read, ReadError, RoomsUnder,
        StreamInfo, StreamStatus, WriteError,
    },
    fold::{WAIT_HEADER, Waited},
    read, status,
    stream::{LOOK_AGAIN, Stream},
};
use crate::{
    app::Poison,
    clock,
    document::{Positions, Shown},
    ports::{LogError, RowScan, StoredRow},
    record::{Key, NewRecord, Position, Slice},
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub struct Handle {
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) desk: Option<Arc<dyn DeadLetters>>,
}

impl Handle {
    /// Over these streams, with nobody who deals with dead letters.
    #[cfg(test)]
    pub fn over(streams: Vec<Arc<Stream>>) -> Self {
        Handle { streams, desk: None }
    }

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
                let stored = read::load(stream, key).await.ok().flatten();
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
            let stored = read::load(stream, key).await.ok().flatten();
            if stored.is_some_and(|document| document.position.covers(&position)) {
                return;
            }
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
            let waiting = found.shared.waiters.wait(found.name()).ok_or(WriteError::Busy)?;
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
        async move { read::one(self.readable(stream)?, key).await }.boxed()
    }

    fn read_stored<'a>(
        &'a self,
        stream: &'a str,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Shown>, ReadError>> {
        async move { read::stored(self.readable(stream)?, keys).await }.boxed()
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
                    .map(|read| Read { age_ms: read.age_ms.max(read::age_ms(stream, &read.shown)), ..read })),
                None => read::room_of_part(stream, name).await,
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
                let read = read::one(found, key).await?;
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
        async move { read::list(self.readable(stream)?, query).await }.boxed()
    }

    fn rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, ReadError>> {
        async move { read::rows(self.readable(stream)?, name, scan).await }.boxed()
    }

    fn row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, ReadError>> {
        async move { read::row(self.readable(stream)?, name, id).await }.boxed()
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
                Locate::Key(key) => match read::one(found, &key).await {
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
