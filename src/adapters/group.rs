//! Consumer groups inside one process, for logs that have no broker: who reads which partition.
//!
//! Invariant: a partition has at most one reader in a group; it is given on only after the one before was revoked and
//! what that returned is durably committed. A rebalance revokes only what moves.
//! Not here: records. A log gives readers and keeps offsets (`GroupLog`).

use crate::ports::{Assignments, LogError, Membership, PartitionReader, Subscription};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};
use tokio::sync::oneshot;

/// What a group needs of its log. Every call but `commit` may block.
pub trait GroupLog: Send + Sync + 'static {
    /// How many partitions a topic has.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// A reader from this offset, or from the earliest record where that is `None` or not there any more.
    fn reader(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: Option<u64>,
    ) -> Result<Box<dyn PartitionReader>, LogError>;

    /// (partition, next offset) of all that this group has committed.
    fn committed(&self, topic: &str, group: &str) -> Result<Vec<(u32, u64)>, LogError>;

    /// Queues offsets, in the order of the calls; the receiver hears when they are durable. Does not block.
    fn commit(
        &self,
        topic: &str,
        group: &str,
        next: &[(u32, u64)],
    ) -> oneshot::Receiver<Result<(), LogError>>;
}

/// The groups of one log.
pub struct Groups {
    log: Arc<dyn GroupLog>,
    running: Arc<Running>,
    next_id: AtomicU64,
}

type Running = Mutex<HashMap<Name, mpsc::Sender<Order>>>;

/// Topic and group.
type Name = (String, String);

enum Order {
    Join(Seat),
    /// Revoke, commit, and out.
    Leave(u64, oneshot::Sender<()>),
    /// Dropped without leaving: what it had is lost, nothing is committed.
    Gone(u64),
}

struct Seat {
    id: u64,
    subscription: Subscription,
    events: Arc<dyn Assignments>,
    assigned: Assigned,
    /// Partitions whose start at the earliest record was asked for and has been.
    begun: BTreeSet<u32>,
}

/// What a member holds now; read by its commits.
type Assigned = Arc<Mutex<BTreeSet<u32>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Groups {
    pub fn new(log: Arc<dyn GroupLog>) -> Self {
        Groups { log, running: Arc::default(), next_id: AtomicU64::new(0) }
    }

    /// Takes a seat in the group, whose thread then shares out the partitions anew.
    pub fn join(
        &self,
        subscription: Subscription,
        events: Arc<dyn Assignments>,
    ) -> Result<Arc<dyn Membership>, LogError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (topic, group) = (subscription.topic.clone(), subscription.group.clone());
        let assigned = Assigned::default();
        let seat = Seat { id, subscription, events, assigned: assigned.clone(), begun: BTreeSet::new() };
        let orders = self.order(&(topic.clone(), group.clone()), Order::Join(seat))?;
        Ok(Arc::new(Member { id, topic, group, assigned, orders, log: self.log.clone() }))
    }

    /// Sends to the group's thread, which is started where there is none. Under the lock, so that a thread that is about
    /// to end sees the order first.
    fn order(&self, name: &Name, order: Order) -> Result<mpsc::Sender<Order>, LogError> {
        let mut running = lock(&self.running);
        let order = match running.get(name) {
            Some(orders) => match orders.send(order) {
                Ok(()) => return Ok(orders.clone()),
                Err(mpsc::SendError(order)) => order,
            },
            None => order,
        };
        let (orders, received) = mpsc::channel();
        let coordinator = Coordinator { name: name.clone(), log: self.log.clone(), seats: Vec::new() };
        let threads = self.running.clone();
        std::thread::Builder::new()
            .name("group".into())
            .spawn(move || coordinator.run(&received, &threads))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        let _ = orders.send(order); // the receiver lives: its thread has just begun
        running.insert(name.clone(), orders.clone());
        Ok(orders)
    }
}

/// The thread of one group. It alone moves partitions.
struct Coordinator {
    name: Name,
    log: Arc<dyn GroupLog>,
    seats: Vec<Seat>,
}

impl Coordinator {
    fn run(mut self, orders: &mpsc::Receiver<Order>, running: &Running) {
        loop {
            let order = match orders.try_recv() {
                Ok(order) => order,
                Err(_) if self.seats.is_empty() => {
                    let mut running = lock(running);
                    let Ok(order) = orders.try_recv() else {
                        running.remove(&self.name);
                        return;
                    };
                    order
                }
                Err(_) => match orders.recv() {
                    Ok(order) => order,
                    Err(_) => return,
                },
            };
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join(seat) => self.seats.push(seat),
            Order::Leave(id, left) => {
                if let Some(seat) = self.stand_up(id) {
                    let held = lock(&seat.assigned).clone();
                    self.revoke(&seat, &held);
                }
                let _ = left.send(());
            }
            Order::Gone(id) => {
                if let Some(seat) = self.stand_up(id) {
                    let held: Vec<u32> = std::mem::take(&mut *lock(&seat.assigned)).into_iter().collect();
                    if !held.is_empty() {
                        seat.events.lost(&held);
                    }
                }
            }
        }
        if let Err(error) = self.share_out() {
            self.seats.iter().for_each(|seat| seat.events.failed(error.clone()));
        }
    }

    fn stand_up(&mut self, id: u64) -> Option<Seat> {
        let at = self.seats.iter().position(|seat| seat.id == id)?;
        Some(self.seats.remove(at))
    }

    /// Takes partitions from a member, and commits what it says it has finished.
    fn revoke(&self, seat: &Seat, partitions: &BTreeSet<u32>) {
        if partitions.is_empty() {
            return;
        }
        let mut next = seat.events.revoked(&partitions.iter().copied().collect::<Vec<_>>());
        lock(&seat.assigned).retain(|partition| !partitions.contains(partition));
        next.retain(|(partition, _)| partitions.contains(partition));
        let (topic, group) = &self.name;
        let outcome = self.log.commit(topic, group, &next).blocking_recv();
        if let Ok(Err(error)) = outcome {
            tracing::warn!(%topic, %group, %error, "offsets of revoked partitions were not committed");
        }
    }

