//! The desk where dead letters are looked at, replayed and discarded.
//!
//! Invariant: a letter is never taken out of its topic; what was done about it is a mark in the store, by its original
//! position. A replay is a new record with its origin, and is not made over something newer unless forced.
//! Not here: writing letters (`write`), and what a letter is made of (`dead_letter`).

mod index;
mod tail;

use super::{
    api::{DeadLetterFilter, DeadLetters, ReadError, Replay},
    dead_letter::{self, WINDOW},
    edge,
    fold::WAIT_HEADER,
    progress::lock,
    protocol::ReleaseHeld,
    read,
    stream::Stream,
    supervisor::Supervisor,
};
use crate::{
    clock,
    document::Json,
    origin::{DEAD_LETTER_PREFIX, ORIGIN_HEADER},
    ports::{LogError, PullLimit, StoreError},
    record::{Key, NewRecord, Position, Slice},
};
use actix::Addr;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use index::{Entry, Index, Mark};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, atomic::Ordering};

/// Prefix of the headers that `dead_letter` adds and a replay takes off.
/// How often this record was replayed; beyond `REPLAYS_MAX` only a forced replay is made, so that no loop is endless.
const REPLAYS_HEADER: &str = "statecast-replays";
const REPLAYS_MAX: u64 = 3;

pub struct Desk {
    drawers: Vec<Arc<Drawer>>,
    supervisor: Addr<Supervisor>,
}

/// The letters of one stream.
struct Drawer {
    stream: Arc<Stream>,
    index: Mutex<Index>,
}

impl Desk {
    /// Opens a drawer per stream and follows their dead-letter topics for as long as the runtime runs.
    pub fn open(streams: &[Arc<Stream>], supervisor: Addr<Supervisor>) -> Self {
        let drawers: Vec<Arc<Drawer>> = streams.iter().cloned().map(Drawer::new).collect();
        for drawer in &drawers {
            tokio::spawn(tail::follow(drawer.clone()));
        }
        Desk { drawers, supervisor }
    }

    fn drawer(&self, stream: &str) -> Result<&Arc<Drawer>, ReadError> {
        let found = self.drawers.iter().find(|drawer| &**drawer.stream.name() == stream);
        found.ok_or_else(|| ReadError::NoStream(stream.to_owned()))
    }
}

impl Drawer {
    fn new(stream: Arc<Stream>) -> Arc<Self> {
        let letters_max = stream.shared.settings.dead_letters_max;
        Arc::new(Drawer { stream, index: Mutex::new(Index::new(letters_max, Default::default())) })
    }

    fn topic(&self) -> String {
        dead_letter::topic_of(&self.stream.spec.topic.name)
    }

    fn find(&self, position: Position) -> Option<Entry> {
        lock(&self.index).get(position).cloned()
    }

    /// Reads one letter out of its topic.
    async fn read(&self, entry: &Entry) -> Result<Option<Slice>, ReadError> {
        let (partition, offset) = entry.letter;
        let mut reader =
            self.stream.shared.log.read(&self.topic(), 0, partition, offset).map_err(unreadable)?;
        let limit = PullLimit { records_max: 1, bytes_max: 1 };
        let slice = reader.pull(limit).await.map_err(unreadable)?;
        Ok(Some(slice).filter(|slice| slice.last_offset() == Some(offset)))
    }

    /// Whether the state that a replay would take the place of has taken a newer record since.
    async fn is_superseded(&self, entry: &Entry, letter: &Slice) -> Result<bool, ReadError> {
        let Some(key) = self.replaced(letter) else { return Ok(false) };
        let documents = read::load_all(&self.stream, &key).await?;
        // At its own place too: what the store refused once it may have taken after a crash (decision 0024).
        let is_later = |(position, time_ms): (Position, i64)| match position.order(&entry.position) {
            Some(order) => order.is_ge(),
            None => time_ms > entry.time_ms,
        };
        let index = lock(&self.index);
        Ok(documents.iter().any(|document| {
            let stands = (document.position, document.updated_ms);
            // What a replay put there is as old as its letter.
            is_later(stands) && index.origin_of(document.position).is_none_or(is_later)
        }))
    }

    /// The key of that state, as the stream reads the record now; of what it still cannot read, the record's own key.
    fn replaced(&self, letter: &Slice) -> Option<Key> {
        let record = letter.get(0)?;
        let fold = (self.stream.spec.fold)(self.stream.fold_settings(0));
        fold.replaces(&record).unwrap_or_else(|_| Some(std::str::from_utf8(record.key?).ok()?.into()))
    }

