//! The log and the store that all instances of a run share, and every call to them that is under way.
//!
//! Invariant: a call does nothing until the run decides what becomes of it; what reaches the store is compared there and
//! then with the plain fold, and never brings anything older.
//! Not here: deciding (`run`).

use super::{
    Bug, Profile, Seen,
    model::{Fate, Model, Rec},
    produce::partition_of,
    run::PARTITIONS,
    strays,
};
use crate::{
    adapters::memory::MemoryStore,
    app::{Poison, Reason},
    clock,
    document::{Document, Json},
    ports::*,
    record::{NewRecord, Position},
    tests::live::fake::FakeEngine,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::oneshot;

pub const STREAM: &str = "kv";
/// The store refuses a document that holds this.
pub const FORBIDDEN: &str = "\"forbidden\"";

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It never arrived.
    Away,
    /// It was carried out, and the answer is lost.
    Lost,
    /// Some of its statements were carried out, and the answer is lost.
    Partly,
    /// The caller is told nothing now, and it is carried out later.
    Late,
}

/// What a call would do.
#[derive(Debug, Clone)]
pub enum Act {
    Read,
    Rows(String, Vec<StoredRow>),
    Write(Vec<Upsert>),
    Append(String, NewRecord),
    Forget(Vec<(EntityId, Position)>),
    /// Which log the topic is.
    Identity,
    Epoch(String, Option<u32>),
}

/// What the store made of a call that was carried out.
type Carried = Result<usize, StoreError>;

pub struct Call {
    pub who: u64,
    pub act: Act,
    pub since_ms: i64,
    answer: Option<oneshot::Sender<(Verdict, Carried)>>,
}

/// A call whose caller has given up, on its way still.
pub struct Late {
    pub act: Act,
    pub since_ms: i64,
}

#[derive(Default)]
pub struct Inner {
    pub calls: Vec<Call>,
    pub late: Vec<Late>,
    pub log: Vec<Vec<Rec>>,
    pub committed: Vec<u64>,
    pub letters: Vec<NewRecord>,
    pub emitted: Vec<NewRecord>,
    /// When what is not committed yet was stored.
    pub stored_ms: BTreeMap<(u32, u64), i64>,
    /// How often the topic was made anew, and how many of these logs were registered.
    pub identity: u32,
    pub registered: u32,
    pub model: Model,
    /// What live rooms read: each holds what the store holds.
    pub mirrors: Vec<Arc<FakeEngine>>,
    /// The newest of each key that some instance has told.
    pub told: BTreeMap<String, u64>,
    /// Keys with the version on which somebody was told that his write was taken.
    pub taken: BTreeSet<(String, u64)>,
    pub seen: Seen,
}

impl Inner {
    /// An instance tells these; `true`: it stored them itself.
    pub fn note_told<'d>(&mut self, told: impl Iterator<Item = (&'d Document, bool)>) {
        for (document, own) in told {
            let newest = self.told.entry(document.key.to_string()).or_default();
            self.seen.told_for_others += u64::from(*newest < document.version && !own);
            *newest = document.version.max(*newest);
        }
    }
}

pub struct World {
    inner: Mutex<Inner>,
    pub memory: MemoryStore,
    pub bug: Option<Bug>,
    /// Keys come by several partitions, so versions hang on which record came first.
    pub strays: bool,
    /// The topic is made anew now and then, so how much of a log was taken in before is open.
    pub recreated: bool,
}

