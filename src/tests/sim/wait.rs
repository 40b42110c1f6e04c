//! Somebody who waits: for a position to be reached, or for the outcome of a write of his own that is bound to a version.
//!
//! Invariant: who is told that a position is reached finds everything up to it; whoever is told an outcome is told what
//! really became of his record, and of all who named one version at most one is told that his was taken.
//! Not here: the decision itself (`engine::fold`), HTTP.

use super::{
    instance::Instance,
    model::{Fate, Intent, Rec},
    produce::{keys, partition_of},
    run::{INSTANCES, Run},
    world::{Inner, STREAM, World},
};
use crate::{
    engine::{
        api::{Engine, Outcome, WriteError},
        fold::{CONDITION_HEADER, WAIT_HEADER},
        handle::Handle,
        progress::Joined,
    },
    ports::{LogError, Membership},
    record::{NewRecord, Position},
};
use futures_util::{FutureExt, future::BoxFuture};
use rand::Rng;
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Longer than anybody who waits sleeps before he looks again.
const MOMENT: Duration = Duration::from_millis(250);
/// Waiters at once: beyond it nobody new comes.
const WAITING_MAX: usize = 6;
/// No JSON.
const BROKEN: &[u8] = b"{\"a\":";

type Written = Result<(Position, Outcome), WriteError>;

enum Answer {
    Reached(Position),
    /// With the key and the version that it was bound to.
    Written(String, u64, Box<Written>),
}

pub struct Waiting {
    /// The incarnation that was asked; with it goes who waits.
    home: u64,
    answer: BoxFuture<'static, Answer>,
}

impl Run<'_> {
    /// Somebody asks for a position that is in the log: not long ago, whatever became of the record.
    pub(super) fn wait_for_position(&mut self, slot: usize) {
        let partition = self.rng.random_range(0..self.owner.len()) as u32;
        let end = self.world.inner().log[partition as usize].len() as u64;
        if end == 0 || self.waiting.len() >= WAITING_MAX {
            return;
        }
        let offset = end - 1 - self.rng.random_range(0..end.min(4));
        let position = Position { epoch: 0, partition, offset };
        let (home, stream) = (self.instance(slot).id, self.instance(slot).stream.clone());
        let answer = async move {
            stream.reached(position).await;
            Answer::Reached(position)
        };
        self.waiting.push(Waiting { home, answer: answer.boxed() });
    }

    /// Somebody writes, bound to a version; often to the one that somebody else has just named.
    pub(super) fn write_bound(&mut self, slot: usize) {
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        let again = self.bound.clone().filter(|_| self.rng.random_bool(0.6));
        let (key, version) = again.unwrap_or_else(|| {
            let key = format!("k{}", self.rng.random_range(0..2));
            let inner = self.world.inner();
            let live = inner.model.entities.get(&key).filter(|entity| entity.value.is_some());
            let version = live.map_or(0, |entity| entity.version);
            (key, version)
        });
        self.bound = Some((key.clone(), version));
        let value = match self.rng.random_bool(0.1) {
            true => BROKEN.to_vec(),
            false => format!("{{\"bound\":{}}}", self.next_value).into_bytes(),
        };
        self.next_value += 1;
        let headers = vec![(CONDITION_HEADER.to_owned(), Some(version.to_string().into_bytes()))];
        let record = NewRecord {
            key: Some(key.clone().into_bytes()),
            value: Some(value),
            headers,
            ..NewRecord::default()
        };
        let instance = self.instance(slot);
        let (home, handle) = (instance.id, Handle::over(vec![instance.stream.clone()]));
        let answer = async move {
            let written = handle.append_and_wait(STREAM, record).await;
            Answer::Written(key, version, Box::new(written))
        };
        self.waiting.push(Waiting { home, answer: answer.boxed() });
    }

    /// Whoever can be answered is. `true`: somebody was.
    pub(super) fn answer_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.waiting.len();
        let mut at = 0;
        while at < self.waiting.len() {
            match self.waiting[at].answer.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(answer) => {
                    let home = self.waiting.remove(at).home;
                    self.judge(home, answer);
                }
            }
        }
        self.waiting.len() < before
    }

    fn judge(&mut self, home: u64, answer: Answer) {
        match answer {
            Answer::Reached(position) => {
                let instance = self.instances.iter().flatten().find(|instance| instance.id == home);
                reached(position, instance.expect("who waits goes with his instance"), &self.world);
            }
            Answer::Written(key, version, written) => {
                written_as(&mut self.world.inner(), &key, version, *written)
            }
        }
    }

    /// A moment passes, in which whoever waits looks again.
    pub(super) async fn moment(&mut self) {
        tokio::time::advance(MOMENT).await;
    }

    /// Everything is at rest: everybody is answered.
    pub(super) async fn answer_all(&mut self) {
        for _ in 0..100 {
            if self.waiting.is_empty() {
                return;
            }
            while !self.world.inner().calls.is_empty() {
                self.world.decide(0, super::world::Verdict::Done, 0);
            }
            self.moment().await;
            self.settle().await;
        }
        panic!("{} wait for ever", self.waiting.len());
    }

    /// With an instance go those who wait there.
    pub(super) fn forget_waiting(&mut self) {
        let alive: Vec<u64> =
            (0..INSTANCES).filter_map(|slot| Some(self.instances[slot].as_ref()?.id)).collect();
        self.waiting.retain(|waiting| alive.contains(&waiting.home));
    }
}

