//! One numbered generation of one stream: its writers, its consumers, its place in the group.
//!
//! Invariant: a generation starts from what is committed and ends as a whole; after its end nothing of it commits, and
//! what it still writes is under the guard. Not here: when to end it and when to start the next (`supervisor`).

use super::{
    assignment::{AssignmentKeeper, GroupEvents},
    edge,
    progress::{self, lock},
    protocol::{Abandon, Joined, Left, Part, ReleasePartition, Sick},
    shard_writer::ShardWriter,
    stream::Stream,
};
use crate::{
    engine::api::State,
    metrics,
    ports::{LogError, Membership, StoreError, Subscription},
};
use actix::{Actor, Addr, ArbiterHandle, Recipient};
use futures_util::FutureExt;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Each turn is lost to an instance that registered in between, mostly the same log, which the next turn finds.
const TURNS_MAX: usize = 16;

pub struct Generation {
    pub number: u64,
    writers: Vec<Addr<ShardWriter>>,
    keeper: Addr<AssignmentKeeper>,
    membership: Arc<dyn Membership>,
}

/// Why a generation could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("topic {0} is not there")]
    NoTopic(String),
}

impl Generation {
    /// Finds the topic's epoch, starts writers and keeper, and joins the group.
    pub async fn start(
        stream: Arc<Stream>,
        number: u64,
        arbiters: Vec<ArbiterHandle>,
        sick: Recipient<Sick>,
    ) -> Result<Generation, StartError> {
        let (epoch, from_earliest) = epoch(&stream).await?;
        stream.progress.epoch.store(epoch, Ordering::Release);
        let writers = start_writers(&stream, number, &arbiters, &sick);
        let recipients: Vec<Recipient<Part>> = writers.iter().map(|w| w.clone().recipient()).collect();
        let keeper = AssignmentKeeper::new(stream.clone(), number, epoch, recipients, arbiters.clone(), sick);
        let Some(arbiter) = arbiters.first() else {
            return Err(StartError::Log(LogError::Fatal("there is no thread for the pipeline".into())));
        };
        let keeper = AssignmentKeeper::start_in_arbiter(arbiter, move |_| keeper);
        let events = GroupEvents::new(keeper.clone(), stream.shared.settings.drain_deadline_ms);
        let subscription = Subscription {
            topic: stream.spec.topic.name.clone(),
            group: stream.spec.group.clone(),
            epoch,
            from_earliest,
            prefetch_bytes_max: stream.shared.prefetch_bytes_max,
        };
        let membership = stream.shared.log.join(subscription, Arc::new(events))?;
        stream.progress.membership.store(Some(Arc::new(progress::Joined(membership.clone()))));
        edge::order(&keeper, Joined { membership: membership.clone() });
        *lock(&stream.progress.state) = State::Running;
        metrics::GENERATIONS.add(&stream.labels(), 1);
        tracing::info!(stream = %stream.name(), generation = number, epoch, "generation started");
        Ok(Generation { number, writers, keeper, membership })
    }

    /// Why it is sick, if it is: an actor that panicked has closed its mailbox.
    pub fn gone(&self) -> Option<String> {
        if !self.keeper.connected() {
            return Some("the assignment keeper is gone".into());
        }
        let shard = self.writers.iter().position(|writer| !writer.connected())?;
        Some(format!("writer {shard} is gone"))
    }

    pub fn release(&self, partition: u32) {
        edge::order(&self.keeper, ReleasePartition { partition });
    }

    /// Ends without draining, because something of it is sick; `leave` comes after.
    pub fn abandon(&self) {
        edge::order(&self.keeper, Abandon);
    }

    /// Leaves the group: drains, commits, and is out when this returns or the deadline passes.
    pub async fn leave(self, deadline: Duration) -> bool {
        let left = tokio::time::timeout(deadline, self.membership.leave()).await;
        edge::order(&self.keeper, Left);
        left.is_ok()
    }
}

fn start_writers(
    stream: &Arc<Stream>,
    number: u64,
    arbiters: &[ArbiterHandle],
    sick: &Recipient<Sick>,
) -> Vec<Addr<ShardWriter>> {
    let shards = stream.shared.settings.shards;
    let progress = stream.progress.begin_generation(number, shards);
    let cache_bytes_max = stream.cache_bytes_max / shards.max(1);
    let start = |(shard, arbiter): (usize, &ArbiterHandle)| {
        let fold = (stream.spec.fold)(stream.fold_settings(cache_bytes_max));
        let own = progress.get(shard).cloned().unwrap_or_default();
        let writer = ShardWriter::new(stream.clone(), own, number, shard, fold, sick.clone());
        ShardWriter::start_in_arbiter(arbiter, move |_| writer)
    };
    (0..shards).zip(arbiters.iter().cycle()).map(start).collect()
}

/// The epoch of the topic as it is now; `true`: it has just changed, so reading starts at the earliest record. What is
/// registered is read before the log is asked, so that an answer of a log that is gone registers nothing.
pub async fn epoch(stream: &Arc<Stream>) -> Result<(u32, bool), StartError> {
    for _ in 0..TURNS_MAX {
        let (store, name) = (stream.shared.store.clone(), stream.name().clone());
        let last = stream.try_store(async move { store.last_epoch(&name).await }.boxed()).await?;
        let topic = stream.spec.topic.name.clone();
        let identity = stream.shared.log.identity(&topic).await?.ok_or(StartError::NoTopic(topic))?;
        stream.progress.identity.store(Some(Arc::new(identity.id.clone())));
        stream.progress.partitions_total.store(identity.partitions, Ordering::Release);
        let (store, name) = (stream.shared.store.clone(), stream.name().clone());
        let register = async move { store.epoch(&name, &identity.id, last).await }.boxed();
        let Some((epoch, changed)) = stream.try_store(register).await? else { continue };
        if changed && epoch > 0 {
            metrics::EPOCHS.add(&stream.labels(), 1);
            tracing::error!(stream = %stream.name(), epoch, "the topic was recreated, reading starts at its earliest record");
        }
        return Ok((epoch, changed && epoch > 0));
    }
    Err(StoreError::Unavailable("the epoch of the log changes all the time".into()).into())
}
