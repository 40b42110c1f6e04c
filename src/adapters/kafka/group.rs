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
    commits: Commits,
}

/// What was committed of a partition in this assignment.
#[derive(Debug, Default)]
struct Commits {
    /// The highest next offset committed, or asked to be.
    asked: Option<u64>,
    /// No answer has said yet that it is.
    is_open: bool,
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
        let commits = Commits { asked: start, ..Commits::default() };
        let before = self.state().held.insert(partition, Held { lane, commits });
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
            state.held.iter_mut().filter_map(|(p, held)| Some((*p, held.commits.take_again()?))).collect();
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
        match &failed {
            None => self.faults.well(),
            Some(error) => self.commit_failed(error),
        }
        let mut state = self.state();
        for element in list.elements() {
            let is_done = result.is_ok() && element.error().is_ok();
            let next = element.offset().to_raw().and_then(|next| u64::try_from(next).ok());
            if let Some(held) = u32::try_from(element.partition()).ok().and_then(|p| state.held.get_mut(&p)) {
                held.commits.answered(next, is_done);
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
            let may_pass = offsets::commit_may_pass(code) && !client.assignment_lost();
            if !may_pass || attempt == COMMIT_ATTEMPTS {
                let group = self.subscription.group.as_str();
                tracing::warn!(group, ?next, %error, "the last commit failed, so these records will come again");
                return;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
    }

    /// Closes the queues of partitions that are not ours any more; returns what is to be committed at the last: of `next`
    /// what may be, and whatever was asked for before and nobody has heard to be committed.
    fn close(&self, partitions: &[u32], next: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let (lanes, last): (Vec<_>, _) = {
            let mut state = self.state();
            for (partition, next) in next.iter().filter(|(partition, _)| partitions.contains(partition)) {
                state.ask(*partition, *next);
            }
            let gone: Vec<_> = partitions.iter().filter_map(|p| Some((*p, state.held.remove(p)?))).collect();
            let last = gone.iter().filter_map(|(p, held)| Some((*p, held.commits.open()?))).collect();
            (gone.into_iter().map(|(_, held)| held.lane).collect(), last)
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
            self.close(partitions, &[]);
            return Vec::new();
        }
        let next = self.events.revoked(partitions);
        self.close(partitions, &next)
    }
}

impl State {
    /// Whether this next offset may be committed: the partition is ours, and nothing higher was.
    fn ask(&mut self, partition: u32, next: u64) -> bool {
        self.held.get_mut(&partition).is_some_and(|held| held.commits.ask(next))
    }
}

impl Commits {
    /// Whether this next offset may be committed: nothing higher was.
    fn ask(&mut self, next: u64) -> bool {
        let forward = self.asked.is_none_or(|asked| next >= asked);
        if forward {
            (self.asked, self.is_open, self.again) = (Some(next), true, false);
        }
        forward
    }

    fn answered(&mut self, next: Option<u64>, is_done: bool) {
        match is_done {
            true if next == self.asked => (self.is_open, self.again) = (false, false),
            true => {}
            false => self.again = self.is_open,
        }
    }

    fn take_again(&mut self) -> Option<u64> {
        std::mem::take(&mut self.again).then_some(self.asked)?
    }

    /// What was asked for, if nobody has heard that it is committed.
    fn open(&self) -> Option<u64> {
        self.asked.filter(|_| self.is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::Commits;

    #[test]
    fn what_nobody_heard_to_be_committed_is_committed_at_the_last() {
        let mut commits = Commits { asked: Some(5), ..Commits::default() };
        assert_eq!(commits.open(), None, "it began there");
        assert!(commits.ask(7) && !commits.ask(6));
        assert_eq!(commits.open(), Some(7), "under way");
        assert!(commits.ask(9));
        commits.answered(Some(7), true);
        assert_eq!(commits.open(), Some(9), "the answer was another's");
        commits.answered(Some(9), false);
        assert_eq!((commits.open(), commits.take_again(), commits.take_again()), (Some(9), Some(9), None));
        assert_eq!(commits.open(), Some(9), "made again, and not answered yet");
        commits.answered(Some(9), true);
        assert_eq!((commits.open(), commits.take_again()), (None, None));
    }

    #[test]
    fn an_answer_to_what_was_overtaken_leaves_nothing_to_be_made_again() {
        let mut commits = Commits::default();
        commits.ask(3);
        commits.answered(Some(3), true);
        commits.answered(Some(2), false);
        assert_eq!((commits.open(), commits.take_again()), (None, None));
    }
}
