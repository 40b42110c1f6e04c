//! An engine in memory with honest semantics: a log, a fold that may be held, a store that may be away.
//!
//! Invariant: what it answers follows semantics.md as far as HTTP shows it: dense versions, conditions decided by the
//! fold, confirmed positions, tombstones with a position.

use super::letters::Letters;
use crate::{
    app::{Reason, RefusedKind},
    document::{Json, Positions, Shown},
    engine::api::{self, *},
    record::{Key, NewRecord, Position},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

pub const PARTITIONS: u32 = 4;
const TIME_MS: i64 = 1_792_576_800_000;

/// How the fake's log answers an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogIs {
    #[default]
    Up,
    Away,
    /// Takes the record and says nothing.
    Silent,
    Busy,
    Refusing,
}

#[derive(Default)]
struct Inside {
    log: Vec<(Position, NewRecord)>,
    /// Records of `log` that are folded, so confirmed.
    folded: usize,
    entities: BTreeMap<String, Shown>,
    outcomes: BTreeMap<String, Outcome>,
    log_is: LogIs,
    fold_held: bool,
    store_away_s: Option<u64>,
    asked: Option<ListQuery>,
}

pub struct Fake {
    state: Mutex<Inside>,
    moved: watch::Sender<usize>,
    wait_timeout: Duration,
    pub panics: AtomicBool,
    pub polls: AtomicUsize,
    letters: Arc<Letters>,
}

