//! Keys whose document the store refused: their records are taken in bit by bit, until it shows which of them it is.
//!
//! The store sees one document per key and batch, so a refusal says nothing of a single record. The key is folded again from
//! what is stored, with half as many records each time the store refuses, and with twice as many each time it takes them.
//! Invariant: a record becomes a dead letter only when the document that it alone makes of what is stored was refused, and
//! what comes before and after it is taken in, in order, as if it had never been there.
//! Not here: records that made rows or emits. Those are out before the guard and say that the record was taken in, so a
//! refused document of theirs is a fault that ends the generation.

#[cfg(test)]
mod tests;

use super::{Early, End, Fault, Fold, cache::SlotId};
use crate::{
    app::{App, Poison},
    document::Document,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// How far a key has come.
#[derive(Debug)]
pub struct Trial {
    /// The records before this place of the batch are decided.
    from: usize,
    /// So many records the next document may take in.
    take: u64,
    /// The place at which the newest fold stopped.
    stopped: Option<usize>,
    /// What earlier rounds of this batch stored, and how many records that covers.
    stored: Option<Document>,
    covers: u64,
}

/// Whether it is a record's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Past,
    Now,
    Later,
}

impl Trial {
    fn new(take: u64) -> Self {
        Trial { from: 0, take, stopped: None, stored: None, covers: 0 }
    }

    /// The turn of the record at this place, after the fold has applied so many of its key's.
    pub fn turn(&mut self, at: usize, applied: u64) -> Turn {
        if at < self.from {
            return Turn::Past;
        }
        if applied < self.take && self.stopped.is_none() {
            return Turn::Now;
        }
        self.stopped = self.stopped.or(Some(at));
        Turn::Later
    }

    /// Goes on behind what is decided; `false`: nothing is left.
    fn advance(&mut self) -> bool {
        let Some(at) = self.stopped.take() else { return false };
        self.from = at;
        true
    }

    /// What was stored in rounds before the newest, and how many records that covers.
    pub fn stored(self) -> (Option<Document>, u64) {
        (self.stored, self.covers)
    }
}

impl<A: App> Fold<A> {
    /// A fold of these keys begins (`None`: of all).
    pub(super) fn begin_trials(&mut self, only: Option<&FxHashSet<SlotId>>) {
        for (id, trial) in &mut self.trials {
            if only.is_none_or(|slots| slots.contains(id)) {
                trial.stopped = None;
            }
        }
    }

    /// The newest document of a key is stored. `true`: there are records behind it.
    pub(super) fn keep_stored(&mut self, id: SlotId) -> bool {
        let (Some(trial), Some(slot)) = (self.trials.get_mut(&id), self.cache.get_mut(id)) else {
            return false;
        };
        if !trial.advance() {
            return false;
        }
        trial.take = trial.take.saturating_mul(2);
        if let Some(document) = slot.pending.take() {
            trial.stored = Some(document);
            trial.covers += slot.applied;
        }
        slot.base_version = slot.held.as_ref().map_or(0, |held| held.version);
        slot.applied = 0;
        true
    }

    /// The store is further with a key than its newest document. `true`: there are records behind that.
    pub(super) fn skip_stored(&mut self, id: SlotId) -> bool {
        self.trials.get_mut(&id).is_some_and(Trial::advance)
    }

    /// The store refused the newest documents of these keys, which are held as they are stored again. `moved`: it has taken
    /// others of the same round.
    pub(super) fn judge(&mut self, refused: FxHashMap<SlotId, Poison>, moved: bool) -> Result<(), Fault> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut took: FxHashMap<SlotId, Vec<usize>> = FxHashMap::default();
        for (at, (planned, end)) in self.planned.iter().zip(&self.ends).enumerate() {
            let from = self.trials.get(&planned.slot).map_or(0, |trial| trial.from);
            if at >= from && matches!(end, End::Applied) && refused.contains_key(&planned.slot) {
                took.entry(planned.slot).or_default().push(at);
            }
        }
        for (id, poison) in refused {
            self.judge_one(id, poison, &took.remove(&id).unwrap_or_default(), moved)?;
        }
        Ok(())
    }

    fn judge_one(&mut self, id: SlotId, poison: Poison, took: &[usize], moved: bool) -> Result<(), Fault> {
        let has_children = took.iter().any(|&at| self.planned.get(at).is_some_and(|one| one.has_children));
        if has_children || took.is_empty() {
            let key = self.cache.get(id).map(|slot| slot.key.to_string()).unwrap_or_default();
            let detail = format!("the store refused it after its rows or emits were out: {}", poison.detail);
            return Err(Fault { key, detail });
        }
        let fewer = (took.len() as u64 / 2).max(1);
        let Some(trial) = self.trials.get_mut(&id) else {
            // Even a single record is tried once more, on what was loaded now.
            self.trials.insert(id, Trial::new(fewer));
            return Ok(());
        };
        trial.take = fewer;
        // Another key may have held what is unique, and given it up in this round: nobody is judged until nothing moves.
        if moved {
            return Ok(());
        }
        if let ([at], Some(planned)) = (took, took.first().and_then(|&at| self.planned.get_mut(at))) {
            tracing::debug!(place = at, reason = poison.reason.code(), "record leads to a refused document");
            planned.early = Early::Poison(Box::new(poison));
        }
        Ok(())
    }

    /// The effects of the newest fold, of these keys (`None`: of all), were not carried out.
    pub(super) fn void_letters(&mut self, round: Option<&FxHashSet<SlotId>>) {
        for planned in &mut self.planned {
            if round.is_none_or(|round| round.contains(&planned.slot)) {
                planned.has_letter = false;
            }
        }
    }
}
