//! Appends: everything that waits becomes one chunk or a few per partition.
//!
//! Invariant: offsets are given in the order of the queue by the writing thread, and readers hear of a record only once
//! it is on disk.

use super::{
    chunk,
    commit::{Failure, Group, Operation, Outcome, Staged},
    keys,
    registry::Topic,
};
use crate::{clock, ports::LogError, record::NewRecord};
use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A record that waits to be appended.
pub struct Append {
    pub topic: Arc<Topic>,
    pub partition: u32,
    pub record: NewRecord,
    pub reply: oneshot::Sender<Result<(u32, u64), LogError>>,
    /// Gives its room in the queue back when dropped.
    pub _permit: Option<OwnedSemaphorePermit>,
}

/// Records that wait for the writing thread.
#[derive(Clone, Default)]
pub struct Queue(Arc<Mutex<Vec<Append>>>);

impl Queue {
    /// `Some`: the queue was empty, and this operation has to be submitted to have it written.
    #[must_use]
    pub fn push(&self, append: Append) -> Option<Box<dyn Operation>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(append);
        (waiting.len() == 1)
            .then(|| Box::new(WriteQueue { queue: self.clone(), taken: Vec::new() }) as Box<dyn Operation>)
    }

    fn take(&self) -> Vec<Append> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct WriteQueue {
    queue: Queue,
    /// With the offset each was given.
    taken: Vec<(Append, u64)>,
}

impl Operation for WriteQueue {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        let now_ms = clock::now_ms();
        let mut chunks: BTreeMap<(u32, u32), chunk::Builder> = BTreeMap::new();
        for append in self.queue.take() {
            let Some(partition) = append.topic.partition(append.partition) else { continue };
            if partition.bounds.borrow().deleted {
                let _ = append.reply.send(Err(LogError::Fatal("the topic was deleted".into())));
                continue;
            }
            let offset = partition.staged_end.fetch_add(1, Ordering::Relaxed);
            let place = (append.topic.entry.number, append.partition);
            let chunk = chunks.entry(place).or_insert_with(|| chunk::Builder::new(offset));
            if !chunk.takes(&append.record) {
                put(group, place, mem::replace(chunk, chunk::Builder::new(offset)));
            }
            chunk.push(append.record.time_ms.unwrap_or(now_ms), &append.record);
            self.taken.push((append, offset));
        }
        chunks.into_iter().for_each(|(place, chunk)| put(group, place, chunk));
        Ok(Staged::Yes)
    }

    fn finish(mut self: Box<Self>, outcome: &Outcome) {
        if let Err(failure) = outcome {
            // Those that came after the failure were never taken.
            let waiting = self.queue.take().into_iter().map(|append| (append, 0));
            for (append, _) in mem::take(&mut self.taken).into_iter().chain(waiting) {
                let _ = append.reply.send(Err(failure.clone().into()));
            }
            return;
        }
        for (append, offset) in &self.taken {
            if let Some(partition) = append.topic.partition(append.partition) {
                partition.bounds.send_if_modified(|bounds| {
                    bounds.end = offset + 1;
                    false // woken below, once
                });
            }
        }
        for (append, offset) in self.taken {
            if let Some(partition) = append.topic.partition(append.partition)
                && partition.bounds.borrow().end == offset + 1
            {
                partition.bounds.send_modify(|_| ());
            }
            let _ = append.reply.send(Ok((append.partition, offset))); // a caller that is gone does not care
        }
    }
}

fn put(group: &mut Group, (topic, partition): (u32, u32), chunk: chunk::Builder) {
    let name = keys::chunk(topic, partition, chunk.first_offset);
    group.put_record_chunk(name.into(), chunk.finish());
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown(detail) => LogError::Unknown(detail.to_string()),
            Failure::Stopped(detail) => LogError::Fatal(format!("an earlier write failed: {detail}")),
        }
    }
}
