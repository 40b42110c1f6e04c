//! The group: who has which partition, and what becomes of it when an instance dies, falls ill, or has to give it up.
//!
//! Invariant: only who has a partition commits for it; what is committed is safe.

use super::{
    Bug,
    instance::Instance,
    run::{INSTANCES, PARTITIONS, Run},
    world::Late,
};
use rand::{Rng, rngs::StdRng};
use std::sync::Arc;

impl Run<'_> {
    /// A commit reaches the log, which refuses it from who has lost the partition.
    pub(super) fn land(&mut self, id: u64, partition: u32, next: u64) {
        if self.owner[partition as usize] != Some(id) {
            self.world.inner().seen.refused_commits += 1;
            return;
        }
        let before = self.world.inner().committed[partition as usize];
        for offset in before..next {
            let fate = || self.world.inner().model.fates.get(&(partition, offset)).cloned();
            let is_safe = self.world.is_safe(partition, offset);
            assert!(is_safe, "{partition}.{offset} is committed and not safe: {:?}", fate());
        }
        self.world.inner().committed[partition as usize] = next;
    }

    pub(super) fn crash(&mut self, slot: usize) {
        let Some(instance) = self.instances[slot].take() else { return };
        let is_untold = (0..PARTITIONS as u32).any(|partition| {
            self.owner[partition as usize] == Some(instance.id) && self.is_untold(partition)
        });
        let mut inner = self.world.inner();
        inner.seen.crashes += 1;
        inner.seen.died_untold += u64::from(is_untold);
        inner.mirrors.retain(|mirror| !Arc::ptr_eq(mirror, &instance.stage.engine));
        // What it had sent may still arrive; what it only thought of does not.
        let (gone, kept): (Vec<_>, Vec<_>) = inner.calls.drain(..).partition(|call| call.who == instance.id);
        inner.calls = kept;
        let is_sent = |rng: &mut StdRng| rng.random_bool(0.5);
        for call in gone {
            if self.world.bug != Some(Bug::LetterNotAwaited) && is_sent(&mut self.rng) {
                inner.late.push(Late { act: call.act, since_ms: call.since_ms });
            }
        }
        drop(inner);
        for owner in self.owner.iter_mut().filter(|owner| **owner == Some(instance.id)) {
            *owner = None;
        }
        self.forget_waiting();
    }

    /// Whether a key of this partition is stored as nobody has told yet.
    fn is_untold(&self, partition: u32) -> bool {
        let (keys, told) = {
            let inner = self.world.inner();
            (inner.model.entities.keys().cloned().collect::<Vec<_>>(), inner.told.clone())
        };
        let stored = keys.iter().filter_map(|key| self.world.document(key));
        let mut of_partition = stored.filter(|document| document.position.partition == partition);
        of_partition.any(|document| told.get(&*document.key).is_none_or(|told| *told < document.version))
    }

    pub(super) fn sick(&mut self, slot: usize) {
        self.world.inner().seen.sick += 1;
        let instance = self.instance(slot);
        let id = instance.id;
        let partitions: Vec<u32> = instance.consumers.keys().copied().collect();
        let confirmed: Vec<_> = partitions.iter().map(|&p| (p, instance.give_up(p))).collect();
        instance.begin_generation();
        for (partition, next) in confirmed {
            if let Some(next) = next.filter(|_| self.owner[partition as usize] == Some(id)) {
                self.land(id, partition, next);
                self.owner[partition as usize] = None;
            }
        }
        // A partition that was assigned and whose consumer is gone already is nobody's either.
        for owner in self.owner.iter_mut().filter(|owner| **owner == Some(id)) {
            *owner = None;
        }
    }

    pub(super) fn assign(&mut self, partition: u32) {
        let log = self.world.inner().identity;
        let is_member = |slot: &usize| self.instances[*slot].as_ref().is_some_and(|i| i.is_member(log));
        let alive: Vec<usize> = (0..INSTANCES).filter(is_member).collect();
        let slot = alive[self.rng.random_range(0..alive.len())];
        let (from, number) = (self.world.inner().committed[partition as usize], self.next_assignment);
        self.next_assignment += 1;
        let instance = self.instance(slot);
        instance.assign(partition, from, number);
        self.owner[partition as usize] = Some(instance.id);
    }

    pub(super) fn assign_to_another(&mut self, partition: u32, was: Option<u64>) {
        let log = self.world.inner().identity;
        let is_other = |i: &Instance| Some(i.id) != was && i.is_member(log);
        let other = (0..INSTANCES).find(|&slot| self.instances[slot].as_ref().is_some_and(is_other));
        let (from, number) = (self.world.inner().committed[partition as usize], self.next_assignment);
        self.next_assignment += 1;
        if let Some(slot) = other {
            let instance = self.instance(slot);
            instance.assign(partition, from, number);
            self.owner[partition as usize] = Some(instance.id);
        }
    }

    pub(super) fn drain(&mut self, partition: u32) {
        let owner = self.owner[partition as usize];
        let instance = self.instances.iter_mut().flatten().find(|instance| Some(instance.id) == owner);
        if let Some(consumer) = instance.and_then(|instance| instance.consumers.get_mut(&partition)) {
            consumer.draining = true;
        }
    }

    /// The drain is over: what is confirmed is committed, and another instance goes on.
    pub(super) fn revoke(&mut self, slot: usize, partition: u32) {
        self.world.inner().seen.moves += 1;
        let instance = self.instance(slot);
        let (id, next) = (instance.id, instance.give_up(partition));
        if let Some(next) = next {
            self.land(id, partition, next);
        }
        self.owner[partition as usize] = None;
        self.assign_to_another(partition, Some(id));
    }
}
