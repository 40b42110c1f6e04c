//! The actor that pulls one assigned partition: stamps, splits over the writers, holds what does not fit.
//!
//! Invariant: one slice at a time is on offer; while any part of it is held, nothing more is pulled. What is pulled is
//! opened in the watermark first, and only what the writers finished moves it.
//! Not here: committing (`assignment`), deciding how much poison is too much (`dead_letter`).

use super::{
    api::Held,
    dead_letter::Limit,
    edge::{self, Edge, Refused},
    fold::{Assignment, Flight},
    progress::{PartitionProgress, WriterProgress, lock},
    protocol::{Drain, Finished, Part, Release, Sick},
    seeded,
    stream::Stream,
    watermark::Watermark,
};
use crate::{
    clock,
    origin::{LANES, lane_of},
    ports::{LogError, PartitionReader, PullLimit},
    record::Slice,
};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A held part is offered again after so long, if no confirmation comes before.
const OFFER_AGAIN: Duration = Duration::from_millis(2);
/// A log that does not answer is pulled again after so long.
const PULL_AGAIN: Duration = Duration::from_millis(500);

pub struct PartitionConsumer {
    stream: Arc<Stream>,
    generation: u64,
    partition: u32,
    assignment: Arc<Assignment>,
    progress: Arc<PartitionProgress>,
    writer_progress: Arc<Vec<Arc<WriterProgress>>>,
    /// Away while a pull is under way.
    reader: Option<Box<dyn PartitionReader>>,
    pull: Option<SpawnHandle>,
    watermark: Watermark,
    limit: Limit,
    writers: Vec<Edge<Part>>,
    /// What a pull brought after the partition was held; taken in when it is released.
    set_aside: Option<(Slice, OwnedSemaphorePermit)>,
    /// Parts of the slice on offer that did not fit, with their shard.
    held_parts: Vec<(usize, Part)>,
    offer_timer: Option<SpawnHandle>,
    draining: Option<oneshot::Sender<Option<u64>>>,
    sick: Recipient<Sick>,
}

type Pulled = (Box<dyn PartitionReader>, Result<(Slice, OwnedSemaphorePermit), LogError>);

impl PartitionConsumer {
    pub fn new(
        stream: Arc<Stream>,
        generation: u64,
        assignment: Arc<Assignment>,
        progress: Arc<PartitionProgress>,
        reader: Box<dyn PartitionReader>,
        writers: Vec<Edge<Part>>,
        sick: Recipient<Sick>,
    ) -> Self {
        let settings = &stream.shared.settings;
        PartitionConsumer {
            partition: assignment.partition,
            watermark: Watermark::new(reader.start()),
            limit: Limit::new(settings.poison_run_max, settings.poison_share_max),
            writer_progress: stream.progress.writers.load_full(),
            stream,
            generation,
            assignment,
            progress,
            reader: Some(reader),
            pull: None,
            writers,
            set_aside: None,
            held_parts: Vec::new(),
            offer_timer: None,
            draining: None,
            sick,
        }
    }

    fn pull(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_some() || self.is_held() {
            return;
        }
        let Some(mut reader) = self.reader.take() else { return };
        let settings = &self.stream.shared.settings;
        let limit =
            PullLimit { records_max: settings.slice_records_max, bytes_max: settings.slice_bytes_max };
        let (budget, budget_max) = (self.stream.shared.budget.clone(), settings.in_flight_bytes_max);
        let pull = async move {
            let pulled = match reader.pull(limit).await {
                Ok(slice) => {
                    let bytes = slice.bytes_len().min(budget_max) as u32;
                    budget
                        .acquire_many_owned(bytes)
                        .await
                        .map(|permit| (slice, permit))
                        .map_err(|_| LogError::Unavailable("the process stops".into()))
                }
                Err(error) => Err(error),
            };
            (reader, pulled)
        };
        let handle =
            ctx.spawn(pull.into_actor(self).map(|pulled, consumer, ctx| consumer.pulled(pulled, ctx)));
        self.pull = Some(handle);
    }