impl World {
    pub fn new(partitions: usize, bug: Option<Bug>, profile: &Profile) -> Arc<Self> {
        let (strays, recreated) = (profile.strays > 0, profile.recreations > 0);
        let inner =
            Inner { log: vec![Vec::new(); partitions], committed: vec![0; partitions], ..Inner::default() };
        let memory = MemoryStore::default();
        memory.refuse(|document| {
            let forbidden = document.value.as_ref().is_some_and(|value| value.text().contains(FORBIDDEN));
            forbidden.then(|| Poison::new(Reason::StoreRefused, "a rule of the store's"))
        });
        Arc::new(World { inner: Mutex::new(inner), memory, bug, strays, recreated })
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn document(&self, key: &str) -> Option<Document> {
        let id = [EntityId { key: key.into(), partial: None }];
        let found = self.memory.load(STREAM, &id).now_or_never().expect("at once").expect("loaded");
        found.into_iter().next()
    }

    /// Lays a call on the table; resolves when the run says what becomes of it.
    fn enter(&self, who: u64, act: Act) -> oneshot::Receiver<(Verdict, Carried)> {
        let (answer, verdict) = oneshot::channel();
        self.inner().calls.push(Call { who, act, since_ms: clock::now_ms(), answer: Some(answer) });
        verdict
    }

    /// Decides about a call. `part`: of how many statements it is carried out, where it is so partly.
    pub fn decide(&self, at: usize, verdict: Verdict, part: usize) {
        let Call { act, answer, since_ms, .. } = self.inner().calls.remove(at);
        let mut carried = Ok(0);
        match verdict {
            Verdict::Away => {}
            Verdict::Late => self.inner().late.push(Late { act, since_ms }),
            Verdict::Done | Verdict::Lost => carried = self.carry_out(act),
            Verdict::Partly => {
                if let Act::Write(mut upserts) = act {
                    upserts.truncate(part);
                    let _ = self.carry_out(Act::Write(upserts)); // nobody hears of it
                }
            }
        }
        if let Some(answer) = answer {
            let _ = answer.send((verdict, carried)); // the caller may be dead
        }
    }

    pub fn carry_out(&self, act: Act) -> Carried {
        match act {
            Act::Read => Ok(0),
            Act::Identity => Ok(self.inner().identity as usize),
            Act::Epoch(identity, last) => Ok(self.register(&identity, last)),
            Act::Rows(name, rows) => {
                let done = self.memory.insert_rows(STREAM, &name, rows).now_or_never();
                Ok(done.expect("at once").expect("inserted"))
            }
            Act::Append(topic, record) => {
                let mut inner = self.inner();
                if topic == STREAM {
                    return Ok(inner.append(&record) as usize);
                }
                let to = if topic.ends_with(".dlq") { &mut inner.letters } else { &mut inner.emitted };
                to.push(record);
                Ok(0)
            }
            Act::Write(upserts) => self.write(upserts),
            Act::Forget(ids) => Ok(ids.into_iter().map(|id| self.forget(id)).sum()),
        }
    }

    fn write(&self, upserts: Vec<Upsert>) -> Carried {
        let (mut applied, mut refused) = (0, Vec::new());
        for upsert in upserts {
            match self.upsert(upsert) {
                Ok(one) => applied += one,
                Err(StoreError::RefusedDocuments(mut one)) => refused.append(&mut one),
                Err(error) => return Err(error),
            }
        }
        self.inner().seen.refused_documents += refused.len() as u64;
        if refused.is_empty() { Ok(applied) } else { Err(StoreError::RefusedDocuments(refused)) }
    }

    fn upsert(&self, mut upsert: Upsert) -> Carried {
        let key = upsert.document.key.clone();
        let before = self.document(&key);
        if self.bug == Some(Bug::NoGuard)
            && let Some(before) = &before
        {
            let id = EntityId { key: key.clone(), partial: None };
            let gone = self.memory.forget(STREAM, vec![(id, before.position)]).now_or_never();
            gone.expect("at once").expect("forgotten");
            upsert.from_version = 0;
        }
        let wanted = upsert.document.clone();
        let upsert_is_first = upsert.from_version == 0;
        if self.memory.write(STREAM, vec![upsert]).now_or_never().expect("at once")? == 0 {
            let mut inner = self.inner();
            inner.seen.refused_writes += 1;
            inner.seen.late_of_old += u64::from(wanted.position.epoch < inner.identity);
            return Ok(0);
        }
        if let Some(before) = before {
            assert!(before.version < wanted.version, "stored {wanted:?} over {before:?}");
            let is_behind = before.position.order(&wanted.position).is_none_or(Ordering::is_lt);
            assert!(is_behind, "stored {wanted:?} over {before:?}");
            assert!(
                !self.strays || before.updated_ms < wanted.updated_ms,
                "stored {wanted:?} over {before:?}"
            );
            let is_moved = before.position.partition != wanted.position.partition;
            self.inner().seen.stored_from_elsewhere += u64::from(is_moved);
        }
        let mut inner = self.inner();
        let right = inner.model.document_at(&key, wanted.position);
        let right = if self.strays || self.recreated {
            right.map(|right| strays::as_it_came(right, &wanted))
        } else {
            right
        };
        let fate = inner.model.fates.get(&(wanted.position.partition, wanted.position.offset));
        assert_eq!(right.as_ref(), Some(&wanted), "what is stored is no plain fold, of {fate:?}");
        inner.seen.begun_again += u64::from(inner.model.was_forgotten(&key) && upsert_is_first);
        inner.stored_ms.insert((wanted.position.partition, wanted.position.offset), clock::now_ms());
        for mirror in &inner.mirrors {
            mirror.mirror(STREAM, (&wanted).into());
        }
        Ok(1)
    }

    /// Whether what stands at a position may be committed: stored, in the dead letters, or refused.
    pub fn is_safe(&self, partition: u32, offset: u64) -> bool {
        let fate = self.inner().model.fates.get(&(partition, offset)).cloned();
        match fate {
            None => false,
            Some(Fate::Refused) => true,
            Some(Fate::Poison) => self.has_letter(partition, offset),
            Some(Fate::Stored(document)) => {
                let at = Position { epoch: self.inner().identity, partition, offset };
                let is_there = |stored: Document| match stored.position.order(&at) {
                    Some(order) => order.is_ge(),
                    None => stored.updated_ms >= document.updated_ms,
                };
                self.document(&document.key).is_some_and(is_there)
                    || self.inner().model.is_forgotten(&document.key, partition, offset)
            }
        }
    }

    fn has_letter(&self, partition: u32, offset: u64) -> bool {
        let at = (partition.to_string(), offset.to_string());
        self.inner().letters.iter().any(|letter| letter_at(letter) == at)
    }
}

/// Partition and offset of the record a letter is of.
pub fn letter_at(letter: &NewRecord) -> (String, String) {
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(header, _)| header == name);
        let value = found.and_then(|(_, value)| value.clone()).expect("the header");
        String::from_utf8(value).expect("text")
    };
    (header("statecast-dlq-partition"), header("statecast-dlq-offset"))
}

