//! The one thread that writes: group commit.
//!
//! Invariant: everything that waits is written as one batch and synced once before any of it is confirmed; operations
//! take effect in the order they were submitted. After a write that failed nothing more is written, because what the
//! folder holds is then not known; opening it again tells.
//! Not here: what an operation writes (`append`, `write`, `rows`, `registry`).

use super::folder::Spaces;
use fjall::{AbstractTree, Database, OwnedWriteBatch, PersistMode, Slice};
use rustc_hash::FxHashSet;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How often a full write buffer looks whether the one before it is flushed.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// Something to be written with whatever else waits.
pub trait Operation: Send {
    /// Adds what is to be written. Reads see what is confirmed; what this group already touches is asked for with
    /// `Group::touches`, and answered by `Later`.
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged>;

    /// Hears what became of it. Runs on the writing thread before the next group.
    fn finish(self: Box<Self>, outcome: &Outcome);
}

/// An operation out of two functions.
pub struct Act<S, F>(pub S, pub F);

impl<S, F> Operation for Act<S, F>
where
    S: FnMut(&mut Group) -> fjall::Result<Staged> + Send,
    F: FnOnce(&Outcome) + Send,
{
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        self.0(group)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        self.1(outcome);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    Yes,
    /// It depends on something in this group that is not confirmed yet: nothing was added; it opens the next group.
    Later,
}

pub type Outcome = Result<(), Failure>;

/// Why an operation was not confirmed.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It may be in the folder or not.
    Unknown(Arc<str>),
    /// An earlier write failed; this one did nothing.
    Stopped(Arc<str>),
}

/// One batch in the making.
pub struct Group {
    batch: OwnedWriteBatch,
    pub spaces: Spaces,
    touched: FxHashSet<u64>,
    /// Small values of which only the last in a group counts.
    latest: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Group {
    pub fn put_record_chunk(&mut self, key: Slice, chunk: Vec<u8>) {
        self.bytes += chunk.len();
        self.batch.insert(&self.spaces.records, key, chunk);
    }

    pub fn remove_record_chunk(&mut self, key: Slice) {
        self.bytes += key.len();
        self.batch.remove(&self.spaces.records, key);
    }

    pub fn put_document(&mut self, key: Slice, value: Slice) {
        self.bytes += key.len() + value.len();
        self.batch.insert(&self.spaces.documents, key, value);
    }

    pub fn remove_document(&mut self, key: Slice) {
        self.batch.remove(&self.spaces.documents, key);
    }

    pub fn put_row(&mut self, key: Slice, value: Slice) {
        self.bytes += key.len() + value.len();
        self.batch.insert(&self.spaces.rows, key, value);
    }

    pub fn remove_row(&mut self, key: Slice) {
        self.batch.remove(&self.spaces.rows, key);
    }

    pub fn put_meta(&mut self, name: String, value: Vec<u8>) {
        self.bytes += name.len() + value.len();
        self.latest.insert(name, value);
    }

    pub fn remove_meta(&mut self, name: &str) {
        self.batch.remove(&self.spaces.meta, name);
    }

    pub fn touches(&self, hash: u64) -> bool {
        self.touched.contains(&hash)
    }

    /// `false`: it was touched already.
    pub fn touch(&mut self, hash: u64) -> bool {
        self.touched.insert(hash)
    }

    fn commit(mut self) -> fjall::Result<()> {
        for (name, value) in std::mem::take(&mut self.latest) {
            self.batch.insert(&self.spaces.meta, name, value);
        }
        self.batch.durability(Some(PersistMode::SyncData)).commit()
    }
}

/// Hands operations to the writing thread; closes it when dropped.
pub struct Committer {
    orders: Option<mpsc::UnboundedSender<Box<dyn Operation>>>,
    /// Bytes that may wait: what bounds the queue.
    room: Arc<Semaphore>,
    room_bytes: u32,
    stopped: Arc<AtomicBool>,
    hasher: RandomState,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub fn start(
        db: Database,
        spaces: Spaces,
        queue_bytes_max: usize,
        group_bytes_max: usize,
    ) -> std::io::Result<Self> {
        let (orders, received) = mpsc::unbounded_channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let writer = Writer { db, spaces, group_bytes_max, stopped: stopped.clone() };
        let thread = std::thread::Builder::new().name("commit".into()).spawn(move || writer.run(received))?;
        let room_bytes = u32::try_from(queue_bytes_max).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(room_bytes as usize));
        let hasher = RandomState::new();
        Ok(Committer { orders: Some(orders), room, room_bytes, stopped, hasher, thread: Some(thread) })
    }