    fn pulled(&mut self, (reader, pulled): Pulled, ctx: &mut Context<Self>) {
        self.pull = None;
        self.reader = Some(reader);
        match pulled {
            Ok(pulled) if self.is_held() => self.set_aside = Some(pulled),
            Ok((slice, permit)) => self.take(slice, permit, ctx),
            Err(LogError::Corrupt(why)) => self.hold(format!("the log cannot be read further: {why}")),
            Err(LogError::Fatal(why)) => self.report(why, ctx),
            Err(error) => {
                tracing::debug!(stream = %self.stream.name(), partition = self.partition, %error, "pull failed");
                ctx.run_later(PULL_AGAIN, |consumer, ctx| consumer.pull(ctx));
            }
        }
    }

    fn take(&mut self, slice: Slice, permit: OwnedSemaphorePermit, ctx: &mut Context<Self>) {
        seeded::end_point("partition_consumer");
        let Some(last) = slice.last_offset() else { return self.pull(ctx) };
        let slice = seeded::taken(slice);
        let records = slice.len() as u32;
        self.stream.meters.received.increment(u64::from(records));
        self.stream.progress.received_total.fetch_add(u64::from(records), Ordering::Relaxed);
        let id = self.watermark.open(last, records, clock::now_ms());
        self.publish();
        let shards = self.split(&slice);
        let assignment = self.assignment.clone();
        let flight = Arc::new(Flight { slice, id, assignment, permit: Some(permit) });
        let consumer = ctx.address().recipient();
        self.held_parts = shards
            .into_iter()
            .enumerate()
            .filter(|(_, indices)| !indices.is_empty())
            .map(|(shard, indices)| {
                (shard, Part { flight: flight.clone(), indices, consumer: consumer.clone() })
            })
            .collect();
        self.offer(ctx);
    }

    /// One list of indices per writer. Entities split by partition have one writer per partition, whatever their keys.
    fn split(&self, slice: &Slice) -> Vec<Vec<u32>> {
        let shards = self.writers.len().max(1);
        let mut split: Vec<Vec<u32>> = vec![Vec::new(); shards];
        if self.stream.spec.by_partition {
            if let Some(all) = split.get_mut(self.partition as usize % shards) {
                all.extend(0..slice.len() as u32);
            }
            return split;
        }
        for (index, record) in slice.iter().enumerate() {
            if let Some(list) = split.get_mut(shard_of(record.key.unwrap_or_default(), shards)) {
                list.push(index as u32);
            }
        }
        split
    }

    /// Offers what is held; when all of it is taken, pulls again.
    fn offer(&mut self, ctx: &mut Context<Self>) {
        let mut still = Vec::new();
        for (shard, part) in std::mem::take(&mut self.held_parts) {
            let Some(writer) = self.writers.get(shard) else { continue };
            let queued = self.writer_progress.get(shard);
            if let Some(writer) = queued {
                writer.queued.fetch_add(1, Ordering::AcqRel);
            }
            let offered = writer.offer(part);
            if let Some(writer) = queued.filter(|_| offered.is_err()) {
                writer.queued.fetch_sub(1, Ordering::AcqRel);
            }
            match offered {
                Ok(()) => {}
                Err(Refused::Full(part)) if seeded::drops_when_full() => {
                    self.watermark.finish(part.flight.id, part.indices.len() as u32, &[]);
                }
                Err(Refused::Full(part)) => still.push((shard, part)),
                Err(Refused::Gone(_)) => return self.report(format!("writer {shard} is gone"), ctx),
            }
        }
        self.held_parts = still;
        self.account_for_waiting();
        if self.held_parts.is_empty() {
            self.pull(ctx);
        } else if self.offer_timer.is_none() {
            self.offer_timer = Some(ctx.run_later(OFFER_AGAIN, |consumer, ctx| {
                consumer.offer_timer = None;
                consumer.offer(ctx);
            }));
        }
    }

