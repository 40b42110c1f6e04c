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

/// Finds or raises the epoch of a stream.
pub struct RaiseEpoch {
    /// Where it stands in `meta`.
    pub name: String,
    pub hash: u64,
    pub identity: String,
    pub found: (u32, bool),
    pub reply: oneshot::Sender<Result<(u32, bool), StoreError>>,
}

impl Operation for RaiseEpoch {
    fn stage(&mut self, group: &mut Group) -> fjall::Result<Staged> {
        if group.touches(self.hash) {
            return Ok(Staged::Later);
        }
        let held = group.spaces.meta.get(&self.name)?;
        let held = held.map(|value| serde_json::from_slice::<(String, u32)>(&value)).transpose();
        let held = held.map_err(|error| fjall::Error::Io(error.into()))?;
        let past = |identity: &str| format!("{}/{identity}", self.name);
        let json_fault = |error: serde_json::Error| fjall::Error::Io(error.into());
        self.found = match held {
            Some((identity, epoch)) if identity == self.identity => {
                self.found = (epoch, false);
                return Ok(Staged::Yes);
            }
            Some((identity, epoch)) => {
                if let Some(value) = group.spaces.meta.get(past(&self.identity))? {
                    self.found = (serde_json::from_slice(&value).map_err(json_fault)?, false);
                    return Ok(Staged::Yes);
                }
                group.put_meta(past(&identity), serde_json::to_vec(&epoch).map_err(json_fault)?);
                (epoch + 1, true)
            }
            None => (0, false),
        };
        group.touch(self.hash);
        let value = serde_json::to_vec(&(&self.identity, self.found.0));
        group.put_meta(self.name.clone(), value.map_err(|error| fjall::Error::Io(error.into()))?);
        Ok(Staged::Yes)
    }

    fn finish(self: Box<Self>, outcome: &Outcome) {
        let _ = self.reply.send(outcome.clone().map(|()| self.found).map_err(StoreError::from));
    }
}
