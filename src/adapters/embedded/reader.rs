//! Reads one partition in order: waits for its end to move, then copies one range of chunks.
//!
//! Invariant: `next` moves only when a pull has returned, so a dropped pull is made again and loses nothing.

use super::{
    chunk::{self, Taken},
    folder::Spaces,
    keys,
    reads::Reads,
    registry::{Bounds, Topic},
};
use crate::{
    ports::{LogError, PartitionReader, PullLimit},
    record::Slice,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Reader {
    spaces: Spaces,
    reads: Reads,
    topic: Arc<Topic>,
    epoch: u32,
    partition: u32,
    start: u64,
    next: u64,
    /// The first offset of the chunk that holds `next`, where known.
    chunk: Option<u64>,
    bounds: watch::Receiver<Bounds>,
}

impl Reader {
    /// From this offset, or from the earliest record where that is `None` or not there any more.
    pub fn new(
        spaces: &Spaces,
        reads: &Reads,
        topic: Arc<Topic>,
        epoch: u32,
        partition: u32,
        from: Option<u64>,
    ) -> Result<Self, LogError> {
        let missing = || LogError::Fatal(format!("there is no partition {partition}"));
        let bounds = topic.partition(partition).ok_or_else(missing)?.bounds.subscribe();
        let Bounds { first, end, .. } = *bounds.borrow();
        let start = from.filter(|from| (first..=end).contains(from)).unwrap_or(first);
        let (spaces, reads) = (spaces.clone(), reads.clone());
        Ok(Reader { spaces, reads, topic, epoch, partition, start, next: start, chunk: None, bounds })
    }
}

impl PartitionReader for Reader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn start(&self) -> Option<u64> {
        Some(self.start)
    }

    fn pull(&mut self, limit: PullLimit) -> BoxFuture<'_, Result<Slice, LogError>> {
        Box::pin(async move {
            loop {
                let next = self.next;
                let moved = self.bounds.wait_for(|bounds| bounds.deleted || bounds.end > next).await;
                let bounds = moved.map(|bounds| *bounds).ok().filter(|bounds| !bounds.deleted);
                let Some(bounds) = bounds else {
                    return Err(LogError::Fatal("the topic was deleted".into()));
                };
                let from = next.max(bounds.first);
                let range = self.range(from, bounds.end);
                let (spaces, slice) = (self.spaces.clone(), Slice::new(self.epoch, self.partition));
                let read = self.reads.run(move || range.read(&spaces, limit, slice));
                let (slice, chunk) =
                    read.await.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))?;
                if let Some(last) = slice.last_offset() {
                    (self.next, self.chunk) = (last + 1, chunk);
                    return Ok(slice);
                }
                // Nothing in the whole range: retention overtook this reader while it read, or it is lost.
                if self.bounds.borrow().first <= from {
                    return Err(LogError::Corrupt(format!("there is no record at offset {from}")));
                }
            }
        })
    }
}

impl Reader {
    fn range(&self, from: u64, end: u64) -> Range {
        let chunk = self.chunk.filter(|_| from == self.next);
        Range { topic: self.topic.entry.number, partition: self.partition, from, chunk, end }
    }
}

struct Range {
    topic: u32,
    partition: u32,
    from: u64,
    chunk: Option<u64>,
    end: u64,
}

impl Range {
    /// The slice, and the chunk to go on with.
    fn read(
        &self,
        spaces: &Spaces,
        limit: PullLimit,
        mut slice: Slice,
    ) -> Result<(Slice, Option<u64>), LogError> {
        let chunks = self.chunks(spaces, limit)?;
        // One allocation for the whole slice: growing step by step would leave its smaller selves behind.
        let there: usize = chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        slice.reserve(0, there.min(limit.bytes_max));
        let (mut bytes, mut go_on) = (0, None);
        for (offset, chunk) in &chunks {
            match chunk::take(chunk, *offset, self.from, limit, &mut slice, &mut bytes) {
                Taken::Whole => go_on = slice.last_offset().map(|last| last + 1),
                Taken::Part => return Ok((slice, Some(*offset))),
                // What was read before it still counts; the next pull finds it at the start.
                Taken::Broken if !slice.is_empty() => return Ok((slice, None)),
                Taken::Broken => {
                    return Err(LogError::Corrupt(format!("the chunk at offset {offset} is broken")));
                }
            }
        }
        Ok((slice, go_on))
    }

    /// Chunks from the one that holds `from` on, as many as the limit can ask for.
    fn chunks(&self, spaces: &Spaces, limit: PullLimit) -> Result<Vec<(u64, fjall::Slice)>, LogError> {
        let first = match self.chunk {
            Some(chunk) => chunk,
            None => self.chunk_of(spaces)?,
        };
        let (mut chunks, mut bytes, mut records) = (Vec::new(), 0, 0);
        for entry in spaces.records.range(self.name(first)..self.name(self.end)) {
            let (name, chunk) = entry.into_inner().map_err(|error| unreadable(&error))?;
            let offset = keys::chunk_offset(&name).unwrap_or(self.from);
            // The first may be left for the most part; only what comes after it counts.
            if offset > self.from {
                bytes += chunk.len();
                records += chunk::head(&chunk).map_or(0, |(count, _)| count as usize);
            }
            chunks.push((offset, chunk));
            if bytes >= limit.bytes_max || records >= limit.records_max {
                break;
            }
        }
        Ok(chunks)
    }

    /// The chunk that holds `from`: the last that begins at or before it.
    fn chunk_of(&self, spaces: &Spaces) -> Result<u64, LogError> {
        let Some(entry) = spaces.records.range(self.name(0)..=self.name(self.from)).next_back() else {
            return Ok(self.from);
        };
        let name = entry.key().map_err(|error| unreadable(&error))?;
        Ok(keys::chunk_offset(&name).unwrap_or(self.from))
    }

    fn name(&self, offset: u64) -> [u8; 16] {
        keys::chunk(self.topic, self.partition, offset)
    }
}

pub fn unreadable(error: &fjall::Error) -> LogError {
    LogError::Unavailable(error.to_string())
}