    /// Waits for room for so many bytes; the permit goes into the operation.
    pub async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.room_bytes);
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    pub fn submit(&self, operation: Box<dyn Operation>) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(operation); // a dead thread drops it, and with it what its caller waits on
        }
    }

    /// Whether the folder takes no more writes.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
            || self.orders.as_ref().is_none_or(mpsc::UnboundedSender::is_closed)
    }

    /// Names what a group touches. Keyed at random, so that nobody can choose keys that collide for ever.
    pub fn hash(&self, space: u8, key: &[u8]) -> u64 {
        self.hasher.hash_one((space, key))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has said what it died of
        }
    }
}

struct Writer {
    db: Database,
    spaces: Spaces,
    group_bytes_max: usize,
    stopped: Arc<AtomicBool>,
}

impl Writer {
    fn run(self, mut orders: mpsc::UnboundedReceiver<Box<dyn Operation>>) {
        let mut carried = None;
        while let Some(first) = carried.take().or_else(|| orders.blocking_recv()) {
            let (operations, later, written) = self.write(first, &mut orders);
            carried = later;
            let outcome = written.map_err(|error| self.stop(&error));
            operations.into_iter().for_each(|operation| operation.finish(&outcome));
            if let Err(failure) = outcome {
                self.refuse(carried.take(), &mut orders, &failure);
            }
        }
    }

    /// Stages what waits, up to the bound of a group, and commits it.
    #[allow(clippy::type_complexity)]
    fn write(
        &self,
        first: Box<dyn Operation>,
        orders: &mut mpsc::UnboundedReceiver<Box<dyn Operation>>,
    ) -> (Vec<Box<dyn Operation>>, Option<Box<dyn Operation>>, fjall::Result<()>) {
        let mut group = Group {
            batch: OwnedWriteBatch::with_capacity(self.db.clone(), 1_024),
            spaces: self.spaces.clone(),
            touched: FxHashSet::default(),
            latest: BTreeMap::new(),
            bytes: 0,
        };
        let (mut operations, mut next) = (Vec::new(), Some(first));
        while let Some(mut operation) = next.take() {
            match operation.stage(&mut group) {
                // Nothing is touched in an empty group, so `Later` would come for ever.
                Ok(Staged::Later) if !operations.is_empty() => {
                    let written = self.make_room().and_then(|()| group.commit());
                    return (operations, Some(operation), written);
                }
                Ok(_) => operations.push(operation),
                Err(error) => {
                    operations.push(operation);
                    return (operations, None, Err(error));
                }
            }
            if group.bytes < self.group_bytes_max {
                next = orders.try_recv().ok();
            }
        }
        (operations, None, self.make_room().and_then(|()| group.commit()))
    }

    /// Keeps the write buffers bounded: a full one is put aside once the one before it is on disk.
    ///
    /// The database would do so by itself, but on the thread that also compacts, so that a buffer grows without bound
    /// while that is busy; and it waits for ever if that thread has died.
    fn make_room(&self) -> fjall::Result<()> {
        for (space, bytes_max) in self.spaces.buffers() {
            while space.tree.active_memtable().size() >= bytes_max {
                if space.sealed_memtable_count() == 0 {
                    space.rotate_memtable()?;
                    break;
                }
                self.db.persist(PersistMode::Buffer)?; // an error if flushing has failed
                std::thread::sleep(FLUSH_LOOK);
            }
        }
        Ok(())
    }

    fn stop(&self, error: &fjall::Error) -> Failure {
        self.stopped.store(true, Ordering::Relaxed);
        tracing::error!(%error, "writing to the folder failed, nothing more is written until it is opened again");
        Failure::Unknown(error.to_string().into())
    }

    /// Ends everything that comes after a failure, until nobody is left to ask.
    fn refuse(
        &self,
        carried: Option<Box<dyn Operation>>,
        orders: &mut mpsc::UnboundedReceiver<Box<dyn Operation>>,
        failure: &Failure,
    ) {
        let (Failure::Unknown(detail) | Failure::Stopped(detail)) = failure;
        let stopped = Err(Failure::Stopped(detail.clone()));
        let mut next = carried;
        while let Some(operation) = next.take().or_else(|| orders.blocking_recv()) {
            operation.finish(&stopped);
        }
    }
}
