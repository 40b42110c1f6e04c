//! An engine in memory: what rooms read, and what writers would tell.
//!
//! The store and the news are apart, so that a test decides when a change that is stored becomes known.

use crate::{
    document::{Json, Positions, Shown},
    engine::{
        api::*,
        news::{News, NewsKind},
    },
    record::{Key, NewRecord, Position},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Debug, Default)]
pub struct FakeEngine {
    world: Mutex<World>,
}

#[derive(Debug, Default)]
struct World {
    streams: BTreeMap<String, FakeStream>,
    away: bool,
    stale_s: Option<u64>,
    lists: usize,
    assignments: u64,
    rooms: BTreeMap<String, Shown>,
}

#[derive(Debug)]
struct FakeStream {
    entities: BTreeMap<String, Shown>,
    /// What readers here have not heard of yet (written elsewhere, or not confirmed to us).
    hidden: BTreeMap<String, Option<Shown>>,
    next: Vec<u64>,
    /// Under which assignment a partition is ours.
    owned: Vec<Option<u64>>,
    app_rooms: Vec<String>,
    /// What is said of the last change per partition, where that is not the last write here.
    positions: Option<Positions>,
}

impl FakeEngine {
    pub fn new(streams: &[(&str, u32)]) -> Arc<Self> {
        let engine = FakeEngine::default();
        for (name, partitions) in streams {
            let partitions = *partitions as usize;
            let stream = FakeStream {
                entities: BTreeMap::new(),
                hidden: BTreeMap::new(),
                next: vec![0; partitions],
                owned: vec![Some(0); partitions],
                app_rooms: vec!["board".into(), "seller".into()],
                positions: None,
            };
            engine.world().streams.insert((*name).into(), stream);
        }
        Arc::new(engine)
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("world")
    }

    /// Stores a value (`None` removes) and returns the news of it, for the test to tell when it likes.
    pub fn write(&self, stream: &str, key: &str, value: Option<&str>) -> News {
        self.write_to(stream, key, value, None)
    }

    /// As `write`, to a partition of the test's choice.
    pub fn write_to(&self, stream: &str, key: &str, value: Option<&str>, to: Option<u32>) -> News {
        let mut world = self.world();
        let held = world.streams.get_mut(stream).expect("stream");
        let partitions = held.next.len() as u32;
        let partition = to.unwrap_or_else(|| key.bytes().map(u32::from).sum::<u32>() % partitions);
        let offset = &mut held.next[partition as usize];
        let position = Position { epoch: 0, partition, offset: *offset };
        *offset += 1;
        let was = held.entities.get(key);
        let now = crate::clock::now_ms().max(was.map_or(0, |was| was.updated_ms + 1));
        let shown = Shown {
            key: key.into(),
            version: was.map_or(0, |was| was.version) + 1,
            created_ms: was.map_or(now, |was| was.created_ms),
            updated_ms: now,
            positions: position.into(),
            value: value.map(Json::from_checked),
        };
        held.entities.insert(key.into(), shown.clone());
        let (stream, rooms) = (stream.into(), Vec::new());
        News { stream, partition, shown, covers: 1, rooms, kind: NewsKind::Change }
    }

    /// The store has this now, whoever wrote it.
    pub fn mirror(&self, stream: &str, shown: Shown) {
        let mut world = self.world();
        let held = world.streams.get_mut(stream).expect("stream");
        for position in &shown.positions.0 {
            let next = &mut held.next[position.partition as usize];
            *next = (*next).max(position.offset + 1);
        }
        held.entities.insert(shown.key.to_string(), shown);
    }

    /// As `write`, but readers here see the state before until `reveal`; the store itself has it at once.
    pub fn write_unseen(&self, stream: &str, key: &str, value: Option<&str>) -> News {
        let before = self.get(stream, key);
        let news = self.write(stream, key, value);
        let mut world = self.world();
        world.streams.get_mut(stream).expect("stream").hidden.entry(key.into()).or_insert(before);
        news
    }

    pub fn reveal(&self) {
        self.world().streams.values_mut().for_each(|stream| stream.hidden.clear());
    }

    /// The tombstone is forgotten.
    pub fn forget(&self, stream: &str, key: &str) -> News {
        let mut world = self.world();
        let shown = world.streams.get_mut(stream).expect("stream").entities.remove(key).expect("tombstone");
        let partition = shown.positions.0[0].partition;
        let (stream, rooms) = (stream.into(), Vec::new());
        News { stream, partition, shown, covers: 1, rooms, kind: NewsKind::Forgotten }
    }

    pub fn get(&self, stream: &str, key: &str) -> Option<Shown> {
        self.world().streams[stream].entities.get(key).cloned()
    }

    pub fn all(&self, stream: &str) -> Vec<Shown> {
        self.world().streams[stream].entities.values().cloned().collect()
    }

    pub fn set_away(&self, away: bool) {
        let mut world = self.world();
        world.away = away;
        world.stale_s = away.then_some(7);
    }

    pub fn set_owned(&self, stream: &str, partition: u32, owned: bool) {
        let mut world = self.world();
        world.assignments += 1;
        let assignment = owned.then_some(world.assignments);
        world.streams.get_mut(stream).expect("stream").owned[partition as usize] = assignment;
    }

