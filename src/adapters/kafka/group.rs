//! What one member of a consumer group holds: its partitions, what it has committed, and what happens when they move.
//!
//! Invariant: a partition's queue is closed before the partition is given back; what is committed for it goes never
//! backwards, never out after it was given back, and never when it was lost.
//! Not here: finding where a partition begins (`rebalance`), reading it (`reader`), and the thread on which everything
//! here that blocks runs (`consumer`).

use super::{
    faults::Faults,
    offsets,
    reader::Lane,
    rebalance::{Client, Context},
};
use crate::{
    metrics,
    ports::{Assignments, LogError, Subscription},
};
use rdkafka::{
    TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A commit that failed in passing is made again after so long.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Commits at a revoke that failed in passing are made so often: the group may be settling just then.
const COMMIT_ATTEMPTS: usize = 10;

/// One membership, shared by its thread, its client's context and its holder.
pub struct Group {
    pub subscription: Subscription,
    pub faults: Arc<Faults>,
    pub events: Arc<dyn Assignments>,
    call_timeout: Duration,
    client: OnceLock<Weak<Client>>,
    state: Mutex<State>,
    stopping: AtomicBool,
    failed: AtomicBool,
}

#[derive(Default)]
struct State {
    held: BTreeMap<u32, Held>,
    /// Partitions that have begun at the earliest record in this membership, where it was asked for.
    begun: BTreeSet<u32>,
}

/// A partition that is ours now.
struct Held {
    lane: Arc<Lane<Context>>,
    /// The highest next offset committed, or asked to be, in this assignment.
    asked: Option<u64>,
    /// That commit failed and is to be made again.
    again: bool,
}

impl Group {
    pub fn new(subscription: Subscription, events: Arc<dyn Assignments>, call_timeout: Duration) -> Self {
        Group {
            faults: Arc::new(Faults::new(format!("member {}", subscription.group))),
            subscription,
            events,
            call_timeout,
            client: OnceLock::new(),
            state: Mutex::default(),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Only from the member's thread, once, before it subscribes.
    pub fn set_client(&self, client: &Arc<Client>) {
        let _ = self.client.set(Arc::downgrade(client));
    }

    /// `None` before the client is made and after it was closed.
    pub fn client(&self) -> Option<Arc<Client>> {
        self.client.get()?.upgrade()
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The membership cannot go on: told once. Its thread goes on polling until it is told to leave.
    pub fn fail(&self, error: LogError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(group = %self.subscription.group, %error, "the membership cannot go on");
            self.events.failed(error);
        }
    }

    /// Whether nothing is taken in any more.
    pub fn ended(&self) -> bool {
        self.stopping() || self.failed.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a partition is to begin at its earliest record, whatever is committed: once for each in a membership
    /// that asks for it. When it comes back after having been with others, they have committed in its epoch.
    pub fn begins_anew(&self, partition: u32) -> bool {
        self.subscription.from_earliest && self.state().begun.insert(partition)
    }

    /// A partition is ours from here on. `start`: the next offset its group has committed, where it begins.
    pub fn hold(&self, lane: Arc<Lane<Context>>, start: Option<u64>) {
        let partition = lane.partition;
        let before = self.state().held.insert(partition, Held { lane, asked: start, again: false });
        if let Some(before) = before {
            before.lane.close();
            self.fail(LogError::Fatal(format!("partition {partition} was assigned twice")));
        }
    }

    /// Those of these partitions that are ours now.
    pub fn held(&self, of: impl Iterator<Item = u32>) -> Vec<u32> {
        let state = self.state();
        of.filter(|partition| state.held.contains_key(partition)).collect()
    }

    /// Commits next offsets in the background. Called from any thread; the lock is held until the commit is queued, so
    /// that none can be queued behind the last one of a partition that goes.
    pub fn commit(&self, next: &[(u32, u64)]) {
        let mut state = self.state();
        let next: Vec<_> = next.iter().copied().filter(|(p, offset)| state.ask(*p, *offset)).collect();
        self.commit_in_background(&next);
    }

    /// Makes commits again that failed.
    pub fn commit_again(&self) {
        let mut state = self.state();
        let next: Vec<_> =
            state.held.iter_mut().filter_map(|(p, held)| Some((*p, held.take_again()?))).collect();
        self.commit_in_background(&next);
    }

    fn commit_in_background(&self, next: &[(u32, u64)]) {
        let Some(client) = self.client().filter(|_| !next.is_empty()) else { return };
        let committed = offsets::next_offsets(&self.subscription, next)
            .and_then(|list| client.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            self.commit_failed(&error);
        }
    }

    fn commit_failed(&self, error: &KafkaError) {
        metrics::COMMITS_FAILED.add(&[], 1);
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.faults.note("commit", code, &error.to_string());
    }

    /// The outcome of a commit in the background.
    pub fn commit_answered(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        let failed = match &result {
            // There was nothing to commit.
            Err(KafkaError::ConsumerCommit(Code::NoOffset)) => return,
            Err(error) => Some(error.clone()),
            Ok(()) => list.elements().iter().find_map(|element| element.error().err()),
        };
        let Some(error) = failed else { return self.faults.well() };
        self.commit_failed(&error);
        let mut state = self.state();
        for element in list.elements().iter().filter(|e| result.is_err() || e.error().is_err()) {
            if let Some(held) = u32::try_from(element.partition()).ok().and_then(|p| state.held.get_mut(&p)) {
                held.again = true;
            }
        }
    }

    /// Commits what a revoke returned and waits for it. Blocks.
    pub fn commit_now(&self, client: &Client, next: &[(u32, u64)]) {
        if next.is_empty() {
            return;
        }
        let Ok(list) = offsets::next_offsets(&self.subscription, next) else { return };
        for attempt in 1..=COMMIT_ATTEMPTS {
            let Err(error) = client.commit(&list, CommitMode::Sync) else { return self.faults.well() };
            self.commit_failed(&error);
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            if !offsets::commit_may_pass(code) || attempt == COMMIT_ATTEMPTS {
                let group = self.subscription.group.as_str();
                tracing::warn!(group, ?next, %error, "the last commit failed, so these records will come again");
                return;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
    }

    /// Closes the queues of partitions that are not ours any more; returns what may be committed of `next`.
    fn close(&self, partitions: &[u32], next: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let (lanes, last): (Vec<_>, _) = {
            let mut state = self.state();
            let last =
                next.iter().copied().filter(|(p, o)| partitions.contains(p) && state.ask(*p, *o)).collect();
            (partitions.iter().filter_map(|p| state.held.remove(p)).map(|held| held.lane).collect(), last)
        };
        lanes.iter().for_each(|lane| lane.close());
        last
    }

    /// Everything that is still held.
    pub fn all_held(&self) -> Vec<u32> {
        self.state().held.keys().copied().collect()
    }

    /// Parts with partitions: their records are finished or dropped and their queues closed. Returns what is to be
    /// committed for them, which is nothing where they were lost.
    pub fn let_go(&self, client: &Client, partitions: &[u32]) -> Vec<(u32, u64)> {
        if partitions.is_empty() {
            return Vec::new();
        }
        if client.assignment_lost() {
            let group = self.subscription.group.as_str();
            tracing::warn!(group, ?partitions, "partitions were lost, nothing is committed for them");
            self.events.lost(partitions);
            return self.close(partitions, &[]);
        }
        let next = self.events.revoked(partitions);
        self.close(partitions, &next)
    }
}

impl State {
    /// Whether this next offset may be committed: the partition is ours, and nothing higher was.
    fn ask(&mut self, partition: u32, next: u64) -> bool {
        let Some(held) = self.held.get_mut(&partition) else { return false };
        let forward = held.asked.is_none_or(|asked| next >= asked);
        if forward {
            (held.asked, held.again) = (Some(next), false);
        }
        forward
    }
}

impl Held {
    fn take_again(&mut self) -> Option<u64> {
        std::mem::take(&mut self.again).then_some(self.asked)?
    }
}
