//! Drops what a topic need not keep, and what is left of deleted topics; in steps, on a thread of its own.
//!
//! Invariant: records go from the front only, and the newest chunk of a partition stays, because the end of the partition
//! is known from it. A step is bounded, so writes are never held up for long.

use super::{
    chunk,
    commit::{Act, Committer, Group, Outcome, Staged},
    folder::Spaces,
    keys,
    registry::{self, Registry, Topic},
};
use crate::clock;
use std::{
    sync::{Arc, Weak, mpsc},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::oneshot;

/// Chunks or small values removed in one batch.
const STEP_KEYS_MAX: usize = 512;

/// The thread; ends when dropped.
pub struct Retention {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Retention {
    pub fn start(keeper: Keeper, beat: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("retention".into()).spawn(move || {
            while stopped.recv_timeout(beat) == Err(mpsc::RecvTimeoutError::Timeout) {
                if let Err(error) = keeper.run(clock::now_ms()) {
                    tracing::warn!(%error, "old records could not be dropped, tried again on the next beat");
                }
            }
        })?;
        Ok(Retention { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has said what it died of
        }
    }
}

pub struct Keeper {
    pub spaces: Spaces,
    pub registry: Arc<Registry>,
    /// Weak: the thread must not keep the folder open.
    pub committer: Weak<Committer>,
}

impl Keeper {
    pub fn run(&self, now_ms: i64) -> fjall::Result<()> {
        for topic in self.registry.topics() {
            let Some(keep_ms) = topic.entry.retention_ms else { continue };
            let old_ms = now_ms.saturating_sub_unsigned(keep_ms);
            for partition in 0..topic.entry.partitions {
                while self.trim(&topic, partition, old_ms)? {}
            }
        }
        let doomed: Vec<_> = registry::doomed(&self.spaces)?;
        for number in doomed {
            while self.bury(number)? {}
        }
        Ok(())
    }

    /// Drops chunks whose newest record is older than `old_ms`; `true`: there may be more.
    fn trim(&self, topic: &Arc<Topic>, partition: u32, old_ms: i64) -> fjall::Result<bool> {
        let Some(held) = topic.partition(partition) else { return Ok(false) };
        let bounds = *held.bounds.borrow();
        let number = topic.entry.number;
        let (mut names, mut first) = (Vec::new(), bounds.first);
        for entry in self
            .spaces
            .records
            .range(keys::chunk(number, partition, bounds.first)..keys::chunk(number, partition, bounds.end))
        {
            let (name, value) = entry.into_inner()?;
            let Some((offset, (count, newest_ms))) = keys::chunk_offset(&name).zip(chunk::head(&value))
            else {
                break;
            };
            let end = offset + u64::from(count);
            if newest_ms >= old_ms || end >= bounds.end || names.len() == STEP_KEYS_MAX {
                break;
            }
            names.push(name);
            first = end;
        }
        let more = names.len() == STEP_KEYS_MAX;
        if names.is_empty() {
            return Ok(false);
        }
        let topic = topic.clone();
        let done = self.write(move |group| {
            names.iter().for_each(|name| group.remove_record_chunk(name.clone()));
            group.put_meta(registry::first_name(number, partition), first.to_string().into_bytes());
            // Told before they go: a reader that finds nothing sees that it was overtaken.
            if let Some(partition) = topic.partition(partition) {
                partition.bounds.send_modify(|bounds| bounds.first = first);
            }
        });
        Ok(done && more)
    }

    /// Drops records and small values of a deleted topic, at last the note of it; `true`: there may be more.
    fn bury(&self, number: u32) -> fjall::Result<bool> {
        let mut records = Vec::new();
        for entry in self.spaces.records.range(keys::all_of(number)).take(STEP_KEYS_MAX) {
            records.push(entry.key()?);
        }
        let mut small = Vec::new();
        for prefix in registry::topic_leftovers(number) {
            for entry in self.spaces.meta.prefix(&prefix).take(STEP_KEYS_MAX) {
                small.push(String::from_utf8_lossy(&entry.key()?).into_owned());
            }
        }
        let more = !records.is_empty() || !small.is_empty();
        if !more {
            small.push(registry::doomed_name(number));
        }
        let done = self.write(move |group| {
            records.iter().for_each(|name| group.remove_record_chunk(name.clone()));
            small.iter().for_each(|name| group.remove_meta(name));
        });
        Ok(done && more)
    }

    /// Writes one step and waits for it. `false`: it was not confirmed, or the folder is being closed.
    fn write(&self, mut stage: impl FnMut(&mut Group) + Send + 'static) -> bool {
        let Some(committer) = self.committer.upgrade() else { return false };
        let (reply, confirmed) = oneshot::channel();
        let stage = move |group: &mut Group| {
            stage(group);
            Ok(Staged::Yes)
        };
        // Nobody waits when the folder is being closed.
        let finish = move |outcome: &Outcome| {
            let _ = reply.send(outcome.is_ok());
        };
        committer.submit(Box::new(Act(stage, finish)));
        drop(committer);
        confirmed.blocking_recv().unwrap_or(false)
    }
}