    pub fn is_owned(&self, stream: &str, partition: u32) -> bool {
        self.world().streams[stream].owned[partition as usize].is_some()
    }

    /// From here on these are the stream's positions, whatever is written.
    pub fn set_positions(&self, stream: &str, positions: Positions) {
        self.world().streams.get_mut(stream).expect("stream").positions = Some(positions);
    }

    pub fn set_room(&self, room: &str, shown: Shown) {
        self.world().rooms.insert(room.into(), shown);
    }

    /// How many pages were read.
    pub fn lists(&self) -> usize {
        self.world().lists
    }

    fn ready<T>(&self, answer: impl FnOnce(&World) -> T) -> Result<T, ReadError> {
        let world = self.world();
        if world.away {
            return Err(ReadError::Unavailable("the fake store is away".into()));
        }
        Ok(answer(&world))
    }
}

impl Engine for FakeEngine {
    fn streams(&self) -> Vec<StreamStatus> {
        let world = self.world();
        let status = |(name, stream): (&String, &FakeStream)| StreamStatus {
            stream: name.as_str().into(),
            kind: Kind::Latest,
            writable: true,
            app: None,
            declared: false,
            topics: vec![name.clone()],
            keys: Some(stream.entities.len() as u64),
            positions: Vec::new(),
            lag: vec![0; stream.next.len()],
            state: State::Running,
            held: None,
            received_total: stream.next.iter().sum(),
            stored_total: stream.next.iter().sum(),
            newest: None,
            latency_ms: Latency::default(),
        };
        world.streams.iter().map(status).collect()
    }

    fn stream(&self, name: &str) -> Option<StreamInfo> {
        let world = self.world();
        let stream = world.streams.get(name)?;
        Some(StreamInfo {
            name: name.into(),
            kind: Kind::Latest,
            topic: name.into(),
            partitions: stream.next.len() as u32,
            partials: false,
            write_hint: None,
            app_rooms: stream.app_rooms.clone(),
        })
    }

    fn append<'a>(&'a self, _: &'a str, _: NewRecord) -> BoxFuture<'a, Result<Position, WriteError>> {
        unimplemented!("live rooms never write")
    }

    fn append_and_wait<'a>(
        &'a self,
        _: &'a str,
        _: NewRecord,
    ) -> BoxFuture<'a, Result<(Position, Outcome), WriteError>> {
        unimplemented!("live rooms never write")
    }

    fn read<'a>(&'a self, stream: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        let found = self.ready(|world| {
            let held = &world.streams[stream];
            held.hidden.get(key).cloned().unwrap_or_else(|| held.entities.get(key).cloned())
        });
        Box::pin(async move { found.map(|shown| shown.map(|shown| Read { shown, age_ms: 0 })) })
    }

    fn read_stored<'a>(
        &'a self,
        stream: &'a str,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Shown>, ReadError>> {
        let found = self.ready(|world| {
            let held = &world.streams[stream].entities;
            keys.iter().filter_map(|key| held.get(&**key).cloned()).collect()
        });
        Box::pin(async move { found })
    }

    fn read_room<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        let found = self.ready(|world| world.rooms.get(&format!("{stream}:{name}")).cloned());
        Box::pin(async move { found.map(|shown| shown.map(|shown| Read { shown, age_ms: 0 })) })
    }

    fn reached<'a>(&'a self, _: &'a str, _: Position, _: Duration) -> BoxFuture<'a, Result<bool, ReadError>> {
        unimplemented!("live rooms never wait")
    }

    fn changed<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Positions,
        _: Duration,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        unimplemented!("live rooms never wait")
    }

    fn list<'a>(&'a self, stream: &'a str, query: ListQuery) -> BoxFuture<'a, Result<ListPage, ReadError>> {
        let from = query.from.unwrap_or_default();
        let found = self.ready(|world| {
            let live =
                world.streams[stream].entities.range(from..).filter(|(_, shown)| shown.value.is_some());
            let mut items: Vec<Shown> = live.map(|(_, shown)| shown.clone()).take(query.limit + 1).collect();
            let next = (items.len() > query.limit).then(|| "more".to_owned());
            items.truncate(query.limit);
            ListPage { items, next }
        });
        self.world().lists += 1;
        Box::pin(async move { found })
    }

    fn stream_positions(&self, stream: &str) -> Positions {
        let world = self.world();
        if let Some(positions) = &world.streams[stream].positions {
            return positions.clone();
        }
        let positions = world.streams[stream].next.iter().enumerate().filter(|(_, next)| **next > 0);
        let last = |(partition, next): (usize, &u64)| Position {
            epoch: 0,
            partition: partition as u32,
            offset: next - 1,
        };
        Positions(positions.map(last).collect())
    }

    fn owns(&self, stream: &str, partition: u32) -> bool {
        self.is_owned(stream, partition)
    }

    fn assignment(&self, stream: &str, partition: u32) -> Option<u64> {
        self.world().streams[stream].owned[partition as usize]
    }

    fn pipeline(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn locate<'a>(&'a self, _: &'a str, _: Locate) -> BoxFuture<'a, serde_json::Value> {
        unimplemented!("live rooms locate nothing")
    }

    fn health(&self) -> Health {
        Health { ready: true, dependencies: Vec::new() }
    }

    fn stale_s(&self) -> Option<u64> {
        self.world().stale_s
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetters>> {
        None
    }
}
