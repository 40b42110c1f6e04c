//! What comes back from the store: what it holds, what it did not take, and the end of a batch.
//!
//! Invariant: an upsert that took no effect is either covered by what the store holds (confirmed stale), or folded again
//! from it; a batch ends only when every key is one or the other, or written.

use super::{
    Change, Confirmed, Counts, Effects, End, Fault, FinishedPart, Fold, Part, WAIT_HEADER, Waited,
    cache::{Held, Slot, SlotId},
    trial::Trial,
};
use crate::{
    app::{App, Poison, Reject},
    document::{Document, Shown},
    engine::api::Outcome,
    ports::{EntityId, RefusedDocument},
    record::{Key, Position},
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

impl<A: App> Fold<A> {
    /// Takes in what the store holds of the missing ids; ids that are not among `documents` are absent there.
    pub fn admit(&mut self, documents: Vec<Document>) -> Result<(), Fault> {
        let by_id = by_id(documents);
        for id in std::mem::take(&mut self.missing) {
            let found = self.entity_id(id).and_then(|name| by_id.get(&(name.key, name.partial)).cloned());
            if let Some(document) = &found {
                self.loaded.push((id, document.clone()));
            }
            self.hold(id, found)?;
        }
        Ok(())
    }

    pub fn admit_firsts(&mut self, firsts: Vec<(String, Position)>) {
        self.firsts = firsts.into_iter().collect();
    }

    /// Makes a slot hold exactly what the store has.
    fn hold(&mut self, id: SlotId, document: Option<Document>) -> Result<(), Fault> {
        let held = match document.as_ref() {
            Some(document) => Some(self.decode(document)?),
            None => None,
        };
        let Some(slot) = self.cache.get_mut(id) else { return Ok(()) };
        slot.base_version = held.as_ref().map_or(0, |held| held.version);
        slot.held = held;
        slot.applied = 0;
        slot.pending = None;
        let bytes = document.and_then(|d| d.value).map_or(0, |json| json.text().len());
        self.cache.weigh(id, bytes);
        Ok(())
    }

    fn decode(&self, document: &Document) -> Result<Held<A::Entity>, Fault> {
        let entity = match &document.value {
            Some(json) => Some(self.app.from_json(json).map_err(|e| unreadable(document, &e))?),
            None => None,
        };
        Ok(Held {
            version: document.version,
            created_ms: document.created_ms,
            updated_ms: document.updated_ms,
            position: document.position,
            origins: document.origins.clone(),
            entity,
        })
    }

    /// Fewer upserts of the newest fold took effect than were sent, and this is what the store holds of their ids; `refused`
    /// are those of them whose document it will never take. Returns what has to be written in another round; nothing to
    /// write when every key is settled.
    pub fn settle(
        &mut self,
        documents: Vec<Document>,
        refused: Vec<RefusedDocument>,
    ) -> Result<Effects, Fault> {
        let (by_id, refused) = (by_id(documents), by_refused(refused));
        let (round, mut again, mut to_judge) =
            (self.round.take(), FxHashSet::default(), FxHashMap::default());
        let mut moved = false;
        for id in self.in_batch.clone() {
            // What an earlier round settled was not asked for, and its absence here says nothing.
            if round.as_ref().is_some_and(|round| !round.contains(&id)) {
                continue;
            }
            let Some(slot) = self.cache.get(id) else { continue };
            let (base_version, Some(pending)) = (slot.base_version, slot.pending.clone()) else { continue };
            let name = (pending.key.clone(), pending.partial);
            let stored = by_id.get(&name).cloned();
            let unmoved = stored.as_ref().map_or(0, |stored| stored.version) == base_version;
            let goes_on = match stored {
                Some(stored) if stored.position == pending.position && stored.version == pending.version => {
                    moved = true;
                    self.keep_stored(id)
                }
                Some(stored) if is_at_or_beyond(&stored, &pending) => {
                    self.stale += 1;
                    self.found.push(stored.clone());
                    self.hold(id, Some(stored))?;
                    self.skip_stored(id)
                }
                stored => {
                    match (refused.get(&name).filter(|_| unmoved), &stored) {
                        (Some(poison), _) => drop(to_judge.insert(id, poison.clone())),
                        (None, Some(stored)) => drop(self.moved_on.insert(id, stored.clone())),
                        (None, None) => {}
                    }
                    self.conflicts += u64::from(!to_judge.contains_key(&id));
                    self.hold(id, stored)?;
                    true
                }
            };
            if goes_on {
                again.insert(id);
            }
        }
        self.judge(to_judge, moved)?;
        if again.is_empty() { Ok(Effects::default()) } else { self.fold(Some(&again)) }
    }

    /// All upserts of the newest fold took effect. Returns what has to be written in another round, of keys whose records
    /// are taken in bit by bit.
    pub fn go_on(&mut self) -> Result<Effects, Fault> {
        if self.trials.is_empty() {
            return Ok(Effects::default());
        }
        let (round, mut again) = (self.round.take(), FxHashSet::default());
        for id in self.trials.keys().copied().collect::<Vec<_>>() {
            if round.as_ref().is_none_or(|round| round.contains(&id)) && self.keep_stored(id) {
                again.insert(id);
            }
        }
        if again.is_empty() { Ok(Effects::default()) } else { self.fold(Some(&again)) }
    }

    /// The entities of the newest fold.
    pub fn round(&self) -> Vec<EntityId> {
        let of_round = |id: &&SlotId| self.round.as_ref().is_none_or(|round| round.contains(*id));
        self.in_batch.iter().filter(of_round).filter_map(|&id| self.entity_id(id)).collect()
    }

    /// Rows that were thought new turned out to be another record's: `firsts` says whose, `documents` what the store holds
    /// of the entities of the newest fold, which is made again. What that fold wanted is void.
    pub fn again(
        &mut self,
        firsts: Vec<(String, Position)>,
        documents: Vec<Document>,
    ) -> Result<Effects, Fault> {
        self.firsts.extend(firsts);
        let by_id = by_id(documents);
        let round = self.round.take();
        self.void_letters(round.as_ref());
        for id in self.in_batch.clone() {
            if round.as_ref().is_none_or(|round| round.contains(&id)) {
                let found = self.entity_id(id).and_then(|name| by_id.get(&(name.key, name.partial)).cloned());
                self.hold(id, found)?;
            }
        }
        self.fold(round.as_ref())
    }

    /// Everything is stored: what changed, what is told to whom, and an empty batch.
    pub fn confirm(&mut self) -> Confirmed {
        let mut confirmed = Confirmed { counts: self.count(), ..Confirmed::default() };
        confirmed.outcomes = self.outcomes();
        confirmed.finished = self.finished();
        confirmed.changes.reserve(self.in_batch.len());
        let fenced = self.fenced();
        let change = |document: Document, covers| Change {
            is_fenced: fenced.contains(&document.position.partition),
            document,
            covers,
        };
        for id in std::mem::take(&mut self.in_batch) {
            let Some(slot) = self.cache.get_mut(id) else { continue };
            slot.in_batch = false;
            let (pending, applied) = (slot.pending.take(), slot.applied);
            let (stored, covers) = self.trials.remove(&id).map_or((None, 0), Trial::stored);
            let ours = pending.or(stored);
            // Where nothing of ours came behind it, nobody else may have told it.
            let of_others = self.moved_on.remove(&id);
            let of_others =
                of_others.filter(|other| ours.as_ref().is_none_or(|ours| ours.version < other.version));
            confirmed.changes.extend(ours.map(|document| change(document, covers + applied)));
            confirmed.changes.extend(of_others.map(|document| change(document, 0)));
        }
        let found = std::mem::take(&mut self.found).into_iter().chain(self.loaded_and_left());
        let found: Vec<Document> = found.collect();
        confirmed.changes.extend(found.into_iter().map(|document| change(document, 0)));
        self.clear();
        confirmed.evicted = self.cache.evict();
        confirmed.cache_bytes = self.cache.bytes();
        confirmed
    }

    /// Partitions of slices in this batch that have gone to someone else.
    fn fenced(&self) -> SmallVec<[u32; 4]> {
        let assignments = self.parts.iter().map(|part| &part.flight.assignment);
        assignments.filter(|one| one.is_fenced()).map(|one| one.partition).collect()
    }

    /// What was loaded, reflects a record of this batch already and is left as it was: who stored it may have ended before
    /// telling anybody (semantics 13).
    fn loaded_and_left(&mut self) -> Vec<Document> {
        if self.loaded.is_empty() {
            return Vec::new();
        }
        let ends = self.planned.iter().zip(&self.ends);
        let seen: FxHashSet<SlotId> =
            ends.filter(|(_, end)| matches!(end, End::Seen)).map(|(planned, _)| planned.slot).collect();
        let is_left = |id: &SlotId| self.cache.get(*id).is_some_and(|slot| slot.applied == 0);
        let loaded = std::mem::take(&mut self.loaded).into_iter();
        loaded.filter(|(id, _)| seen.contains(id) && is_left(id)).map(|(_, document)| document).collect()
    }

    fn clear(&mut self) {
        self.loaded.clear();
        self.parts.clear();
        self.planned.clear();
        self.ends.clear();
        self.missing.clear();
        self.firsts.clear();
        self.round = None;
        self.trials.clear();
        self.moved_on.clear();
        (self.bytes, self.moved, self.conflicts, self.stale) = (0, 0, 0, 0);
    }

    fn finished(&self) -> Vec<FinishedPart> {
        let part = |part: &Part| FinishedPart {
            flight: part.flight.clone(),
            records: part.indices.len() as u32,
            poison: Vec::new(),
        };
        let mut finished: Vec<FinishedPart> = self.parts.iter().map(part).collect();
        for (planned, end) in self.planned.iter().zip(&self.ends) {
            let is_poison = matches!(end, End::Rejected(reject) if matches!(**reject, Reject::Poison(_)));
            if is_poison && let Some(part) = finished.get_mut(planned.part as usize) {
                part.poison.push(planned.index);
            }
        }
        finished
    }

    fn count(&self) -> Counts {
        let mut counts = Counts {
            records: self.planned.len() as u64,
            moved: self.moved,
            conflicts: self.conflicts,
            stale: self.stale,
            ..Counts::default()
        };
        for end in &self.ends {
            match end {
                End::Applied => counts.stored += 1,
                End::Seen => counts.seen += 1,
                End::Fenced => {}
                End::Rejected(reject) => match &**reject {
                    Reject::Poison(poison) => *counts.poisoned.entry(poison.reason).or_default() += 1,
                    Reject::Refused(refused) => *counts.refused.entry(refused.kind.code()).or_default() += 1,
                },
            }
        }
        counts
    }

    fn outcomes(&self) -> Vec<(String, Waited)> {
        let mut outcomes = Vec::new();
        for (planned, end) in self.planned.iter().zip(&self.ends) {
            let Some(part) = self.parts.get(planned.part as usize) else { continue };
            let Some(record) = part.flight.slice.get(planned.index as usize) else { continue };
            if record.headers.is_empty() {
                continue;
            }
            let waiter = record.headers.get(WAIT_HEADER).and_then(|name| std::str::from_utf8(name).ok());
            let Some(waiter) = waiter else { continue };
            if let Some(waited) = self.waited(end, self.cache.get(planned.slot)) {
                outcomes.push((waiter.to_owned(), waited));
            }
        }
        outcomes
    }

    fn waited(&self, end: &End, slot: Option<&Slot<A::Entity>>) -> Option<Waited> {
        match end {
            End::Fenced => None,
            End::Seen => Some(Waited::Seen),
            End::Applied => {
                let shown = slot.and_then(|slot| self.shown(slot));
                Some(shown.map_or(Waited::Seen, |shown| Waited::Known(Outcome::Stored(shown))))
            }
            End::Rejected(reject) => Some(Waited::Known(match &**reject {
                Reject::Poison(poison) => {
                    Outcome::Poisoned { reason: poison.reason, detail: poison.detail.clone() }
                }
                Reject::Refused(refused) => Outcome::Refused {
                    kind: refused.kind,
                    detail: refused.detail.clone(),
                    entity: slot.and_then(|slot| self.shown(slot)).filter(|shown| shown.value.is_some()),
                },
            })),
        }
    }

    fn shown(&self, slot: &Slot<A::Entity>) -> Option<Shown> {
        if let Some(pending) = &slot.pending {
            return Some(pending.into());
        }
        let held = slot.held.as_ref()?;
        let value = match &held.entity {
            Some(entity) => Some(self.app.to_json(entity).ok()?),
            None => None,
        };
        Some((&slot.document(held, value)).into())
    }

    /// Gives the batch up: nothing of it is confirmed, and what it touched is loaded anew.
    pub fn abandon(&mut self) {
        for id in std::mem::take(&mut self.in_batch) {
            if let Some(slot) = self.cache.get_mut(id) {
                slot.in_batch = false;
                slot.pending = None;
            }
            self.cache.doubt(id);
        }
        self.found.clear();
        self.clear();
    }

    pub fn records(&self) -> usize {
        self.planned.len()
    }

    pub fn keys(&self) -> usize {
        self.in_batch.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn unreadable(document: &Document, error: &serde_json::Error) -> Fault {
    let detail = format!(
        "what is stored cannot be read back, {error}; if another build wrote it, drop the stream's collection and have its \
         topic read again (\"What another build stored\" in docs/operations.md)"
    );
    Fault { key: document.key.to_string(), detail }
}

fn is_at_or_beyond(stored: &Document, ours: &Document) -> bool {
    match stored.position.order(&ours.position) {
        Some(order) => order.is_ge(),
        None => stored.updated_ms >= ours.updated_ms,
    }
}

type Name = (Key, Option<u32>);
type ById = FxHashMap<Name, Document>;

fn by_id(documents: Vec<Document>) -> ById {
    documents.into_iter().map(|document| ((document.key.clone(), document.partial), document)).collect()
}

fn by_refused(refused: Vec<RefusedDocument>) -> FxHashMap<Name, Poison> {
    refused.into_iter().map(|refused| ((refused.id.key, refused.id.partial), refused.poison)).collect()
}
