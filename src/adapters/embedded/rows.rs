//! Rows that are inserted once and stay, and the register of epochs.
//!
//! Invariant: the first insert of an id wins for ever, and its position is kept with it. An epoch is raised by comparing
//! and writing on the one writing thread.

use super::{
    commit::{Group, Operation, Outcome, Staged},
    document,
    keys::{self, RowOrder},
    stripes::{Seen, Stripes},
};
use crate::ports::{StoreError, StoredRow};
use fjall::{Keyspace, Slice};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A row ready to be inserted.
pub struct NewRow {
    by_id: Slice,
    by_time: Slice,
    /// Further names it is found under.
    beside: Vec<Slice>,
    first: Slice,
    row: Slice,
    hash: u64,
    seen: Option<Seen<()>>,
}

impl NewRow {
    pub fn new(rows: u32, row: &StoredRow, hash: impl FnOnce(&[u8]) -> u64) -> Self {
        let by_id = keys::row_by_id(rows, &row.id);
        let name = |order: RowOrder| order.name(row.time_ms, &row.id).into();
        let label = row.label.as_ref().map(|label| RowOrder::by_label(rows, label));
        NewRow {
            hash: hash(&by_id),
            by_id,
            by_time: name(RowOrder::by_time(rows)),
            beside: label.into_iter().chain([RowOrder::by_key(rows, &row.key)]).map(name).collect(),
            first: document::encode_row_first(row),
            row: document::encode_row(row),
            seen: None,
        }
    }

    /// Looks whether it is there, on a thread that may wait for the disk.
    pub fn look(&mut self, rows: &Keyspace, stripes: &Stripes) -> fjall::Result<()> {
        let stripe = stripes.now(self.hash);
        self.seen = Some(Seen::new(is_there(rows, &self.by_id)?, stripe));
        Ok(())
    }

    fn held(&self, group: &Group, stripes: &Stripes) -> fjall::Result<bool> {
        match &self.seen {
            Some(seen) if stripes.stands(self.hash, seen) => Ok(seen.held.is_some()),
            _ => Ok(is_there(&group.spaces.rows, &self.by_id)?.is_some()),
        }
    }
}

fn is_there(rows: &Keyspace, name: &[u8]) -> fjall::Result<Option<()>> {
    Ok(rows.contains_key(name)?.then_some(()))
}

pub struct InsertRows {
    pub stripes: Arc<Stripes>,
    pub rows: Vec<NewRow>,
    pub inserted: Vec<u64>,
    pub permit: Option<OwnedSemaphorePermit>,
    pub reply: oneshot::Sender<Result<usize, StoreError>>,
}

impl Operation for InsertRows {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if self.rows.iter().any(|row| group.touches(row.hash)) {
            return Ok(Staged::Later);
        }
        for row in std::mem::take(&mut self.rows) {
            if !row.held(group, &self.stripes)? && group.touch(row.hash) {
                self.inserted.push(row.hash);
                group.put_row(row.by_id, row.first);
                group.put_row(row.by_time, row.row);
                // An empty value says that the row stands under its time.
                row.beside.into_iter().for_each(|name| group.put_row(name, Slice::default()));
            }
        }
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        if outcome.is_ok() {
            self.inserted.iter().for_each(|hash| self.stripes.moved(*hash));
        }
        drop(self.permit);
        let inserted = self.inserted.len();
        let _ = self.reply.send(outcome.clone().map(|()| inserted).map_err(StoreError::from));
    }
}

/// Finds or raises the epoch of a stream; without an identity it finds the last.
pub struct RaiseEpoch {
    /// Where it stands in `meta`.
    pub name: String,
    pub hash: u64,
    pub identity: Option<String>,
    /// What has to be the last for another to be registered.
    pub last: Option<u32>,
    pub found: Option<(u32, bool)>,
    pub reply: oneshot::Sender<Result<Option<(u32, bool)>, StoreError>>,
}

impl Operation for RaiseEpoch {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if group.touches(self.hash) {
            return Ok(Staged::Later);
        }
        let held = group.spaces.meta.get(&self.name)?;
        let held = held.map(|value| serde_json::from_slice::<(String, u32)>(&value)).transpose();
        let held = held.map_err(|error| fjall::Error::Io(error.into()))?;
        let last = held.as_ref().map(|(_, epoch)| *epoch);
        let is_asked = self.identity.is_none() || self.identity.as_ref() == held.as_ref().map(|held| &held.0);
        if is_asked || last != self.last {
            self.found = last.filter(|_| is_asked).map(|epoch| (epoch, false));
            return Ok(Staged::Yes);
        }
        let epoch = last.map_or(0, |last| last + 1);
        self.found = Some((epoch, last.is_some()));
        group.touch(self.hash);
        let value = serde_json::to_vec(&(&self.identity, epoch));
        group.put_meta(self.name.clone(), value.map_err(|error| fjall::Error::Io(error.into()))?);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        let _ = self.reply.send(outcome.clone().map(|()| self.found).map_err(StoreError::from));
    }
}