    async fn mark(&self, position: Position, mark: Mark) -> Result<(), ReadError> {
        let json = Json::of(&mark).map_err(|e| ReadError::Internal(e.to_string()))?;
        let (store, name) = (self.stream.shared.store.clone(), self.mark_name(&position.to_string()));
        let put = async move { store.put_mark(&name, json).await };
        self.stream.try_store(put.boxed()).await.map_err(unstored)?;
        lock(&self.index).mark(position, mark);
        Ok(())
    }

    fn mark_name(&self, position: &str) -> String {
        format!("dlq/{}/{position}", self.stream.name())
    }

    async fn replay(&self, position: Position, force: bool) -> Result<Replay, ReadError> {
        let Some(entry) = self.find(position) else { return Ok(Replay::NotThere) };
        let Some(slice) = self.read(&entry).await? else { return Ok(Replay::NotThere) };
        let Some((record, replays)) = original(&slice, position) else { return Ok(Replay::NotThere) };
        if !force && (replays > REPLAYS_MAX || self.is_superseded(&entry, &slice).await?) {
            return Ok(Replay::Superseded);
        }
        let topic = self.stream.spec.topic.name.clone();
        let appended = self.stream.shared.log.append(&topic, record).await.map_err(unreadable)?;
        let epoch = self.stream.progress.epoch.load(Ordering::Acquire);
        let at = Position { epoch, partition: appended.0, offset: appended.1 };
        let mark =
            Mark { mark: "replayed".into(), at: clock::iso(clock::now_ms()), position: Some(at.to_string()) };
        self.mark(position, mark).await?;
        Ok(Replay::Appended(at))
    }

    async fn replay_all(&self, filter: DeadLetterFilter, force: bool) -> Result<Value, ReadError> {
        let positions: Vec<Position> = {
            let index = lock(&self.index);
            let open = index.list(&filter).0.into_iter().filter(|entry| entry.mark.is_none());
            // The oldest first, as they were sent: of one key the newest comes to stand.
            open.rev().map(|entry| entry.position).collect()
        };
        let (mut replayed, mut superseded, mut not_there) = (0, 0, 0);
        for position in positions {
            match self.replay(position, force).await? {
                Replay::Appended(_) => replayed += 1,
                Replay::Superseded => superseded += 1,
                Replay::NotThere => not_there += 1,
            }
        }
        Ok(json!({ "replayed": replayed, "superseded": superseded, "not_there": not_there }))
    }

    fn summary(&self) -> Value {
        let settings = &self.stream.shared.settings;
        let partitions = self.stream.progress.partitions_sorted();
        let limit = |(partition, progress): &(u32, Arc<super::progress::PartitionProgress>)| {
            let share = f64::from(progress.poison_used.load(Ordering::Relaxed)) / 1000.0;
            json!({
                "partition": partition,
                "used": (share * f64::from(settings.poison_run_max)).round(),
                "limit": settings.poison_run_max,
                "held": lock(&progress.held).is_some(),
            })
        };
        let index = lock(&self.index);
        json!({
            "stream": self.stream.name(),
            "topic": self.topic(),
            "reasons": index.open(),
            "dropped": index.dropped,
            "share_max": settings.poison_share_max,
            "share_of": WINDOW,
            "partitions": partitions.iter().map(limit).collect::<Vec<_>>(),
        })
    }

    fn shown(&self, entry: &Entry) -> Value {
        let key = entry.key.as_deref();
        let mark = entry.mark.as_ref();
        json!({
            "stream": self.stream.name(),
            "topic": self.stream.spec.topic.name,
            "position": entry.position.to_string(),
            "partition": entry.position.partition,
            "offset": entry.position.offset,
            "reason": entry.reason.code(),
            "detail": entry.detail,
            "key": key.and_then(|key| std::str::from_utf8(key).ok()),
            "key_base64": key.map(|key| STANDARD.encode(key)),
            "bytes": entry.bytes,
            "time": clock::iso(entry.time_ms),
            "at": entry.at,
            "failed_at": entry.failed_at,
            "mark": mark.map(|mark| &mark.mark),
            "marked_at": mark.map(|mark| &mark.at),
            "replayed_at": mark.and_then(|mark| mark.position.as_ref()),
        })
    }

