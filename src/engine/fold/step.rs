//! One record against one entity, and a whole batch of them.
//!
//! Invariant: what an entity's position covers is skipped, and so is a record whose origin is not newer than the one it
//! remembers; a refused record changes nothing; versions are dense.

use super::{
    Early, Effects, End, Fault, Flight, Fold, FoldSettings, Letter,
    cache::{Held, Slot, SlotId},
    plan::NOWHERE,
    trial::Turn,
};
use crate::{
    app::{App, At, Emit, Poison, Reason, Refused, RefusedKind, Reject, Row},
    json,
    origin::{self, Origin, Origins},
    ports::{StoredRow, Upsert},
    record::{Key, Position, Record, Stamp},
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// The version a command expects; `0`: the key is not there.
pub const CONDITION_HEADER: &str = "statecast-if-version";

/// Reads a record by the engine's rules and then by the app's. `None`: it removes the key.
pub(super) fn read<A: App>(
    app: &A,
    settings: &FoldSettings,
    record: &Record<'_>,
) -> Result<Option<A::Event>, Poison> {
    let Some(value) = record.value else { return Ok(app.decode_tombstone(record)) };
    if value.len() > settings.value_bytes_max {
        let detail =
            format!("the value has {} bytes, the limit is {}", value.len(), settings.value_bytes_max);
        return Err(Poison::new(Reason::TooLarge, detail));
    }
    json::check(value, settings.depth_max)?;
    app.decode(record).map(Some)
}

impl<A: App> Fold<A> {
    /// Folds the batch (again for `only` these slots), and says what has to be written.
    pub fn fold(&mut self, only: Option<&FxHashSet<SlotId>>) -> Result<Effects, Fault> {
        let mut effects = Effects::default();
        self.round = only.cloned();
        self.begin_trials(only);
        self.ends.resize_with(self.planned.len(), || End::Fenced);
        for at in 0..self.planned.len() {
            self.fold_at(at, only, &mut effects);
        }
        self.upserts(only, &mut effects)?;
        Ok(effects)
    }

    fn fold_at(&mut self, at: usize, only: Option<&FxHashSet<SlotId>>, effects: &mut Effects) {
        let Some(planned) = self.planned.get_mut(at) else { return };
        if only.is_some_and(|slots| !slots.contains(&planned.slot)) {
            return;
        }
        let Some(end) = self.ends.get_mut(at) else { return };
        if let Some(trial) = self.trials.get_mut(&planned.slot) {
            let applied = self.cache.get(planned.slot).map_or(0, |slot| slot.applied);
            match trial.turn(at, applied) {
                Turn::Past => return,
                Turn::Now => {}
                Turn::Later => {
                    *end = End::Fenced;
                    return;
                }
            }
        }
        let Some(part) = self.parts.get(planned.part as usize) else { return };
        let flight = &part.flight;
        let Some(record) = flight.slice.get(planned.index as usize) else { return };
        if flight.assignment.is_fenced() {
            *end = End::Fenced;
            return;
        }
        let early = std::mem::replace(&mut planned.early, Early::Unread);
        *end = match early {
            Early::Poison(poison) => {
                planned.early = Early::Poison(poison.clone());
                End::Rejected(Box::new(Reject::Poison(*poison)))
            }
            early => {
                let slot = if planned.slot == NOWHERE { None } else { self.cache.get_mut(planned.slot) };
                let Some(slot) = slot else { return };
                let were = effects.rows.len() + effects.emits.len();
                let mut stepper = Stepper {
                    app: &*self.app,
                    settings: &self.settings,
                    firsts: &mut self.firsts,
                    moved: &mut self.moved,
                    effects,
                };
                let end = stepper.take(slot, &record, early);
                planned.has_children = effects.rows.len() + effects.emits.len() > were;
                end
            }
        };
        if !planned.has_letter {
            planned.has_letter = keep_letter(end, flight, planned.index, effects);
        }
    }

    fn upserts(&mut self, only: Option<&FxHashSet<SlotId>>, effects: &mut Effects) -> Result<(), Fault> {
        effects.upserts.reserve(only.map_or(self.in_batch.len(), FxHashSet::len));
        for &id in &self.in_batch {
            if only.is_some_and(|slots| !slots.contains(&id)) {
                continue;
            }
            let Some(slot) = self.cache.get_mut(id) else { continue };
            let Some(held) = slot.held.as_ref().filter(|_| slot.applied > 0) else { continue };
            let value = match &held.entity {
                Some(entity) => Some(
                    self.app
                        .to_json(entity)
                        .map_err(|e| Fault { key: slot.key.to_string(), detail: e.to_string() })?,
                ),
                None => None,
            };
            let document = slot.document(held, value);
            let keep_ms = match document.value {
                Some(_) => self.settings.ttl_ms,
                None => Some(self.settings.tombstone_keep_ms),
            };
            let expires_ms = keep_ms.map(|keep_ms| held.updated_ms.saturating_add(keep_ms));
            let bytes = document.value.as_ref().map_or(0, |json| json.text().len());
            effects.upserts.push(Upsert {
                document: document.clone(),
                from_version: slot.base_version,
                expires_ms,
            });
            slot.pending = Some(document);
            self.cache.weigh(id, bytes);
        }
        Ok(())
    }
}

fn keep_letter(end: &End, flight: &Arc<Flight>, index: u32, effects: &mut Effects) -> bool {
    if let End::Rejected(reject) = end
        && let Reject::Poison(poison) = &**reject
    {
        effects.letters.push(Letter { flight: flight.clone(), index, poison: poison.clone() });
        return true;
    }
    false
}

/// How a record stands to what its key holds.
enum Stands {
    Ahead,
    /// Taken in before.
    Seen,
    /// Of another partition, and not newer.
    Old,
}

/// What one record needs around it.
struct Stepper<'f, A: App> {
    app: &'f A,
    settings: &'f FoldSettings,
    firsts: &'f mut FxHashMap<String, Position>,
    moved: &'f mut u64,
    effects: &'f mut Effects,
}

