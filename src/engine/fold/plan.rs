//! First look at the records of a batch: which entity each belongs to, and what has to be loaded.
//!
//! Invariant: of an entity only its time to live is looked at here; a record that cannot be placed is poison at once.

use super::{
    Early, Flight, Fold, Part, Planned,
    cache::{Held, SlotId},
    step,
};
use crate::{
    app::{App, Poison, Reason},
    clock,
    ports::EntityId,
    record::{Key, Record},
};
use std::sync::Arc;

/// The slot of a record that belongs to no entity.
pub const NOWHERE: SlotId = SlotId::MAX;

impl<A: App> Fold<A> {
    /// Takes a part of a slice into the batch.
    pub fn gather(&mut self, flight: Arc<Flight>, indices: Vec<u32>) {
        let part = self.parts.len() as u32;
        for &index in &indices {
            if let Some(record) = flight.slice.get(index as usize) {
                self.bytes += record.size();
                let planned = self.plan(part, index, &record, &flight);
                self.planned.push(planned);
            }
        }
        self.parts.push(Part { flight, indices });
    }

    /// The key whose state this record would take the place of, read as in a batch; `None`: it adds to what is there.
    pub fn replaces(&self, record: &Record<'_>) -> Result<Option<Key>, Poison> {
        if self.app.adds_up() {
            return Ok(None);
        }
        let early = self.read_early(record);
        Ok(Some(self.place(record, &early)?.text().into()))
    }

    fn plan(&mut self, part: u32, index: u32, record: &Record<'_>, flight: &Flight) -> Planned<A::Event> {
        let early = self.read_early(record);
        let (slot, early) = match self.place(record, &early) {
            Ok(key) => (self.slot(&key, record.position.partition, flight), early),
            Err(poison) => (NOWHERE, Early::Poison(Box::new(poison))),
        };
        Planned { part, index, slot, early, has_letter: false, has_children: false }
    }

    /// Apps that group by something in the value, or have row ids, need the event before the store is asked.
    fn read_early(&self, record: &Record<'_>) -> Early<A::Event> {
        if !self.settings.by_partition && !self.settings.has_row_ids {
            return Early::Unread;
        }
        match step::read(&*self.app, &self.settings, record) {
            Ok(Some(event)) => {
                let row_id = self.app.row_id(&event);
                Early::Event(Box::new(event), row_id)
            }
            Ok(None) => Early::Tombstone,
            Err(poison) => Early::Poison(Box::new(poison)),
        }
    }

    fn place<'r>(&self, record: &Record<'r>, early: &Early<A::Event>) -> Result<Name<'r>, Poison> {
        let grouped = match early {
            Early::Poison(poison) => return Err((**poison).clone()),
            Early::Event(event, _) => self.app.group_key(event),
            Early::Unread | Early::Tombstone => None,
        };
        let name = match grouped {
            Some(key) => Name::Made(key),
            None => Name::Given(key_text(record.key)?),
        };
        let length = name.text().len();
        if length == 0 || length > self.settings.key_bytes_max {
            let detail =
                format!("a key has 1 to {} bytes, this one has {length}", self.settings.key_bytes_max);
            return Err(Poison::new(Reason::InvalidKey, detail));
        }
        Ok(name)
    }

    fn slot(&mut self, name: &Name<'_>, partition: u32, flight: &Flight) -> SlotId {
        let partial = self.settings.by_partition.then_some(partition);
        let found = self.cache.find(name.text(), partial, flight.assignment.id);
        let Some(slot) = self.cache.get_mut(found.slot) else { return NOWHERE };
        let mut missing = found.missing;
        if !slot.in_batch {
            // A key whose time is over may have been forgotten, of which writers are not told.
            let time_is_over = |held: &Held<_>| {
                let over_ms = self.settings.ttl_ms.map(|ttl_ms| held.updated_ms.saturating_add(ttl_ms));
                over_ms.is_some_and(|over_ms| over_ms <= clock::now_ms())
            };
            missing |= slot.held.take_if(|held| time_is_over(held)).is_some();
            slot.in_batch = true;
            slot.applied = 0;
            slot.pending = None;
            slot.base_version = slot.held.as_ref().map_or(0, |held| held.version);
            self.in_batch.push(found.slot);
        }
        if missing {
            self.missing.push(found.slot);
        }
        found.slot
    }

    /// The entities that have to be loaded before the fold.
    pub fn missing(&self) -> Vec<EntityId> {
        self.missing.iter().filter_map(|&id| self.entity_id(id)).collect()
    }

    pub(super) fn entity_id(&self, slot: SlotId) -> Option<EntityId> {
        self.cache.get(slot).map(|slot| EntityId { key: slot.key.clone(), partial: slot.partial })
    }

    /// The row ids whose first inserters have to be known before the fold.
    pub fn row_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .planned
            .iter()
            .filter_map(|planned| match &planned.early {
                Early::Event(_, row_id) => row_id.clone(),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// A key, as the record has it or as the app made it.
enum Name<'r> {
    Given(&'r str),
    Made(Key),
}

impl Name<'_> {
    fn text(&self) -> &str {
        match self {
            Name::Given(key) => key,
            Name::Made(key) => key,
        }
    }
}

fn key_text(key: Option<&[u8]>) -> Result<&str, Poison> {
    let key = key.ok_or_else(|| Poison::new(Reason::InvalidKey, "the record has no key"))?;
    std::str::from_utf8(key).map_err(|_| Poison::new(Reason::InvalidKey, "the key is not UTF-8"))
}