    async fn show(&self, position: Position) -> Result<Option<Value>, ReadError> {
        let Some(entry) = self.find(position) else { return Ok(None) };
        let Some(slice) = self.read(&entry).await? else { return Ok(None) };
        let Some(record) = slice.get(0) else { return Ok(None) };
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: Vec<[Option<String>; 2]> =
            record.headers.iter().map(|(name, value)| [Some(lossy(name)), value.map(lossy)]).collect();
        let mut shown = self.shown(&entry);
        if let Some(members) = shown.as_object_mut() {
            members.insert("value_base64".into(), json!(record.value.map(|value| STANDARD.encode(value))));
            members.insert("headers".into(), json!(headers));
        }
        Ok(Some(shown))
    }
}

/// The record as its producer sent it, with its origin, and how often it will then have been replayed.
fn original(slice: &Slice, position: Position) -> Option<(NewRecord, u64)> {
    let record = slice.get(0)?;
    let replays = record.headers.get(REPLAYS_HEADER).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
    let replays = replays.unwrap_or(0_u64) + 1;
    let ours = |name: &str| {
        name.starts_with(DEAD_LETTER_PREFIX) || [WAIT_HEADER, ORIGIN_HEADER, REPLAYS_HEADER].contains(&name)
    };
    let mut headers: Vec<(String, Option<Vec<u8>>)> = record
        .headers
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)))
        .filter(|(name, _)| !ours(name))
        .collect();
    headers.push((ORIGIN_HEADER.into(), Some(format!("dlq/{position}").into_bytes())));
    headers.push((REPLAYS_HEADER.into(), Some(replays.to_string().into_bytes())));
    let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
    Some((NewRecord { key, value, headers, ..NewRecord::default() }, replays))
}

fn unreadable(error: LogError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

fn unstored(error: StoreError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

impl DeadLetters for Desk {
    fn summary(&self) -> BoxFuture<'_, Result<Value, ReadError>> {
        async move {
            let streams: Vec<Value> = self.drawers.iter().map(|drawer| drawer.summary()).collect();
            let total: u64 =
                self.drawers.iter().map(|drawer| lock(&drawer.index).open().values().sum::<u64>()).sum();
            Ok(json!({ "at": clock::iso(clock::now_ms()), "total": total, "streams": streams }))
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        stream: &'a str,
        filter: DeadLetterFilter,
    ) -> BoxFuture<'a, Result<Value, ReadError>> {
        async move {
            let drawer = self.drawer(stream)?;
            let index = lock(&drawer.index);
            let (entries, next) = index.list(&filter);
            let items: Vec<Value> = entries.into_iter().map(|entry| drawer.shown(entry)).collect();
            Ok(json!({ "items": items, "next": next }))
        }
        .boxed()
    }

    fn show<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
    ) -> BoxFuture<'a, Result<Option<Value>, ReadError>> {
        async move { self.drawer(stream)?.show(position).await }.boxed()
    }

    fn replay<'a>(
        &'a self,
        stream: &'a str,
        position: Position,
        force: bool,
    ) -> BoxFuture<'a, Result<Replay, ReadError>> {
        async move { self.drawer(stream)?.replay(position, force).await }.boxed()
    }

    fn replay_all<'a>(
        &'a self,
        stream: &'a str,
        filter: DeadLetterFilter,
        force: bool,
    ) -> BoxFuture<'a, Result<Value, ReadError>> {
        async move { self.drawer(stream)?.replay_all(filter, force).await }.boxed()
    }

    fn discard<'a>(&'a self, stream: &'a str, position: Position) -> BoxFuture<'a, Result<bool, ReadError>> {
        async move {
            let drawer = self.drawer(stream)?;
            if drawer.find(position).is_none() {
                return Ok(false);
            }
            let mark = Mark { mark: "discarded".into(), at: clock::iso(clock::now_ms()), position: None };
            drawer.mark(position, mark).await?;
            Ok(true)
        }
        .boxed()
    }

    fn release(&self, stream: &str, partition: u32) -> bool {
        let Ok(drawer) = self.drawer(stream) else { return false };
        let progress = drawer.stream.progress.partition(partition);
        let held = progress.is_some_and(|progress| lock(&progress.held).is_some());
        if held {
            let stream = drawer.stream.name().clone();
            edge::order(&self.supervisor, ReleaseHeld { stream, partition });
        }
        held
    }
}