impl<A: App> Stepper<'_, A> {
    fn take(&mut self, slot: &mut Slot<A::Entity>, record: &Record<'_>, early: Early<A::Event>) -> End {
        match self.stands(slot.held.as_ref(), record) {
            Stands::Ahead => {}
            Stands::Seen => return End::Seen,
            // Nobody has looked at it: what is poison is so however late it comes.
            Stands::Old => {
                let poison = match early {
                    Early::Unread => read(self.app, self.settings, record).err(),
                    _ => None,
                };
                return poison.map_or(End::Seen, |poison| End::Rejected(Box::new(poison.into())));
            }
        }
        // Few records have headers, and fewer were emitted.
        let origin =
            if record.headers.is_empty() { None } else { Origin::of(record.headers, &self.settings.topic) };
        let remembered = slot.held.as_ref().map(|held| &held.origins);
        if origin.as_ref().zip(remembered).is_some_and(|(origin, held)| held.have_seen(origin)) {
            return End::Seen;
        }
        match self.try_step(slot, record, early, origin) {
            Ok(()) => End::Applied,
            Err(reject) => End::Rejected(Box::new(reject)),
        }
    }

    /// Within a partition the further position has seen; a key found under another partition: the newer time wins.
    fn stands(&mut self, held: Option<&Held<A::Entity>>, record: &Record<'_>) -> Stands {
        let Some(held) = held else { return Stands::Ahead };
        match held.position.order(&record.position) {
            Some(order) if order.is_ge() => Stands::Seen,
            Some(_) => Stands::Ahead,
            None => {
                *self.moved += 1;
                if record.time_ms <= held.updated_ms { Stands::Old } else { Stands::Ahead }
            }
        }
    }

    fn try_step(
        &mut self,
        slot: &mut Slot<A::Entity>,
        record: &Record<'_>,
        early: Early<A::Event>,
        origin: Option<Origin>,
    ) -> Result<(), Reject> {
        let event = match early {
            Early::Event(event, _) => Some(*event),
            Early::Tombstone => None,
            Early::Unread | Early::Poison(_) => read(self.app, self.settings, record)?,
        };
        check_condition(slot.held.as_ref(), record)?;
        let key = slot.key.clone();
        let row_id = event.as_ref().and_then(|event| self.app.row_id(event));
        let at = At {
            stamp: Stamp {
                position: record.position,
                time_ms: record.time_ms,
                key: &key,
                headers: record.headers,
            },
            seen_before: self.seen_before(row_id.as_deref(), record.position),
        };
        let live = slot.held.as_ref().filter(|held| held.entity.is_some());
        let created_ms = live.map_or(record.time_ms, |held| held.created_ms);
        let was = slot.held.as_mut().and_then(|held| held.entity.take());
        let (entity, rows, emits) = match self.decide(was, event, &at, record) {
            Ok(step) => step,
            Err((was, reject)) => {
                if let Some(held) = slot.held.as_mut() {
                    held.entity = was;
                }
                return Err(reject);
            }
        };
        if let Some(id) = row_id.filter(|id| rows.iter().any(|row| row.id == *id)) {
            self.firsts.entry(id).or_insert(record.position);
        }
        self.keep_effects(&key, rows, emits, record);
        advance(slot, entity, record, created_ms, origin);
        Ok(())
    }

    fn seen_before(&self, row_id: Option<&str>, position: Position) -> bool {
        row_id.and_then(|id| self.firsts.get(id)).is_some_and(|first| *first != position)
    }

    /// Asks the app. A refusal gives the entity back as it was.
    #[allow(clippy::type_complexity)] // one caller, and the pair is what it takes apart
    fn decide(
        &self,
        was: Option<A::Entity>,
        event: Option<A::Event>,
        at: &At<'_>,
        record: &Record<'_>,
    ) -> Result<(Option<A::Entity>, Vec<Row>, Vec<Emit>), (Option<A::Entity>, Reject)> {
        let Some(event) = event else { return Ok((None, Vec::new(), Vec::new())) };
        if let Err(reject) = self.app.check(was.as_ref(), &event, at) {
            return Err((was, reject));
        }
        let bytes_max = self.settings.entity_bytes_max;
        // Only an entity that one record could bring over the bound is worth a copy to go back to.
        let near = was.as_ref().map_or(0, |was| self.app.size(was)) + 4 * record.size() > bytes_max;
        let before = if near { was.clone() } else { None };
        let step = self.app.step(was, event, at);
        if near && step.entity.as_ref().is_some_and(|entity| self.app.size(entity) > bytes_max) {
            let detail = format!("the entity would have more than {bytes_max} bytes");
            return Err((before, Reject::Poison(Poison::new(Reason::TooLarge, detail))));
        }
        Ok((step.entity, step.rows, step.emits))
    }

    fn keep_effects(&mut self, key: &Key, rows: Vec<Row>, emits: Vec<Emit>, record: &Record<'_>) {
        for Row { name, id, label, time_ms, json } in rows {
            let (key, first) = (key.clone(), record.position);
            let time_ms = time_ms.unwrap_or(record.time_ms);
            self.effects.rows.push((name, StoredRow { id, key, label, first, time_ms, json }));
        }
        if emits.is_empty() {
            return;
        }
        let lane =
            if self.settings.by_partition { 0 } else { origin::lane_of(record.key.unwrap_or_default()) };
        let (stream, position, lane) = (&self.settings.stream, record.position, lane as u32);
        let origin = |index| Origin { stream: stream.clone(), position, lane, index };
        self.effects.emits.extend(emits.into_iter().zip(0..).map(|(emit, index)| (emit, origin(index))));
    }
}