    fn account_for_waiting(&self) {
        let now = clock::now_ms();
        if self.held_parts.is_empty() {
            let since = self.progress.waiting_since_ms.swap(0, Ordering::Relaxed);
            if since > 0 {
                self.stream.meters.backpressure.increment((now - since).max(0) as u64);
            }
        } else {
            let _ =
                self.progress.waiting_since_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn publish(&self) {
        let progress = &self.progress;
        if let Some(received) = self.watermark.received() {
            progress.received.set(received);
        }
        progress.oldest_ms.store(self.watermark.oldest_ms().unwrap_or(0), Ordering::Relaxed);
        progress.poison_used.store((self.limit.used() * 1000.0) as u32, Ordering::Relaxed);
        if let Some(confirmed) = seeded::confirmed(&self.watermark)
            && progress.confirmed.get() != Some(confirmed)
        {
            progress.confirmed.set(confirmed);
            self.stream.progress.moved.notify_waiters();
        }
    }

    fn is_held(&self) -> bool {
        lock(&self.progress.held).is_some()
    }

    fn hold(&self, why: String) {
        tracing::error!(stream = %self.stream.name(), partition = self.partition, why, "partition is held");
        let held = Held {
            since: clock::iso(clock::now_ms()),
            r#where: format!("partition {}", self.partition),
            why,
        };
        *lock(&self.progress.held) = Some(held);
    }

    fn report(&mut self, why: String, ctx: &mut Context<Self>) {
        let stream = self.stream.name().clone();
        let why = format!("partition {}: {why}", self.partition);
        edge::tell(&self.sick, Sick { stream, generation: self.generation, why });
        ctx.stop();
    }

    fn answer_drain(&mut self) {
        if self.watermark.is_drained()
            && let Some(reply) = self.draining.take()
        {
            let _ = reply.send(self.watermark.confirmed()); // past the deadline nobody waits
        }
    }
}

/// Which writer a key belongs to: all keys of a lane to the same one, which is what keeps what it emits in order.
fn shard_of(key: &[u8], shards: usize) -> usize {
    lane_of(key) * shards.min(LANES) / LANES
}

impl Actor for PartitionConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.publish();
        self.pull(ctx);
    }
}

impl Handler<Finished> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Self::Context) {
        let closed = self.watermark.finish(finished.slice, finished.records, &finished.poison);
        let mut reached = false;
        for slice in &closed {
            reached |= self.limit.take(slice.records, &slice.poison);
        }
        if reached && !self.is_held() {
            self.hold("too many of its records are poison; look at the dead letters, then release it".into());
        }
        self.publish();
        self.answer_drain();
        if !self.held_parts.is_empty() {
            self.offer(ctx);
        }
    }
}

impl Handler<Drain> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        self.draining = Some(drain.reply);
        if let Some(pull) = self.pull.take() {
            ctx.cancel_future(pull); // drops the reader with it; what was not handed over was not received
        }
        self.reader = None;
        self.set_aside = None;
        self.answer_drain();
    }
}

impl Handler<Release> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) {
        self.limit.reset();
        *lock(&self.progress.held) = None;
        self.publish();
        if let Some((slice, permit)) = self.set_aside.take() {
            self.take(slice, permit, ctx);
        } else if self.held_parts.is_empty() && self.pull.is_none() {
            self.pull(ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shard_of;

    #[test]
    fn keys_spread_evenly_over_the_writers() {
        let mut counts = [0_usize; 4];
        for i in 0..40_000 {
            counts[shard_of(format!("user-{i}").as_bytes(), 4)] += 1;
        }
        assert!(counts.iter().all(|n| (9_000..11_000).contains(n)), "{counts:?}");
    }
}
