//! Guarded upserts, and guarded forgetting.
//!
//! Invariant: the guard is asked against what stands when the group is written: what was read before counts only if its
//! stripe has not moved. Document, index of expiry and count change in one batch.

use super::{
    commit::{Failure, Group, Operation, Outcome, Staged},
    document::{self, Head},
    keys,
    registry::{self, Collection},
    stripes::{Seen, Stripes},
};
use crate::{
    ports::{StoreError, Upsert},
    record::{Key, Position},
};
use fjall::{Keyspace, Slice};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// An upsert ready to be written.
pub struct Put {
    name: Slice,
    value: Slice,
    hash: u64,
    /// Its document no longer holds the JSON, which is in `value`.
    guard: Upsert,
    alive: bool,
    seen: Option<Seen<Head>>,
}

impl Put {
    pub fn new(stream: u32, mut upsert: Upsert, hash: impl FnOnce(&[u8]) -> u64) -> Self {
        let name = keys::document(stream, &upsert.document.key, upsert.document.partial);
        let value = document::encode(&upsert.document, upsert.expires_ms);
        let alive = upsert.document.value.take().is_some();
        Put { hash: hash(&name), name, value, guard: upsert, alive, seen: None }
    }

    /// Recalls or reads what is held, on a thread that may wait for the disk.
    pub fn look(&mut self, documents: &Keyspace, stripes: &Stripes) -> fjall::Result<()> {
        self.seen = match stripes.recall(self.hash, &self.name) {
            None => {
                let stripe = stripes.now(self.hash);
                Some(Seen::new(read(documents, &self.name)?, stripe))
            }
            recalled => recalled,
        };
        Ok(())
    }

    /// What is held once this is written.
    fn head(&self) -> Head {
        let document = &self.guard.document;
        Head {
            version: document.version,
            created_ms: document.created_ms,
            updated_ms: document.updated_ms,
            position: document.position,
            alive: self.alive,
            expires_ms: self.guard.expires_ms,
        }
    }

    fn held(&self, group: &Group, stripes: &Stripes) -> fjall::Result<Option<Head>> {
        match &self.seen {
            Some(seen) if stripes.stands(self.hash, seen) => Ok(seen.held),
            _ => read(&group.spaces.documents, &self.name),
        }
    }

    fn applies_to(&self, held: Option<&Head>) -> bool {
        let key: &Key = &self.guard.document.key;
        let held = held.map(|head| head.document(key.clone(), self.guard.document.partial));
        self.guard.applies_to(held.as_ref())
    }
}

fn read(documents: &Keyspace, name: &[u8]) -> fjall::Result<Option<Head>> {
    match documents.get(name)? {
        None => Ok(None),
        Some(value) => {
            let (head, _) = document::head(&value).ok_or_else(|| broken(name))?;
            Ok(Some(head))
        }
    }
}

/// A value that was read but makes no sense.
pub fn broken(name: &[u8]) -> fjall::Error {
    let detail = format!("the value under {} is broken", name.escape_ascii());
    fjall::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, detail))
}

/// Writes what the guard lets pass, and answers how many that were.
pub struct Write {
    pub stream: Arc<Collection>,
    pub stripes: Arc<Stripes>,
    pub puts: Vec<Put>,
    /// Hash, name and head of what took effect.
    pub applied: Vec<(u64, Slice, Head)>,
    pub permit: Option<OwnedSemaphorePermit>,
    pub reply: oneshot::Sender<Result<usize, StoreError>>,
}

impl Operation for Write {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if self.puts.iter().any(|put| group.touches(put.hash)) {
            return Ok(Staged::Later);
        }
        let mut grown = 0;
        for put in std::mem::take(&mut self.puts) {
            // The same id twice in one batch: the first counts, the second finds it newer on its next try.
            if !group.touch(put.hash) {
                continue;
            }
            let held = put.held(group, &self.stripes)?;
            if put.applies_to(held.as_ref()) {
                grown += i64::from(put.alive) - i64::from(held.is_some_and(|head| head.alive));
                self.applied.push((put.hash, put.name.clone(), put.head()));
                write(group, self.stream.number, put, held.and_then(|head| head.expires_ms));
            }
        }
        count(group, &self.stream, grown);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        let Write { stripes, applied, permit, reply, .. } = *self;
        let written = applied.len();
        if outcome.is_ok() {
            for (hash, name, head) in applied {
                stripes.moved(hash);
                stripes.remember(hash, name, Seen::new(Some(head), stripes.now(hash)));
            }
        }
        drop(permit);
        let _ = reply.send(outcome.clone().map(|()| written).map_err(StoreError::from));
    }
}

fn write(group: &mut Group, stream: u32, put: Put, held_expires_ms: Option<i64>) {
    if let Some(expires_ms) = held_expires_ms {
        group.remove_row(keys::tombstone(stream, expires_ms, &put.name));
    }
    if let Some(expires_ms) = put.guard.expires_ms {
        group.put_row(keys::tombstone(stream, expires_ms, &put.name), Slice::default());
    }
    group.put_document(put.name, put.value);
}

fn count(group: &mut Group, stream: &Collection, grown: i64) {
    if grown != 0 {
        let count = stream.count.fetch_add(grown, Ordering::Relaxed) + grown;
        group.put_meta(registry::count_name(stream.number), count.to_string().into_bytes());
    }
}

/// Removes documents altogether that are still at a position.
pub struct Forget {
    pub stream: Arc<Collection>,
    pub stripes: Arc<Stripes>,
    /// Name, its hash, position.
    pub ids: Vec<(Slice, u64, Position)>,
    pub applied: Vec<u64>,
    pub reply: oneshot::Sender<Result<usize, StoreError>>,
}

impl Operation for Forget {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if self.ids.iter().any(|(_, hash, _)| group.touches(*hash)) {
            return Ok(Staged::Later);
        }
        let mut grown = 0;
        for (name, hash, position) in std::mem::take(&mut self.ids) {
            let held = read(&group.spaces.documents, &name)?.filter(|head| head.position == position);
            let Some(held) = held.filter(|_| group.touch(hash)) else { continue };
            grown -= i64::from(held.alive);
            self.applied.push(hash);
            if let Some(expires_ms) = held.expires_ms {
                group.remove_row(keys::tombstone(self.stream.number, expires_ms, &name));
            }
            group.remove_document(name);
        }
        count(group, &self.stream, grown);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        if outcome.is_ok() {
            self.applied.iter().for_each(|hash| self.stripes.moved(*hash));
        }
        let _ = self.reply.send(outcome.clone().map(|()| self.applied.len()).map_err(StoreError::from));
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown(detail) => StoreError::Unavailable(detail.to_string()),
            Failure::Stopped(detail) => StoreError::Fatal(format!("an earlier write failed: {detail}")),
        }
    }
}