    fn share_out(&mut self) -> Result<(), LogError> {
        if self.seats.is_empty() {
            return Ok(());
        }
        let (topic, group) = self.name.clone();
        let held: Vec<_> = self.seats.iter().map(|seat| lock(&seat.assigned).clone()).collect();
        let wanted = plan(self.log.partitions(&topic)?, &held);
        for ((seat, held), wanted) in self.seats.iter().zip(&held).zip(&wanted) {
            self.revoke(seat, &(held - wanted));
        }
        let committed: BTreeMap<u32, u64> = self.log.committed(&topic, &group)?.into_iter().collect();
        for ((seat, held), wanted) in self.seats.iter_mut().zip(&held).zip(&wanted) {
            seat.take(&*self.log, &(wanted - held), &committed)?;
        }
        Ok(())
    }
}

impl Seat {
    fn take(
        &mut self,
        log: &dyn GroupLog,
        partitions: &BTreeSet<u32>,
        committed: &BTreeMap<u32, u64>,
    ) -> Result<(), LogError> {
        let mut readers = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let anew = self.subscription.from_earliest && self.begun.insert(*partition);
            let from = committed.get(partition).copied().filter(|_| !anew);
            let (topic, epoch) = (&self.subscription.topic, self.subscription.epoch);
            readers.push(log.reader(topic, epoch, *partition, from)?);
        }
        if !readers.is_empty() {
            lock(&self.assigned).extend(partitions);
            self.events.assigned(readers);
        }
        Ok(())
    }
}

/// Shares `partitions` among members as evenly as can be, moving as few as can be.
fn plan(partitions: u32, held: &[BTreeSet<u32>]) -> Vec<BTreeSet<u32>> {
    let mut wanted = held.to_vec();
    let members = held.len().max(1);
    let (least, more) = (partitions as usize / members, partitions as usize % members);
    // Who holds most keeps one more, so that fewest move.
    let mut fullest_first: Vec<_> = wanted.iter_mut().collect();
    fullest_first.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let mut free: BTreeSet<u32> =
        (0..partitions).filter(|p| !held.iter().any(|set| set.contains(p))).collect();
    for (rank, set) in fullest_first.iter_mut().enumerate() {
        let quota = least + usize::from(rank < more);
        while set.len() > quota {
            free.extend(set.pop_last());
        }
    }
    for (rank, set) in fullest_first.into_iter().enumerate() {
        let quota = least + usize::from(rank < more);
        while set.len() < quota {
            let Some(partition) = free.pop_first() else { break };
            set.insert(partition);
        }
    }
    wanted
}

/// The handle of one seat.
struct Member {
    id: u64,
    topic: String,
    group: String,
    assigned: Assigned,
    orders: mpsc::Sender<Order>,
    log: Arc<dyn GroupLog>,
}

impl Membership for Member {
    fn commit(&self, next: &[(u32, u64)]) {
        let assigned = lock(&self.assigned);
        let ours: Vec<_> =
            next.iter().copied().filter(|(partition, _)| assigned.contains(partition)).collect();
        if !ours.is_empty() {
            // Queued under the lock: a revoke that follows is also queued after it. A failure is logged by the log.
            drop(self.log.commit(&self.topic, &self.group, &ours));
        }
    }

    fn committed(&self) -> BoxFuture<'_, Result<Vec<(u32, u64)>, LogError>> {
        let (log, topic, group) = (self.log.clone(), self.topic.clone(), self.group.clone());
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || log.committed(&topic, &group));
            read.await.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
        })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        let (left, out) = oneshot::channel();
        let sent = self.orders.send(Order::Leave(self.id, left));
        Box::pin(async move {
            if sent.is_ok() {
                let _ = out.await; // an error: the thread is gone, and so are we
            }
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Gone(self.id)); // unknown after a leave, and then ignored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets(sets: &[&[u32]]) -> Vec<BTreeSet<u32>> {
        sets.iter().map(|set| set.iter().copied().collect()).collect()
    }

    #[test]
    fn a_second_member_gets_half_and_the_rest_stays() {
        assert_eq!(plan(4, &sets(&[&[0, 1, 2, 3], &[]])), sets(&[&[0, 1], &[2, 3]]));
        assert_eq!(plan(3, &sets(&[&[], &[0, 1, 2]])), sets(&[&[2], &[0, 1]]));
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        assert_eq!(plan(1, &sets(&[&[0], &[], &[]])), sets(&[&[0], &[], &[]]));
    }

    #[test]
    fn what_a_leaver_had_goes_to_the_others() {
        assert_eq!(plan(4, &sets(&[&[0, 1]])), sets(&[&[0, 1, 2, 3]]));
    }

    proptest! {
        #[test]
        fn every_partition_has_one_reader_and_shares_differ_by_one_at_most(
            partitions in 1u32..20, owners in prop::collection::vec(0usize..6, 20), members in 1usize..6,
        ) {
            let mut held = vec![BTreeSet::new(); members];
            for (partition, owner) in (0..partitions).zip(owners) {
                if let Some(set) = held.get_mut(owner) {
                    set.insert(partition);
                }
            }
            let wanted = plan(partitions, &held);
            let mut all: Vec<u32> = wanted.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..partitions).collect::<Vec<_>>());
            let sizes: Vec<usize> = wanted.iter().map(BTreeSet::len).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            prop_assert_eq!(plan(partitions, &wanted), wanted, "what is even stays");
        }
    }
}
