//! What may happen next, and how likely each of it is.
//!
//! Invariant: while anything is left to do, something that is no fault may happen; once the run heals, no fault may.
//! Not here: choosing, and carrying out (`run`).

use super::{
    App,
    attend::Attention,
    instance::Instance,
    run::{INSTANCES, Run},
    world::{Act, Inner, Verdict},
};
use rand::Rng;

/// How much likelier what is no fault is.
const ORDINARY: u32 = 12;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    Produce,
    Start(usize),
    Crash(usize),
    /// Something in it is sick: another generation begins from what is committed.
    Sick(usize),
    /// Nobody has the partition: somebody is given it.
    Assign(u32),
    /// It is to go to another instance: it drains first.
    Move(u32),
    Drained(usize, u32),
    Deadline(usize, u32),
    /// Its session is lost, and it does not know yet.
    Lose(u32),
    ToldLost(usize, u32),
    Pull(usize, u32),
    Offer(usize, u32),
    Release(usize, u32),
    Cut(usize, usize),
    Decide(usize),
    Late(usize),
    Deliver(usize, usize),
    Commit(usize),
    Land(usize),
    Watch(usize),
    Attend(usize, Attention),
    Time,
    /// The clock goes on.
    Pass,
    /// An instance forgets what is expired.
    Forget(usize),
    /// The topic is deleted and made anew.
    Recreate,
    /// An instance finds that the topic is another one.
    Notice(usize),
    /// A generation begins: which epoch is it?
    Register(usize),
    /// A moment, for those who wait.
    Moment,
    WaitForPosition(usize),
    WriteBound(usize),
}

impl Event {
    fn is_fault(self) -> bool {
        use Event::{Crash, Deadline, Lose, Move, Recreate, Sick};
        matches!(self, Crash(_) | Sick(_) | Move(_) | Lose(_) | Deadline(..) | Recreate)
    }
}

impl Run<'_> {
    pub(super) fn events(&self) -> Vec<(u32, Event)> {
        let mut events = Vec::with_capacity(32);
        let faults = if self.healing { 0 } else { 1 };
        let inner = self.world.inner();
        if !self.producer.is_done() {
            events.push((if self.profile.forgetting > 0 { 1 } else { 8 }, Event::Produce));
        }
        for slot in 0..INSTANCES {
            match &self.instances[slot] {
                None => events.push((2, Event::Start(slot))),
                Some(instance) => self.events_of(slot, instance, &inner, &mut events),
            }
        }
        let alive = self.instances.iter().flatten().filter(|i| i.is_member(inner.identity)).count();
        for (partition, owner) in self.owner.iter().enumerate() {
            let partition = partition as u32;
            let is_moving = self.instances.iter().flatten().any(|instance| {
                Some(instance.id) == *owner
                    && instance.consumers.get(&partition).is_some_and(|consumer| consumer.draining)
            });
            match owner {
                None if alive > 0 => events.push((6, Event::Assign(partition))),
                Some(_) if alive > 1 && !is_moving => {
                    events.push((faults * self.profile.moves, Event::Move(partition)));
                    events.push((faults * self.profile.losses, Event::Lose(partition)));
                }
                _ => {}
            }
        }
        events.extend((0..inner.calls.len()).map(|at| (6, Event::Decide(at))));
        events.extend((0..inner.late.len()).map(|at| (2, Event::Late(at))));
        let waits = self.instances.iter().flatten().any(|i| i.writers.iter().any(|w| w.task.is_some()));
        if waits && inner.calls.is_empty() {
            events.push((4, Event::Time));
        }
        self.events_of_forgetting(&inner, &mut events);
        self.events_of_epochs(&inner, &mut events);
        events.retain(|(weight, _)| *weight > 0);
        for (weight, event) in &mut events {
            *weight *= if event.is_fault() { 1 } else { ORDINARY };
        }
        // Watching and waiting alone bring nothing forward.
        if !events.is_empty() {
            if !self.waiting.is_empty() {
                events.push((2 * ORDINARY, Event::Moment));
            }
            if !self.producer.is_done() {
                for slot in (0..INSTANCES).filter(|&slot| self.instances[slot].is_some()) {
                    events.push((self.profile.waits, Event::WaitForPosition(slot)));
                    // Events that are counted have no versions to be bound to.
                    let writes = if self.profile.app == App::Kv { self.profile.writes } else { 0 };
                    events.push((writes, Event::WriteBound(slot)));
                }
            }
            for at in 0..self.watchers.len() {
                events.push((ORDINARY * self.profile.watching, Event::Watch(at)));
                let attends = self.profile.attends.iter();
                events.extend(attends.map(|&(weight, attention)| (weight, Event::Attend(at, attention))));
            }
        }
        events
    }

    fn events_of(&self, slot: usize, instance: &Instance, inner: &Inner, events: &mut Vec<(u32, Event)>) {
        let faults = if self.healing { 0 } else { 1 };
        events.push((faults * self.profile.crashes, Event::Crash(slot)));
        events.push((faults * self.profile.sick, Event::Sick(slot)));
        for (&partition, consumer) in &instance.consumers {
            if self.owner[partition as usize] != Some(instance.id) {
                events.push((2, Event::ToldLost(slot, partition)));
            } else if consumer.draining {
                let drained = consumer.watermark.is_drained();
                events.push(if drained {
                    (6, Event::Drained(slot, partition))
                } else {
                    (faults, Event::Deadline(slot, partition))
                });
            }
            let there = instance.epoch == Some(inner.identity)
                && consumer.next < inner.log[partition as usize].len() as u64;
            if !consumer.held_parts.is_empty() {
                events.push((6, Event::Offer(slot, partition)));
            } else if consumer.held && !consumer.draining {
                events.push((1, Event::Release(slot, partition)));
            } else if there && !consumer.draining && !consumer.held {
                events.push((6, Event::Pull(slot, partition)));
            }
        }
        for (shard, writer) in instance.writers.iter().enumerate() {
            if instance.is_idle(shard) && !writer.queue.is_empty() {
                events.push((6, Event::Cut(slot, shard)));
            }
        }
        events.extend((0..instance.finished.len()).map(|at| (6, Event::Deliver(slot, at))));
        if instance.has_to_commit() {
            events.push((3, Event::Commit(slot)));
        }
        if !instance.commits.is_empty() {
            events.push((4, Event::Land(slot)));
        }
    }

    /// What becomes of a call; for a write that is carried out in part: of how many statements.
    pub(super) fn verdict(&mut self, at: usize) -> (Verdict, usize) {
        let profile = self.profile;
        if self.healing {
            return (Verdict::Done, 0);
        }
        let (is_read, statements) = match &self.world.inner().calls[at].act {
            Act::Read | Act::Identity => (true, 0),
            Act::Write(upserts) => (false, upserts.len()),
            Act::Forget(ids) => (false, ids.len()),
            _ => (false, 0),
        };
        let dice = self.rng.random_range(0..100);
        let mut upto = 0;
        let kinds = [
            (profile.away, Verdict::Away),
            (profile.lost, Verdict::Lost),
            (profile.partly, Verdict::Partly),
            (profile.late, Verdict::Late),
        ];
        let chosen = kinds.into_iter().find(|(percent, _)| {
            upto += percent;
            dice < upto
        });
        let verdict = match chosen.map_or(Verdict::Done, |(_, verdict)| verdict) {
            Verdict::Partly | Verdict::Late if is_read => Verdict::Away,
            Verdict::Partly if statements == 0 => Verdict::Lost,
            verdict => verdict,
        };
        let part = if statements == 0 { 0 } else { self.rng.random_range(0..statements) };
        (verdict, part)
    }
}
