//! The actor for rebalances: starts, drains and fences partition consumers, and commits on a beat.
//!
//! Invariant: only partitions that are assigned now are committed, never backwards; on revoke a partition drains to a
//! deadline, what is finished by then is what is committed, and its slices that are still queued are dropped unfolded.
//! Not here: the group protocol (the log's adapter calls in through `GroupEvents`).

use super::{
    edge::{self, Edge},
    fold::Assignment,
    observer,
    partition_consumer::PartitionConsumer,
    progress::PartitionProgress,
    protocol::{
        Abandon, Assigned, Drain, GroupFailed, Joined, Left, Part, Release, ReleasePartition, Revoked, Sick,
    },
    seeded,
    stream::Stream,
};
use crate::ports::{Assignments, LogError, Membership, PartitionReader};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Recipient,
    WrapFuture,
};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Assignments are numbered over the whole process, so that a cache never takes one for another.
static NEXT_ASSIGNMENT: AtomicU64 = AtomicU64::new(1);

pub struct AssignmentKeeper {
    stream: Arc<Stream>,
    generation: u64,
    epoch: u32,
    /// This generation's writers; each consumer makes its own long-lived edges of them.
    writers: Vec<Recipient<Part>>,
    /// Where consumers run, in turn.
    arbiters: Vec<ArbiterHandle>,
    owned: BTreeMap<u32, Consumer>,
    membership: Option<Arc<dyn Membership>>,
    abandoned: bool,
    sick: Recipient<Sick>,
}

struct Consumer {
    address: Addr<PartitionConsumer>,
    assignment: Arc<Assignment>,
    progress: Arc<PartitionProgress>,
}

impl AssignmentKeeper {
    pub fn new(
        stream: Arc<Stream>,
        generation: u64,
        epoch: u32,
        writers: Vec<Recipient<Part>>,
        arbiters: Vec<ArbiterHandle>,
        sick: Recipient<Sick>,
    ) -> Self {
        AssignmentKeeper {
            stream,
            generation,
            epoch,
            writers,
            arbiters,
            owned: BTreeMap::new(),
            membership: None,
            abandoned: false,
            sick,
        }
    }

    fn start_consumer(&mut self, reader: Box<dyn PartitionReader>) {
        let partition = reader.partition();
        if let Some(before) = self.owned.remove(&partition) {
            self.give_up(partition, &before); // an assign without a revoke: the old one must not go on
        }
        let id = NEXT_ASSIGNMENT.fetch_add(1, Ordering::Relaxed);
        let assignment = Arc::new(Assignment::new(id, partition));
        let progress = Arc::new(PartitionProgress { epoch: self.epoch, ..PartitionProgress::default() });
        self.stream.view.drop_partition(partition);
        self.stream.progress.owned.take(partition, id);
        self.stream.progress.partitions.insert(partition, progress.clone());
        tracing::info!(stream = %self.stream.name(), partition, start = ?reader.start(), "partition assigned");
        let consumer = PartitionConsumer::new(
            self.stream.clone(),
            self.generation,
            assignment.clone(),
            progress.clone(),
            reader,
            self.writers.iter().cloned().map(Edge::new).collect(),
            self.sick.clone(),
        );
        let Some(arbiter) = self.arbiters.get(partition as usize % self.arbiters.len().max(1)) else {
            return;
        };
        let address = PartitionConsumer::start_in_arbiter(arbiter, move |_| consumer);
        self.owned.insert(partition, Consumer { address, assignment, progress });
    }

    /// From here on the partition is somebody else's: late confirmations are dropped, readers see nothing of it.
    fn give_up(&self, partition: u32, consumer: &Consumer) {
        consumer.assignment.fence();
        self.stream.progress.owned.give_up(partition, consumer.assignment.id);
        self.stream.progress.partitions.remove_if(&partition, |_, p| Arc::ptr_eq(p, &consumer.progress));
        self.stream.view.drop_partition(partition);
        observer::withdraw(&self.stream, partition);
    }

    fn commit(&self) {
        let Some(membership) = &self.membership else { return };
        let mut next = Vec::new();
        for (&partition, consumer) in &self.owned {
            let progress = &consumer.progress;
            let Some(confirmed) = progress.confirmed.get() else { continue };
            if progress.committed.get().is_none_or(|committed| committed < confirmed) {
                progress.committed.set(confirmed);
                next.push((partition, confirmed));
            }
        }
        if !next.is_empty() {
            membership.commit(&next);
        }
    }

    /// A consumer whose actor is gone (it panicked) makes the generation sick.
    fn look_after(&self) {
        let gone = self.owned.iter().find(|(_, consumer)| !consumer.address.connected());
        if let Some((partition, _)) = gone {
            let stream = self.stream.name().clone();
            let why = format!("the consumer of partition {partition} is gone");
            edge::tell(&self.sick, Sick { stream, generation: self.generation, why });
        }
    }

