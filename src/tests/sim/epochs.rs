//! A topic that is deleted and made anew, and instances that find out each at its own time.
//!
//! Invariant: each log has one epoch, whoever registers it first, however late another comes; what stands in the store at
//! an epoch is of that log. A log that is gone is read by nobody.
//! Not here: what is committed for a log that is gone (`tests/contract`).

use super::{
    events::Event,
    instance::Instance,
    run::{PARTITIONS, Run},
    world::{Inner, STREAM, World},
};
use crate::{document::Document, engine::generation, ports::Store};
use futures_util::FutureExt;
use std::task::{Context, Poll};

/// How often a topic is made anew in one run at most.
const RECREATED_MAX: u32 = 4;

impl Run<'_> {
    pub(super) fn events_of_epochs(&self, inner: &Inner, events: &mut Vec<(u32, Event)>) {
        if !self.world.recreated {
            return;
        }
        // One that nobody ever met would have no epoch.
        let is_met = inner.registered > inner.identity;
        if !self.healing && is_met && inner.identity < RECREATED_MAX {
            events.push((self.profile.recreations, Event::Recreate));
        }
        for (slot, instance) in self.instances.iter().enumerate() {
            let Some(instance) = instance else { continue };
            if instance.epoch.is_some() && !instance.is_member(inner.identity) {
                events.push((2, Event::Notice(slot)));
            } else if instance.epoch.is_none() && instance.registering.is_none() {
                events.push((4, Event::Register(slot)));
            }
        }
    }

    pub(super) fn recreate(&mut self) {
        let mut inner = self.world.inner();
        inner.seen.recreated += 1;
        inner.identity += 1;
        (inner.log, inner.committed) = (vec![Vec::new(); PARTITIONS], vec![0; PARTITIONS]);
        inner.model.fates.clear();
        inner.stored_ms.clear();
        drop(inner);
        self.owner.fill(None);
    }

    /// Its generation ends, and the next one asks anew.
    pub(super) fn notice(&mut self, slot: usize) {
        self.sick(slot);
    }
}

impl Instance {
    /// Asks log and store which epoch it is, as a generation does when it begins.
    pub fn register(&mut self) {
        let stream = self.stream.clone();
        self.registering = Some(Box::pin(async move {
            stream.probe().await; // as the observer does on its beat
            generation::epoch(&stream).await.ok()
        }));
    }

    /// `true`: it is known, or has to be asked again.
    pub(super) fn poll_registering(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(found)) = self.registering.as_mut().map(|task| task.as_mut().poll(cx)) else {
            return false;
        };
        self.registering = None;
        self.epoch = found.map(|(epoch, _)| epoch);
        true
    }

    /// Whether partitions of the log that is there now may be given to it.
    pub(super) fn is_member(&self, log: u32) -> bool {
        let known = self.stream.progress.identity.load_full();
        self.epoch.is_some() && known.is_none_or(|known| *known == log.to_string())
    }
}

impl World {
    /// Registers a log, and returns one more than twice its epoch, with one more if it has just been raised; 0: another was
    /// registered meanwhile.
    pub(super) fn register(&self, identity: &str, last: Option<u32>) -> usize {
        let found = self.memory.epoch(STREAM, identity, last).now_or_never().expect("at once");
        let mut inner = self.inner();
        let log: u32 = identity.parse().expect("a number");
        inner.seen.met_gone += u64::from(log + 1 < inner.registered);
        let Some((epoch, raised)) = found.expect("registered") else { return 0 };
        assert_eq!(epoch, log, "each log has one epoch, in their order");
        inner.registered = inner.registered.max(log + 1);
        inner.seen.met_raised += u64::from(!raised && epoch > 0 && log == inner.identity);
        1 + 2 * epoch as usize + usize::from(raised)
    }

    /// Whether the model knows of each record whether it was taken in, and in which order.
    pub(super) fn is_exact(&self) -> bool {
        !self.strays && !self.recreated
    }
}

/// What was to become of this key stood in a log that is gone.
pub fn is_lost(document: &Option<Document>, log: u32) -> bool {
    document.as_ref().is_some_and(|document| document.position.epoch < log)
}