fn check_condition<E>(held: Option<&Held<E>>, record: &Record<'_>) -> Result<(), Reject> {
    if record.headers.is_empty() {
        return Ok(());
    }
    let Some(condition) = record.headers.get(CONDITION_HEADER) else { return Ok(()) };
    let wanted: Option<u64> = std::str::from_utf8(condition).ok().and_then(|text| text.parse().ok());
    let Some(wanted) = wanted else {
        let detail = format!("the header {CONDITION_HEADER} is no version");
        return Err(Reject::Poison(Poison::new(Reason::SchemaInvalid, detail)));
    };
    let live = held.filter(|held| held.entity.is_some()).map_or(0, |held| held.version);
    if wanted == live {
        return Ok(());
    }
    let detail = if live == 0 {
        format!("the key is not there, the condition asks for version {wanted}")
    } else {
        format!("the key is at version {live}, the condition asks for {wanted}")
    };
    Err(Reject::Refused(Refused { kind: RefusedKind::Precondition, detail }))
}

fn advance<E>(
    slot: &mut Slot<E>,
    entity: Option<E>,
    record: &Record<'_>,
    created_ms: i64,
    origin: Option<Origin>,
) {
    let (version, mut origins) = match slot.held.take() {
        Some(held) => (held.version + 1, held.origins),
        None => (1, Origins::default()),
    };
    if let Some(origin) = origin {
        origins.take(origin);
    }
    let (updated_ms, position) = (record.time_ms, record.position);
    slot.held = Some(Held { version, created_ms, updated_ms, position, origins, entity });
    slot.applied += 1;
}
