//! What the actors of one stream share: its declaration, ports, bounds, and what it tells.
//!
//! Invariant: only `Send` handles in here; actors of a generation come and go, this stays.

use super::{
    api::{Kind, StreamName},
    app_rooms::AppRooms,
    fold::{FoldSettings, ShardFold},
    gate::Gate,
    news::NewsBox,
    progress::StreamProgress,
    shows::Shows,
    view::View,
    waiters::{Waiters, Watchers},
};
use crate::{
    app::Poison,
    clock, config,
    document::{Document, Shown},
    metrics,
    ports::{Log, Store, StoreError, TopicSpec},
    record::{Position, Record},
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::Semaphore;

/// A key that is owned elsewhere is looked at this often while somebody waits for it.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A stream as it is registered: everything the engine has to know of an app, without its types.
pub struct StreamSpec {
    pub name: StreamName,
    /// Where the store keeps its state.
    pub collection: StreamName,
    /// How long after its last record a key is forgotten; `None`: never.
    pub ttl_ms: Option<i64>,
    pub kind: Kind,
    /// The system it belongs to (`kv`, `agents`); `None`: declared by configuration.
    pub app: Option<String>,
    pub topic: TopicSpec,
    pub group: String,
    /// Entities are partials, one per source partition.
    pub by_partition: bool,
    /// Names of row collections (after `STREAM.`); the first has ids of the events' own if `has_row_ids`.
    pub rows: Vec<String>,
    pub has_row_ids: bool,
    /// Names of app rooms (after `STREAM:`).
    pub rooms: Vec<String>,
    /// Each of `rooms` shows all of the stream, which is kept in memory for it; else a room shows the keys under
    /// `App::room_prefix`, and `NAME/REST` is one of the rooms declared as `NAME`.
    pub rooms_show_all: bool,
    /// What stands before the `:` of the rooms' names; `None`: the stream's name. Several streams may share one.
    pub rooms_under: Option<StreamName>,
    pub write_hint: Option<String>,
    /// What readers are shown.
    pub shows: Box<dyn Shows>,
    /// Whether the app can read a record that has a value; pure, so that a door may ask before it appends.
    #[allow(clippy::type_complexity)]
    pub check: Box<dyn Fn(&Record<'_>) -> Result<(), Poison> + Send + Sync>,
    /// Makes a writer's fold.
    pub fold: Box<dyn Fn(FoldSettings) -> Box<dyn ShardFold> + Send + Sync>,
}

/// One stream's shares of the bounds on bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What its writers hold.
    pub cache_bytes_max: usize,
    /// What is held for its readers.
    pub view_bytes_max: usize,
    /// What is held for the rooms that show all of it.
    pub board_bytes_max: usize,
    /// What waits for that.
    pub board_waiting_bytes_max: usize,
}

/// What every stream of this process shares.
#[derive(Clone)]
pub struct Shared {
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    /// The same store, by connections that writers do not need.
    pub readers: Arc<dyn Store>,
    pub settings: Arc<config::Engine>,
    pub gate: Arc<Gate>,
    pub news: Arc<NewsBox>,
    pub waiters: Arc<Waiters>,
    /// Bytes of records in flight, over all streams.
    pub budget: Arc<Semaphore>,
    /// The runtime that store and log calls run on: a call is never dropped half way with the actor that waits for it.
    pub outside: tokio::runtime::Handle,
    pub prefetch_bytes_max: usize,
    pub log_health: Arc<LogHealth>,
    /// How often a key that is owned elsewhere is looked at.
    pub feed_interval_ms: u64,
}

/// Whether the log answered when last asked.
#[derive(Debug, Default)]
pub struct LogHealth(std::sync::Mutex<(i64, Option<String>)>);

impl LogHealth {
    pub fn set(&self, error: Option<String>) {
        let mut held = super::progress::lock(&self.0);
        if error.is_none() {
            held.0 = clock::now_ms();
        }
        held.1 = error;
    }

    /// Milliseconds since it last answered, and what is wrong now.
    pub fn get(&self) -> (u64, Option<String>) {
        let held = super::progress::lock(&self.0);
        ((clock::now_ms() - held.0).max(0) as u64, held.1.clone())
    }
}

pub struct Stream {
    pub spec: StreamSpec,
    pub shared: Shared,
    pub progress: StreamProgress,
    pub view: View,
    /// What the rooms show that show all of this stream.
    pub rooms: Option<Arc<AppRooms>>,
    /// This stream's share of the bound on what writers hold.
    pub cache_bytes_max: usize,
    pub watchers: Arc<Watchers>,
    pub meters: Meters,
}

/// Metric handles of the hot path, resolved once.
pub struct Meters {
    pub received: ::metrics::Counter,
    pub stored: ::metrics::Counter,
    pub seen: ::metrics::Counter,
    pub moved: ::metrics::Counter,
    pub conflicts: ::metrics::Counter,
    pub stale: ::metrics::Counter,
    pub loaded: ::metrics::Counter,
    pub evicted: ::metrics::Counter,
    pub batch_records: ::metrics::Histogram,
    pub batch_keys: ::metrics::Histogram,
    pub batch_seconds: ::metrics::Histogram,
    pub store_seconds: ::metrics::Histogram,
    pub backpressure: ::metrics::Counter,
}

impl Stream {
    pub fn new(spec: StreamSpec, shared: Shared, bounds: Bounds) -> Self {
        let rooms = (spec.rooms_show_all && !spec.rooms.is_empty())
            .then(|| Arc::new(AppRooms::new(bounds.board_bytes_max, bounds.board_waiting_bytes_max)));
        Stream {
            progress: StreamProgress::new(spec.name.clone(), shared.settings.shards),
            view: View::new(bounds.view_bytes_max),
            rooms,
            cache_bytes_max: bounds.cache_bytes_max,
            watchers: Arc::default(),
            meters: Meters::new(&spec.name),
            spec,
            shared,
        }
    }

    pub fn name(&self) -> &StreamName {
        &self.spec.name
    }

    /// What the store calls it.
    pub fn collection(&self) -> &StreamName {
        &self.spec.collection
    }

    /// Whether it has rooms that show parts of it. Those that show all of it are told by themselves.
    pub fn has_part_rooms(&self) -> bool {
        !self.spec.rooms.is_empty() && !self.spec.rooms_show_all
    }

    /// What stands before the `:` of its rooms' names.
    pub fn room_prefix(&self) -> StreamName {
        self.spec.rooms_under.clone().unwrap_or_else(|| self.spec.name.clone())
    }

    /// Whether every partition of the topic is consumed here.
    pub fn owns_all(&self) -> bool {
        let all = self.progress.partitions_total.load(Ordering::Acquire);
        all > 0 && self.progress.owned.partitions().len() >= all as usize
    }

    pub fn labels(&self) -> [(&'static str, String); 1] {
        [("stream", self.spec.name.to_string())]
    }

    pub fn fold_settings(&self, cache_bytes_max: usize) -> FoldSettings {
        let settings = &self.shared.settings;
        FoldSettings {
            stream: self.spec.name.clone(),
            topic: self.spec.topic.name.as_str().into(),
            by_partition: self.spec.by_partition,
            has_row_ids: self.spec.has_row_ids,
            key_bytes_max: settings.key_bytes_max,
            value_bytes_max: settings.value_bytes_max,
            entity_bytes_max: settings.entity_bytes_max,
            depth_max: settings.depth_max,
            cache_bytes_max,
            tombstone_keep_ms: (settings.tombstone_keep_s * 1000) as i64,
            ttl_ms: self.spec.ttl_ms,
        }
    }

    /// What is shown of a key's documents: the one, or the merge of its partials.
    pub fn shown(&self, documents: &[Document]) -> Option<Shown> {
        self.spec.shows.key(documents, clock::now_ms())
    }

    /// Entities out of a scan in key order; `after` moves to the last key whose documents are all there.
    pub fn merged(&self, documents: Vec<Document>, is_last: bool, after: &mut Option<String>) -> Vec<Shown> {
        let mut shown = Vec::new();
        let groups: Vec<&[Document]> = documents.chunk_by(|a, b| a.key == b.key).collect();
        // The partials of the last key may go on in the next page of the scan.
        let open = usize::from(self.spec.by_partition && !is_last && groups.len() > 1);
        for group in groups.iter().take(groups.len() - open) {
            *after = group.first().map(|document| document.key.to_string());
            shown.extend(self.shown(group));
        }
        shown
    }

    /// A call of the store, made again until it answers; it runs outside, so its future is never dropped half way.
    pub async fn store<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>>,
    {
        self.shared.gate.call(|| self.outside(call(self.shared.store.clone()))).await
    }

    /// As `store`, but a store that is away is an answer.
    pub async fn try_store<T>(&self, call: BoxFuture<'static, Result<T, StoreError>>) -> Result<T, StoreError>
    where
        T: Send + 'static,
    {
        self.shared.gate.try_call(self.outside(call)).await
    }

    /// Asks a store that is away whether it is back; it is left to who waits for it otherwise.
    pub async fn probe(&self) {
        let store = self.shared.store.clone();
        self.shared.gate.probe(self.outside(async move { store.ping().await }.boxed())).await;
    }

    fn outside<T: Send + 'static>(
        &self,
        call: BoxFuture<'static, Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T> {
        let joined = self.shared.outside.spawn(call);
        async move {
            joined
                .await
                .unwrap_or_else(|e| Err(StoreError::Unavailable(format!("the call ended early: {e}"))))
        }
    }
}

impl Stream {
    /// Waits until everything up to this position is confirmed, here or by the instance that owns its partition.
    pub async fn reached(&self, position: Position) {
        loop {
            let moved = self.progress.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            match self.progress.has_reached(position) {
                Some(true) => return,
                Some(false) => {
                    let _ = tokio::time::timeout(LOOK_AGAIN, moved).await; // the partition may have moved away
                }
                None if self.committed_elsewhere(position).await => return,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// The owner commits only what is confirmed, so what the group has committed is reached.
    async fn committed_elsewhere(&self, position: Position) -> bool {
        let membership = self.progress.membership.load_full();
        let Some(membership) = membership else { return false };
        let committed = membership.0.committed().await.unwrap_or_default();
        committed.iter().any(|(partition, next)| *partition == position.partition && *next > position.offset)
    }
}

impl Meters {
    fn new(stream: &str) -> Self {
        let labels = [("stream", stream.to_owned())];
        Meters {
            received: metrics::RECORDS_RECEIVED.counter(&labels),
            stored: metrics::RECORDS_STORED.counter(&labels),
            seen: metrics::RECORDS_SEEN.counter(&labels),
            moved: metrics::KEYS_MOVED.counter(&labels),
            conflicts: metrics::CONFLICTS.counter(&labels),
            stale: metrics::STALE_WRITES.counter(&labels),
            loaded: metrics::LOADED.counter(&labels),
            evicted: metrics::EVICTED.counter(&[("stream", stream.to_owned()), ("cache", "writer".into())]),
            batch_records: metrics::BATCH_RECORDS.histogram(&labels),
            batch_keys: metrics::BATCH_KEYS.histogram(&labels),
            batch_seconds: metrics::BATCH_SECONDS.histogram(&labels),
            store_seconds: metrics::STORE_SECONDS.histogram(&labels),
            backpressure: metrics::BACKPRESSURE_MS.counter(&labels),
        }
    }
}