impl Fake {
    pub fn new(wait_timeout: Duration) -> Arc<Self> {
        Arc::new(Fake {
            state: Mutex::default(),
            moved: watch::Sender::new(0),
            wait_timeout,
            panics: AtomicBool::new(false),
            polls: AtomicUsize::new(0),
            letters: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().expect("state")
    }

    pub fn log_is(&self, log_is: LogIs) {
        self.state().log_is = log_is;
    }

    pub fn store_away(&self, seconds: Option<u64>) {
        self.state().store_away_s = seconds;
    }

    /// Records are taken but not folded.
    pub fn hold_fold(&self) {
        self.state().fold_held = true;
    }

    pub fn release_fold(&self) {
        let mut state = self.state();
        state.fold_held = false;
        state.fold();
        self.moved.send_replace(state.folded);
    }

    pub fn appended(&self) -> Vec<NewRecord> {
        self.state().log.iter().map(|(_, record)| record.clone()).collect()
    }

    pub fn asked(&self) -> Option<ListQuery> {
        self.state().asked.clone()
    }

    fn push(&self, stream: &str, record: NewRecord) -> Result<Position, WriteError> {
        if stream != "kv" {
            return Err(WriteError::NoStream(stream.into()));
        }
        let mut state = self.state();
        match state.log_is {
            LogIs::Up => {}
            LogIs::Away => return Err(WriteError::Unavailable("10.0.0.9:9092 refused".into())),
            LogIs::Busy => return Err(WriteError::Busy),
            LogIs::Refusing => return Err(WriteError::Refused("too large for 10.0.0.9".into())),
            LogIs::Silent => {
                return Err(WriteError::Unknown { position: None, detail: "timed out at 10.0.0.9".into() });
            }
        }
        let key = record.key.clone().unwrap_or_default();
        let partition = key.iter().map(|b| u32::from(*b)).sum::<u32>() % PARTITIONS;
        let offset = state.log.iter().filter(|(p, _)| p.partition == partition).count() as u64;
        let position = Position { epoch: 0, partition, offset };
        state.log.push((position, record));
        if !state.fold_held {
            state.fold();
        }
        self.moved.send_replace(state.folded);
        Ok(position)
    }

    /// Waits until `found` finds something, at most `wait`.
    async fn until<T>(&self, wait: Duration, mut found: impl FnMut(&Inside) -> Option<T>) -> Option<T> {
        let mut moved = self.moved.subscribe();
        let search = async {
            loop {
                if let Some(it) = found(&self.state()) {
                    return it;
                }
                moved.changed().await.expect("the fake lives");
            }
        };
        timeout(wait, search).await.ok()
    }
}

impl Inside {
    fn fold(&mut self) {
        while let Some((position, record)) = self.log.get(self.folded).cloned() {
            self.folded += 1;
            let outcome = self.step(position, &record);
            self.outcomes.insert(position.to_string(), outcome);
        }
    }

    /// The step of `kv`, and three values that stand for what other steps refuse.
    fn step(&mut self, position: Position, record: &NewRecord) -> Outcome {
        let key = String::from_utf8(record.key.clone().expect("key")).expect("utf-8");
        let was = self.entities.get(&key).cloned();
        let refused = |kind, detail: &str| Outcome::Refused {
            kind,
            detail: detail.into(),
            entity: was.clone().filter(|shown| shown.value.is_some()),
        };
        let there = was.as_ref().filter(|shown| shown.value.is_some()).map_or(0, |shown| shown.version);
        let wanted = record.headers.iter().find(|(name, _)| name == "statecast-if-version");
        let wanted = wanted.and_then(|(_, v)| String::from_utf8(v.clone()?).ok()?.parse::<u64>().ok());
        let text = record.value.as_ref().map(|v| String::from_utf8(v.clone()).expect("utf-8"));
        match text.as_deref() {
            _ if wanted.is_some_and(|wanted| wanted != there) => {
                return refused(RefusedKind::Precondition, "the key is at another version");
            }
            Some("\"conflict\"") => return refused(RefusedKind::Conflict, "not now"),
            Some("\"rule\"") => return refused(RefusedKind::Rule, "not so"),
            Some("\"poison\"") => {
                return Outcome::Poisoned { reason: Reason::SchemaInvalid, detail: "no such shape".into() };
            }
            _ => {}
        }
        let shown = Shown {
            key: Key::from(key.as_str()),
            version: was.as_ref().map_or(0, |w| w.version) + 1,
            created_ms: was.map_or(TIME_MS, |w| w.created_ms),
            updated_ms: TIME_MS + position.offset as i64,
            positions: position.into(),
            value: text.map(|text| Json::from_checked(&text)),
        };
        self.entities.insert(key, shown.clone());
        Outcome::Stored(shown)
    }

    fn confirmed(&self, position: Position) -> bool {
        self.log.iter().take(self.folded).any(|(p, _)| p.covers(&position))
    }

    fn store(&self) -> Result<(), ReadError> {
        match self.store_away_s {
            None => Ok(()),
            Some(_) => Err(ReadError::Unavailable("mongodb://10.0.0.7 is gone".into())),
        }
    }
}

impl Engine for Fake {
    fn streams(&self) -> Vec<StreamStatus> {
        let names = [("kv", Kind::Latest, None), ("acts", Kind::App, Some("agents"))];
        let status = |(name, kind, app): (&str, Kind, Option<&str>)| StreamStatus {
            stream: name.into(),
            kind,
            writable: kind.is_writable(false),
            app: app.map(str::to_owned),
            declared: false,
            topics: vec![name.into()],
            keys: Some(self.state().entities.len() as u64),
            positions: vec!["0.0.1".into()],
            lag: vec![0; PARTITIONS as usize],
            state: api::State::Running,
            held: None,
            received_total: 0,
            stored_total: 0,
            newest: None,
            latency_ms: Latency::default(),
        };
        names.into_iter().map(status).collect()
    }

    fn stream(&self, name: &str) -> Option<StreamInfo> {
        assert!(!self.panics.load(Ordering::Relaxed), "a fault of our own, with 10.0.0.7 in it");
        let info = |kind, partials, hint: Option<&str>| StreamInfo {
            name: name.into(),
            kind,
            topic: name.into(),
            partitions: PARTITIONS,
            partials,
            write_hint: hint.map(str::to_owned),
            app_rooms: Vec::new(),
        };
        match name {
            "kv" => Some(info(Kind::Latest, false, None)),
            "acts" => Some(info(Kind::App, true, Some("POST /api/acts"))),
            "grouped" => Some(info(Kind::Latest, true, None)),
            _ => None,
        }
    }

    fn append<'a>(
        &'a self,
        stream: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<Position, WriteError>> {
        Box::pin(async move { self.push(stream, record) })
    }

    fn append_and_wait<'a>(
        &'a self,
        stream: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(Position, Outcome), WriteError>> {
        Box::pin(async move {
            let position = self.push(stream, record)?;
            let name = position.to_string();
            let outcome = self.until(self.wait_timeout, |state| state.outcomes.get(&name).cloned()).await;
            let unknown = WriteError::Unknown { position: Some(position), detail: "10.0.0.7 is slow".into() };
            outcome.map(|outcome| (position, outcome)).ok_or(unknown)
        })
    }

    fn read<'a>(&'a self, stream: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        Box::pin(async move {
            let state = self.state();
            if stream == "acts" {
                let positions: Positions = "0.0.5,0.1.9".parse().expect("positions");
                let value = Some(Json::from_checked("{\"count\":2}"));
                let (created_ms, updated_ms) = (TIME_MS, TIME_MS);
                let shown = Shown { key: key.into(), version: 2, created_ms, updated_ms, positions, value };
                return Ok(Some(Read { shown, age_ms: 0 }));
            }
            match state.entities.get(key) {
                Some(shown) => {
                    let age_ms = state.store_away_s.map_or(3, |s| s * 1_000);
                    Ok(Some(Read { shown: shown.clone(), age_ms }))
                }
                None => state.store().map(|()| None),
            }
        })
    }

    fn reached<'a>(
        &'a self,
        _stream: &'a str,
        position: Position,
        wait: Duration,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async move {
            let reached = self.until(wait, |state| state.confirmed(position).then_some(()));
            Ok(reached.await.is_some())
        })
    }

    fn changed<'a>(
        &'a self,
        _stream: &'a str,
        key: &'a str,
        since: Positions,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Option<Read>, ReadError>> {
        Box::pin(async move {
            self.polls.fetch_add(1, Ordering::Relaxed);
            let newer = |state: &Inside| {
                let shown = state.entities.get(key)?;
                (!since.cover(&shown.positions)).then(|| Read { shown: shown.clone(), age_ms: 0 })
            };
            Ok(self.until(wait, newer).await)
        })
    }

    fn list<'a>(&'a self, _stream: &'a str, query: ListQuery) -> BoxFuture<'a, Result<ListPage, ReadError>> {
        Box::pin(async move {
            let mut state = self.state();
            state.asked = Some(query.clone());
            state.store()?;
            if query.prefix.as_deref() == Some("fault") {
                let detail = "cannot be sorted together with a cursor".into();
                return Err(ReadError::Query { field: "sort", detail });
            }
            let wanted = state.entities.values().filter(|shown| {
                let key = &*shown.key;
                shown.value.is_some()
                    && query.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
                    && query.from.as_deref().is_none_or(|from| key >= from)
                    && query.after.as_deref().is_none_or(|after| key > after)
            });
            let mut items: Vec<_> = wanted.take(query.limit + 1).cloned().collect();
            let more = items.len() > query.limit;
            items.truncate(query.limit);
            let next = items.last().filter(|_| more).map(|shown| shown.key.to_string());
            Ok(ListPage { items, next })
        })
    }

    fn stream_positions(&self, _stream: &str) -> Positions {
        Positions::default()
    }

    fn owns(&self, _stream: &str, _partition: u32) -> bool {
        true
    }

    fn pipeline(&self) -> serde_json::Value {
        serde_json::json!({"streams": []})
    }

    fn locate<'a>(&'a self, stream: &'a str, what: Locate) -> BoxFuture<'a, serde_json::Value> {
        Box::pin(async move {
            let folded = match what {
                Locate::Position(position) => stream == "kv" && self.state().confirmed(position),
                Locate::Key(key) => stream == "kv" && self.state().entities.contains_key(&key),
            };
            serde_json::json!({"step": if folded { "stored" } else { "unknown" }})
        })
    }

    fn health(&self) -> Health {
        let away = self.state().store_away_s;
        let state = if away.is_some() { "down" } else { "up" };
        let store = Dependency { name: "store".into(), state, detail: None, age_ms: away.map(|s| s * 1_000) };
        Health { ready: away.is_none(), dependencies: vec![store] }
    }

    fn stale_s(&self) -> Option<u64> {
        self.state().store_away_s
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetters>> {
        Some(self.letters.clone())
    }
}