    fn drain(&mut self, partitions: &[u32], reply: SyncSender<Vec<(u32, u64)>>, ctx: &mut Context<Self>) {
        let leaving: Vec<(u32, Consumer)> =
            partitions.iter().filter_map(|p| self.owned.remove_entry(p)).collect();
        let drained = leaving.iter().map(|(_, consumer)| {
            let (sender, receiver) = oneshot::channel();
            edge::order(&consumer.address, Drain { reply: sender });
            receiver
        });
        let deadline = Duration::from_millis(self.stream.shared.settings.drain_deadline_ms);
        let all = tokio::time::timeout(deadline, join_all(drained.collect::<Vec<_>>()));
        ctx.spawn(all.into_actor(self).map(move |drained, keeper, _| {
            let in_time = drained.is_ok();
            tracing::info!(stream = %keeper.stream.name(), partitions = leaving.len(), in_time, "partitions revoked");
            let _ = reply.send(keeper.close(leaving)); // the log may have stopped waiting
        }));
    }

    /// Fences, and says what may be committed: what was confirmed before the fence.
    fn close(&self, leaving: Vec<(u32, Consumer)>) -> Vec<(u32, u64)> {
        let mut next = Vec::new();
        for (partition, consumer) in leaving {
            let confirmed = consumer.progress.confirmed.get();
            let committed = consumer.progress.committed.get();
            self.give_up(partition, &consumer);
            if let Some(confirmed) = confirmed.filter(|c| committed.is_none_or(|done| done < *c)) {
                next.push((partition, confirmed));
            }
        }
        next
    }
}

impl Actor for AssignmentKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let beat = Duration::from_millis(self.stream.shared.settings.commit_interval_ms);
        ctx.run_interval(beat, |keeper, _| {
            seeded::end_point("assignment");
            keeper.look_after();
            keeper.commit();
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        for (partition, consumer) in std::mem::take(&mut self.owned) {
            self.give_up(partition, &consumer);
        }
    }
}

impl Handler<Joined> for AssignmentKeeper {
    type Result = ();

    fn handle(&mut self, joined: Joined, _: &mut Self::Context) {
        self.membership = Some(joined.membership);
    }
}

impl Handler<Abandon> for AssignmentKeeper {
    type Result = ();

    /// A writer that is gone drains nothing: waiting for it would only delay the next generation.
    fn handle(&mut self, _: Abandon, _: &mut Self::Context) {
        self.abandoned = true;
        let leaving: Vec<(u32, Consumer)> = std::mem::take(&mut self.owned).into_iter().collect();
        for (_, consumer) in &leaving {
            let (reply, _) = oneshot::channel();
            edge::order(&consumer.address, Drain { reply }); // drops its reader
        }
        let next = self.close(leaving);
        if let Some(membership) = self.membership.as_ref().filter(|_| !next.is_empty()) {
            membership.commit(&next);
        }
    }
}

impl Handler<Left> for AssignmentKeeper {
    type Result = ();

    /// It holds the membership, which tells it of rebalances: neither would ever let go of the other.
    fn handle(&mut self, _: Left, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Assigned> for AssignmentKeeper {
    type Result = ();

    fn handle(&mut self, assigned: Assigned, _: &mut Self::Context) {
        if self.abandoned {
            return; // its readers are dropped: the generation is leaving
        }
        for reader in assigned.readers {
            self.start_consumer(reader);
        }
    }
}

impl Handler<Revoked> for AssignmentKeeper {
    type Result = ();

    fn handle(&mut self, revoked: Revoked, ctx: &mut Self::Context) {
        if revoked.lost {
            for partition in &revoked.partitions {
                if let Some(consumer) = self.owned.get(partition) {
                    consumer.assignment.fence();
                }
            }
        }
        self.drain(&revoked.partitions, revoked.reply, ctx);
    }
}

impl Handler<ReleasePartition> for AssignmentKeeper {
    type Result = ();

    fn handle(&mut self, release: ReleasePartition, _: &mut Self::Context) {
        if let Some(consumer) = self.owned.get(&release.partition) {
            edge::order(&consumer.address, Release);
        }
    }
}

impl Handler<GroupFailed> for AssignmentKeeper {
    type Result = ();

    fn handle(&mut self, failed: GroupFailed, _: &mut Self::Context) {
        let stream = self.stream.name().clone();
        let why = format!("the consumer group: {}", failed.error);
        edge::tell(&self.sick, Sick { stream, generation: self.generation, why });
    }
}

/// The log's side of an `AssignmentKeeper`: turns its calls into messages, and waits where the log has to wait.
pub struct GroupEvents {
    keeper: Addr<AssignmentKeeper>,
    /// A keeper that has not answered a revoke by then is given up; the watchdog sees to the rest.
    patience: Duration,
}

impl GroupEvents {
    pub fn new(keeper: Addr<AssignmentKeeper>, drain_deadline_ms: u64) -> Self {
        GroupEvents { keeper, patience: Duration::from_millis(drain_deadline_ms + 500) }
    }

    fn revoke(&self, partitions: &[u32], lost: bool) -> Vec<(u32, u64)> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        edge::order(&self.keeper, Revoked { partitions: partitions.to_vec(), lost, reply });
        answer.recv_timeout(self.patience).unwrap_or_default()
    }
}

impl Assignments for GroupEvents {
    fn assigned(&self, readers: Vec<Box<dyn PartitionReader>>) {
        edge::order(&self.keeper, Assigned { readers });
    }

    fn revoked(&self, partitions: &[u32]) -> Vec<(u32, u64)> {
        self.revoke(partitions, false)
    }

    fn lost(&self, partitions: &[u32]) {
        self.revoke(partitions, true);
    }

    fn failed(&self, error: LogError) {
        edge::order(&self.keeper, GroupFailed { error });
    }
}