/// Everything up to the position is safe, and who reads here now reads what stands there or something later.
fn reached(position: Position, instance: &Instance, world: &World) {
    let partition = position.partition;
    for offset in 0..=position.offset {
        assert!(
            world.is_safe(partition, offset),
            "{position} is said to be reached, {partition}.{offset} is not safe"
        );
    }
    let mut inner = world.inner();
    for key in keys().filter(|key| partition_of(key) == partition) {
        let mut fates =
            (0..=position.offset).rev().filter_map(|offset| inner.model.fates.get(&(partition, offset)));
        let newest = fates.find_map(|fate| match fate {
            Fate::Stored(document) if *document.key == *key => Some(document.position),
            _ => None,
        });
        let shown = instance.stream.view.documents(&key, &instance.stream.progress.owned);
        let shown = shown.and_then(|documents| documents.first().map(|document| document.position));
        if let Some((newest, shown)) = newest.zip(shown) {
            assert!(
                shown.covers(&newest),
                "{position} is said to be reached, and {key} is shown as of {shown}"
            );
        }
    }
    let changed = matches!(inner.model.fates.get(&(partition, position.offset)), Some(Fate::Stored(_)));
    inner.seen.reached += 1;
    inner.seen.reached_unchanged += u64::from(!changed);
    inner.seen.reached_elsewhere += u64::from(!instance.stream.progress.owned.has(partition));
}

fn written_as(inner: &mut Inner, key: &str, version: u64, written: Written) {
    let fate = |position: &Position| inner.model.fates.get(&(position.partition, position.offset)).cloned();
    match written {
        Ok((position, Outcome::Stored(shown))) => {
            let Some(Fate::Stored(document)) = fate(&position) else {
                panic!("{key}: who wrote {position} was told that it is stored");
            };
            let is_there =
                shown.version >= document.version && shown.positions.0.iter().any(|at| at.covers(&position));
            assert!(is_there, "{key}: who wrote {position} was shown {shown:?}");
            // Of a key that is not there several may be the first, one after the other.
            let is_first = version == 0 || inner.taken.insert((key.to_owned(), version));
            assert!(is_first, "{key}: two were told that theirs was taken on version {version}");
            inner.seen.told_stored += 1;
        }
        Ok((position, Outcome::Refused { .. })) => {
            assert_eq!(
                fate(&position),
                Some(Fate::Refused),
                "{key}: who wrote {position} was told of a refusal"
            );
            inner.seen.told_refused += 1;
        }
        Ok((position, Outcome::Poisoned { .. })) => {
            assert_eq!(fate(&position), Some(Fate::Poison), "{key}: who wrote {position} was told of poison");
            inner.seen.told_poisoned += 1;
        }
        Err(WriteError::Unknown { .. }) => inner.seen.told_unknown += 1,
        Err(WriteError::Busy) => {}
        Err(error) => panic!("{key}: {error}"),
    }
}

impl Inner {
    /// A record of somebody who waits reaches the log; returns its offset.
    pub fn append(&mut self, record: &NewRecord) -> u64 {
        let header = |name: &str| {
            let found = record.headers.iter().find(|(header, _)| header == name);
            found.and_then(|(_, value)| value.clone()).map(|value| String::from_utf8(value).expect("text"))
        };
        let key = record.key.clone().expect("a key");
        let partition = partition_of(&String::from_utf8_lossy(&key));
        let log = &self.log[partition as usize];
        let rec = Rec {
            epoch: self.identity,
            partition,
            offset: log.len() as u64,
            time_ms: 1_000 + log.len() as i64,
            key: Some(key),
            value: record.value.clone(),
            condition: header(CONDITION_HEADER).map(|version| version.parse().expect("a version")),
            event: None,
            waiter: header(WAIT_HEADER),
            intent: if record.value.as_deref() == Some(BROKEN) { Intent::Poison } else { Intent::Value },
        };
        self.model.take(&rec);
        self.log[partition as usize].push(rec);
        self.log[partition as usize].len() as u64 - 1
    }
}

/// A place in the group, for those who ask what it has committed.
pub struct InGroup(pub Arc<World>);

impl InGroup {
    pub fn joined(world: &Arc<World>) -> Arc<Joined> {
        Arc::new(Joined(Arc::new(InGroup(world.clone()))))
    }
}

impl Membership for InGroup {
    fn commit(&self, _: &[(u32, u64)]) {
        unimplemented!("the run commits")
    }

    fn committed(&self) -> BoxFuture<'_, Result<Vec<(u32, u64)>, LogError>> {
        let committed = self.0.inner().committed.clone();
        std::future::ready(Ok((0..).zip(committed).collect())).boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        unimplemented!("the run revokes")
    }
}
