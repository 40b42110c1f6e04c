//! Time passes, and what is expired is forgotten.
//!
//! Invariant: nothing is on its way for long, as the time goes for which a tombstone is kept: a call arrives or never will, a
//! batch ends, who lost a partition hears of it, what is stored is committed. Past that a tombstone protects from nothing.
//! Not here: which tombstones are forgotten, and who is told; that is the engine's (`observer`).

use super::{
    events::Event,
    run::{KEEP_S, Run},
    world::{Inner, STREAM, World},
};
use crate::{
    clock,
    ports::{EntityId, Store},
    record::Position,
};
use futures_util::FutureExt;
use rand::Rng;

const KEEP_MS: i64 = 1_000 * KEEP_S as i64;
/// How far the clock goes on at once, in ms: while something is on its way, and while nothing is.
const PASS_MAX_MS: i64 = KEEP_MS / 6;
const REST_MAX_MS: i64 = 2 * KEEP_MS;
/// What takes longer than this keeps the clock from going on: a third, since one delay may follow another.
const ON_ITS_WAY_MAX_MS: i64 = KEEP_MS / 3;

impl Run<'_> {
    pub(super) fn events_of_forgetting(&self, inner: &Inner, events: &mut Vec<(u32, Event)>) {
        let weight = self.profile.forgetting;
        if weight == 0 || self.healing {
            return;
        }
        if self
            .oldest_ms(inner)
            .is_none_or(|oldest_ms| clock::now_ms() + PASS_MAX_MS < oldest_ms + ON_ITS_WAY_MAX_MS)
        {
            events.push((weight, Event::Pass));
        }
        let due = self.world.memory.expired(STREAM, clock::now_ms(), 1).now_or_never().expect("at once");
        let is_due = !due.expect("listed").is_empty();
        for (slot, instance) in self.instances.iter().enumerate().filter(|_| is_due) {
            if instance.as_ref().is_some_and(|instance| instance.forgetting.is_none()) {
                events.push((weight, Event::Forget(slot)));
            }
        }
    }

    /// Since when something has been on its way.
    fn oldest_ms(&self, inner: &Inner) -> Option<i64> {
        let calls = inner.calls.iter().map(|call| call.since_ms);
        let late = inner.late.iter().map(|late| late.since_ms);
        let stored = inner.stored_ms.iter();
        let uncommitted =
            stored.filter(|((partition, offset), _)| inner.committed[*partition as usize] <= *offset);
        let alive = || self.instances.iter().flatten();
        let batches = alive().flat_map(|i| i.writers.iter().filter(|writer| writer.task.is_some()));
        let lost = alive().flat_map(|i| i.consumers.values().filter_map(|consumer| consumer.lost_ms));
        let all = calls.chain(late).chain(uncommitted.map(|(_, since_ms)| *since_ms));
        let all = all.chain(batches.map(|writer| writer.began_ms)).chain(lost);
        all.min()
    }

    pub(super) fn pass(&mut self) {
        let is_quiet = self.oldest_ms(&self.world.inner()).is_none();
        let most_ms = if is_quiet { REST_MAX_MS } else { PASS_MAX_MS };
        clock::standing::set(clock::now_ms() + self.rng.random_range(100..most_ms));
    }

    /// The group has given its partition away, and it does not know.
    pub(super) fn begin_to_lose(&mut self, partition: u32, was: Option<u64>) {
        let instance = self.instances.iter_mut().flatten().find(|instance| Some(instance.id) == was);
        if let Some(consumer) = instance.and_then(|instance| instance.consumers.get_mut(&partition)) {
            consumer.lost_ms = Some(clock::now_ms());
        }
    }
}

impl World {
    /// Forgets one key, if it is still where it was seen. Returns how many went.
    pub(super) fn forget(&self, (id, position): (EntityId, Position)) -> usize {
        let key = id.key.clone();
        let held = self.document(&key);
        let gone = self.memory.forget(STREAM, vec![(id, position)]).now_or_never().expect("at once");
        let gone = gone.expect("forgotten");
        let mut inner = self.inner();
        if gone == 0 {
            inner.seen.not_forgotten += u64::from(held.is_some());
            return 0;
        }
        let held = held.expect("it was there");
        assert!(held.value.is_none(), "{held:?} is forgotten, and was not removed");
        inner.seen.forgotten += 1;
        inner.model.forget(&key, held.position);
        for mirror in &inner.mirrors {
            mirror.forget(STREAM, &key);
        }
        gone
    }
}
