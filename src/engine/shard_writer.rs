//! The actor that gathers, folds, writes and acknowledges: one per shard of a stream, keys hashed over them.
//!
//! Invariant: one batch is under way at a time, and while it is, the mailbox is shut (`ctx.wait`), so what comes
//! meanwhile waits in bounded places and becomes the next batch. Records are finished only after the store confirmed them.
//! Not here: the thinking (`fold`) and the order of effects (`write`).

use super::{
    batch::{self, Cut, Filled},
    edge,
    fold::{Confirmed, FinishedPart, ShardFold},
    progress::{WriterProgress, lock},
    protocol::{Finished, Part, Sick},
    seeded,
    stream::Stream,
    write,
};
use crate::{clock, metrics};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use std::sync::{Arc, atomic::Ordering};

pub struct ShardWriter {
    stream: Arc<Stream>,
    progress: Arc<WriterProgress>,
    generation: u64,
    shard: usize,
    /// Away while a batch is under way.
    fold: Option<Box<dyn ShardFold>>,
    /// Whom to tell that records are finished, in the order of the gathered parts.
    consumers: Vec<Recipient<Finished>>,
    cut_is_due: bool,
    sick: Recipient<Sick>,
}

impl ShardWriter {
    pub fn new(
        stream: Arc<Stream>,
        progress: Arc<WriterProgress>,
        generation: u64,
        shard: usize,
        fold: Box<dyn ShardFold>,
        sick: Recipient<Sick>,
    ) -> Self {
        ShardWriter {
            stream,
            progress,
            generation,
            shard,
            fold: Some(fold),
            consumers: Vec::new(),
            cut_is_due: false,
            sick,
        }
    }

    fn cut(&mut self, cut: Cut, ctx: &mut Context<Self>) {
        self.cut_is_due = false;
        let Some(mut fold) = self.fold.take() else { return };
        if fold.records() == 0 {
            self.fold = Some(fold);
            return;
        }
        self.begin(cut, &*fold);
        let (stream, progress) = (self.stream.clone(), self.progress.clone());
        let work = async move {
            let started = clock::instant();
            let written = write::run(&mut *fold, &stream, &progress).await;
            stream.meters.batch_seconds.record(started.elapsed().as_secs_f64());
            (fold, written)
        };
        // `ctx.wait` shuts the mailbox until the batch is confirmed.
        ctx.wait(
            work.into_actor(self).map(|(fold, written), writer, ctx| writer.written(fold, written, ctx)),
        );
    }

    fn begin(&self, cut: Cut, fold: &dyn ShardFold) {
        let (records, keys) = (fold.records(), fold.keys());
        let labels = [("stream", self.stream.name().to_string()), ("cut", cut.code().to_owned())];
        metrics::BATCHES.add(&labels, 1);
        self.stream.meters.batch_records.record(records as f64);
        self.stream.meters.batch_keys.record(keys as f64);
        self.progress.batch_records.store(records as u64, Ordering::Relaxed);
        self.progress.batch_keys.store(keys as u64, Ordering::Relaxed);
        *lock(&self.progress.cut) = cut.code();
        self.progress.waits_outside.store(true, Ordering::Release);
        self.progress.since_ms.store(clock::now_ms(), Ordering::Release);
    }

    fn written(
        &mut self,
        mut fold: Box<dyn ShardFold>,
        written: Result<Confirmed, String>,
        ctx: &mut Context<Self>,
    ) {
        self.progress.waits_outside.store(false, Ordering::Release);
        self.progress.since_ms.store(0, Ordering::Release);
        match written {
            Ok(mut confirmed) => {
                let finished = std::mem::take(&mut confirmed.finished);
                let records = confirmed.counts.records;
                self.progress.cache_bytes.store(confirmed.cache_bytes as u64, Ordering::Relaxed);
                // First what readers are answered from: who waits for a position reads as soon as it is finished.
                write::tell(&self.stream, confirmed, records);
                self.acknowledge(&finished);
                self.fold = Some(fold);
            }
            Err(why) => {
                fold.abandon();
                let stream = self.stream.name().clone();
                let why = format!("writer {}: {why}", self.shard);
                edge::tell(&self.sick, Sick { stream, generation: self.generation, why });
                ctx.stop();
            }
        }
    }

    /// Tells each consumer, per part.
    fn acknowledge(&mut self, finished: &[FinishedPart]) {
        let parts = self.consumers.drain(..).zip(finished);
        for (consumer, part) in parts {
            if part.flight.assignment.is_fenced() {
                continue;
            }
            let finished =
                Finished { slice: part.flight.id, records: part.records, poison: part.poison.clone() };
            edge::tell(&consumer, finished);
        }
    }
}

impl Actor for ShardWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.stream.shared.settings.mailbox_slices_max);
    }
}

impl Handler<Part> for ShardWriter {
    type Result = ();

    fn handle(&mut self, part: Part, ctx: &mut Self::Context) {
        seeded::end_point("shard_writer");
        self.progress.queued.fetch_sub(1, Ordering::Relaxed);
        let Some(fold) = self.fold.as_mut() else { return };
        self.consumers.push(part.consumer);
        fold.gather(part.flight, part.indices);
        let filled = Filled { records: fold.records(), keys: fold.keys(), bytes: fold.bytes() };
        if let Some(cut) = batch::cut(filled, &self.stream.shared.settings) {
            self.cut(cut, ctx);
        } else if !std::mem::replace(&mut self.cut_is_due, true) {
            // A future of the context is polled only when the mailbox has nothing more: that is when to cut.
            ctx.spawn(async {}.into_actor(self).map(|(), writer, ctx| {
                if writer.cut_is_due {
                    writer.cut(Cut::Idle, ctx);
                }
            }));
        }
    }
}