/// The store as one incarnation of an instance reaches it.
pub struct SimStore {
    pub world: Arc<World>,
    pub who: u64,
}

fn away() -> StoreError {
    StoreError::Unavailable("it does not answer".into())
}

impl SimStore {
    async fn ask(&self, act: Act) -> Result<usize, StoreError> {
        match self.world.enter(self.who, act).await {
            Ok((Verdict::Done, carried)) => carried,
            _ => Err(away()),
        }
    }
}

impl Store for SimStore {
    fn load<'a>(
        &'a self,
        stream: &'a str,
        ids: &'a [EntityId],
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        async move {
            self.ask(Act::Read).await?;
            self.world.memory.load(stream, ids).await
        }
        .boxed()
    }

    fn write<'a>(&'a self, _: &'a str, upserts: Vec<Upsert>) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.ask(Act::Write(upserts)).boxed()
    }

    fn insert_rows<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.ask(Act::Rows(name.to_owned(), rows)).boxed()
    }

    fn row_firsts<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>> {
        async move {
            self.ask(Act::Read).await?;
            self.world.memory.row_firsts(stream, name, ids).await
        }
        .boxed()
    }

    // What writers do not call.
    fn prepare<'a>(&'a self, stream: &'a str, rows: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.world.memory.prepare(stream, rows)
    }
    fn last_epoch<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>> {
        async move {
            self.ask(Act::Read).await?;
            self.world.memory.last_epoch(stream).await
        }
        .boxed()
    }
    fn epoch<'a>(
        &'a self,
        _: &'a str,
        identity: &'a str,
        last: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>> {
        async move {
            let answer = self.ask(Act::Epoch(identity.to_owned(), last)).await?;
            Ok(answer.checked_sub(1).map(|answer| ((answer / 2) as u32, answer % 2 == 1)))
        }
        .boxed()
    }
    fn load_partials<'a>(
        &'a self,
        stream: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        self.world.memory.load_partials(stream, key)
    }
    fn load_row<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>> {
        self.world.memory.load_row(stream, name, id)
    }
    fn scan_rows<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
        scan: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>> {
        self.world.memory.scan_rows(stream, name, scan)
    }
    fn scan<'a>(&'a self, stream: &'a str, scan: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        self.world.memory.scan(stream, scan)
    }
    fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.world.memory.count(stream)
    }
    fn expired<'a>(
        &'a self,
        stream: &'a str,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        async move {
            self.ask(Act::Read).await?;
            self.world.memory.expired(stream, now_ms, limit).await
        }
        .boxed()
    }
    fn forget<'a>(
        &'a self,
        _: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.ask(Act::Forget(ids)).boxed()
    }
    fn put_mark<'a>(&'a self, name: &'a str, json: Json) -> BoxFuture<'a, Result<(), StoreError>> {
        self.world.memory.put_mark(name, json)
    }
    fn marks<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Json)>, StoreError>> {
        self.world.memory.marks(prefix)
    }
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.ask(Act::Read).await.map(drop) }.boxed()
    }
}

/// The log as one incarnation of an instance reaches it: it only appends here; the run itself pulls and commits.
pub struct SimLog {
    pub world: Arc<World>,
    pub who: u64,
}

impl Log for SimLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(u32, u64), LogError>> {
        let partition = match topic == STREAM {
            true => partition_of(&String::from_utf8_lossy(record.key.as_deref().unwrap_or_default())),
            false => 0,
        };
        let asked = self.world.enter(self.who, Act::Append(topic.to_owned(), record));
        if self.world.bug == Some(Bug::LetterNotAwaited) {
            return ready(Ok((0, 0))).boxed();
        }
        async move {
            match asked.await {
                Ok((Verdict::Done, carried)) => Ok((partition, carried.unwrap_or_default() as u64)),
                _ => Err(LogError::Unknown("no acknowledgement".into())),
            }
        }
        .boxed()
    }

    fn create_topics<'a>(&'a self, _: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>> {
        unimplemented!("topics are there")
    }
    fn identity<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>> {
        async move {
            match self.world.enter(self.who, Act::Identity).await {
                Ok((Verdict::Done, Ok(id))) => {
                    Ok(Some(TopicIdentity { id: id.to_string(), partitions: PARTITIONS as u32 }))
                }
                _ => Err(LogError::Unavailable("it does not answer".into())),
            }
        }
        .boxed()
    }
    fn bounds<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>> {
        unimplemented!("writers do not ask")
    }
    fn join(&self, _: Subscription, _: Arc<dyn Assignments>) -> Result<Arc<dyn Membership>, LogError> {
        unimplemented!("the run assigns")
    }
    fn read(&self, _: &str, _: u32, _: u32, _: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        unimplemented!("the run pulls")
    }
    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>> {
        unimplemented!("writers do not ask")
    }
}
