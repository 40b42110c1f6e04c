//! Handing over what waits, as much as each client takes.
//!
//! Invariant: answers go before changes, changes before a heartbeat; an idle client hears at once, a busy one once per
//! tick; what the transport does not take stays here and is the next to go.
//! Not here: how much may go (`clients::pace`).

use super::{
    calls::{Active, Give},
    hub::{Hub, Place, Seat},
    latency::Latencies,
};
use crate::{
    clock,
    engine::{
        clients::{Next, member::Phase, pace::Allowance},
        live::{ClientId, Undelivered},
        packet::{Changes, Freshness, Heartbeat, Packet, Reason, Snapshot},
    },
    metrics,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Clients that take nothing are looked at every so many ticks.
const BLOCKED_TICKS: u32 = 4;

/// Something on its way to a client.
pub(super) enum Parcel {
    Changes(Arc<Changes>),
    Resync(Snapshot, Reason),
    Heartbeat(Heartbeat),
}

impl Parcel {
    fn packet(&self) -> Packet<'_> {
        match self {
            Parcel::Changes(changes) => Packet::Changes(changes),
            Parcel::Resync(snapshot, reason) => Packet::Resync(snapshot, *reason),
            Parcel::Heartbeat(heartbeat) => Packet::Heartbeat(heartbeat),
        }
    }
}

/// Counters of the hot path.
pub(super) struct Meters {
    changes: ::metrics::Counter,
    conflated: ::metrics::Counter,
    packets: Vec<(&'static str, ::metrics::Counter)>,
    pub latencies: Latencies,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            changes: metrics::CHANGES_SENT.counter(&[]),
            conflated: metrics::CONFLATED.counter(&[]),
            packets: Vec::new(),
            latencies: Latencies::default(),
        }
    }
}

impl Meters {
    fn packet(&mut self, transport: &'static str) {
        match self.packets.iter().find(|(name, _)| *name == transport) {
            Some((_, counter)) => counter.increment(1),
            None => {
                let counter = metrics::PACKETS.counter(&[("transport", transport.into())]);
                counter.increment(1);
                self.packets.push((transport, counter));
            }
        }
    }
}

/// What came of one try.
enum Step {
    /// Something went: there may be more.
    Again,
    Rest(Place),
}

impl Hub {
    /// Hands over whatever is ready. Every turn ends here, so this is where the broadcaster shows itself.
    pub fn flush(&mut self, now: Instant) {
        self.stats.seen_ms.store(clock::steady_ms(), Ordering::Relaxed);
        while let Some(id) = self.ready.pop() {
            let place = self.flush_one(id, now);
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            seat.place = place;
            match place {
                Place::Later => self.later.push(id),
                Place::Blocked => self.blocked.push(id),
                Place::Idle | Place::Ready => {}
            }
        }
        self.last = None;
    }

    /// When `tick` is due, if anyone waits for it.
    pub fn next_tick(&self) -> Option<Duration> {
        match (self.later.is_empty(), self.blocked.is_empty()) {
            (false, _) => Some(self.settings.tick()),
            (true, false) => Some(self.settings.tick() * BLOCKED_TICKS),
            (true, true) => None,
        }
    }

    /// Hands over what waited for its turn, or for the line.
    pub fn tick(&mut self, now: Instant) {
        let waited = std::mem::take(&mut self.later).into_iter().chain(std::mem::take(&mut self.blocked));
        let waited: Vec<ClientId> = waited.collect();
        for id in waited {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.place = Place::Ready;
                self.ready.push(id);
            }
        }
        self.flush(now);
    }

    fn flush_one(&mut self, id: ClientId, now: Instant) -> Place {
        self.start_calls(id, now);
        loop {
            match self.step(id, now) {
                Step::Again => {}
                Step::Rest(place) => return place,
            }
        }
    }

    fn step(&mut self, id: ClientId, now: Instant) -> Step {
        let Some(seat) = self.seats.get_mut(&id) else { return Step::Rest(Place::Idle) };
        let unsent = seat.client.listener.unsent_bytes();
        seat.client.pace.observe(now, unsent);
        let unsent_max = self.settings.live.unsent_bytes_max;
        let Some(allowance) = seat.client.pace.allowance(now, unsent, unsent_max) else {
            return Step::Rest(Place::Blocked);
        };
        if let Some(parcel) = seat.held.take() {
            return self.send(id, parcel, now);
        }
        if let Some(Active::Answered(answer)) = &seat.active {
            if !allowance.admits(answer.bytes) {
                return Step::Rest(Place::Blocked);
            }
            return self.give_answer(id, now);
        }
        match self.next(id, allowance, now) {
            Ok(parcel) => self.send(id, parcel, now),
            Err(rest) => Step::Rest(rest),
        }
    }

    fn give_answer(&mut self, id: ClientId, now: Instant) -> Step {
        let Some(seat) = self.seats.get_mut(&id) else { return Step::Rest(Place::Idle) };
        let Some(Active::Answered(answer)) = seat.active.take() else { return Step::Again };
        match answer.give {
            Give::Reply(reply) => {
                let bytes = reply();
                seat.client.pace.handed(now, bytes);
            }
            Give::Resync(snapshot, reason) => {
                if let Step::Rest(rest) = self.send(id, Parcel::Resync(snapshot, reason), now) {
                    return Step::Rest(rest);
                }
            }
        }
        self.start_calls(id, now);
        Step::Again
    }

    fn next(&mut self, id: ClientId, allowance: Allowance, now: Instant) -> Result<Parcel, Place> {
        let tick = self.settings.tick();
        let seat = self.seats.get_mut(&id).ok_or(Place::Idle)?;
        if seat.client.waits() {
            if seat.client.pace.next_changes(tick).is_some_and(|at| at > now) {
                return Err(Place::Later);
            }
            match seat.client.next(&self.rooms, allowance, self.settings.live.unsent_bytes_max) {
                Next::Changes(changes) => {
                    seat.client.pace.changes_handed(now);
                    return Ok(Parcel::Changes(self.shared(changes)));
                }
                Next::Resync(snapshot, reason) => {
                    self.count_resync(reason);
                    return Ok(Parcel::Resync(snapshot, reason));
                }
                Next::TooLarge => return Err(Place::Blocked),
                Next::Nothing => {}
            }
        }
        if std::mem::take(&mut seat.client.heartbeat_due)
            && let Some(heartbeat) = self.heartbeat(id)
        {
            return Ok(Parcel::Heartbeat(heartbeat));
        }
        Err(Place::Idle)
    }

    /// The packet that the client before got, if this one is the same: its text is made once.
    fn shared(&mut self, changes: Changes) -> Arc<Changes> {
        match &self.last {
            Some(last) if last.is_same(&changes) => last.clone(),
            _ => {
                let now_ms = clock::now_ms();
                for told in &changes.items {
                    self.meters.latencies.observe(&told.room.stream, now_ms - told.change.updated_ms);
                }
                let changes = Arc::new(changes);
                self.last = Some(changes.clone());
                changes
            }
        }
    }

    fn heartbeat(&self, id: ClientId) -> Option<Heartbeat> {
        let seat = self.seats.get(&id)?;
        let live = seat.client.rooms.iter().filter(|(_, member)| member.phase == Phase::Live);
        let rooms = live.filter_map(|(id, _)| self.rooms.get(*id)).filter(|room| room.whole);
        let rooms: Vec<_> = rooms.map(|room| (room.label.clone(), room.position())).collect();
        let freshness = Freshness { at_ms: clock::now_ms(), stale_s: self.engine.stale_s() };
        (!rooms.is_empty()).then_some(Heartbeat { rooms, freshness })
    }

    fn send(&mut self, id: ClientId, parcel: Parcel, now: Instant) -> Step {
        let Some(seat) = self.seats.get_mut(&id) else { return Step::Rest(Place::Idle) };
        match seat.client.listener.send(parcel.packet()) {
            Ok(bytes) => {
                seat.client.pace.handed(now, bytes);
                self.count(id, &parcel);
                Step::Again
            }
            Err(Undelivered::Full) => {
                seat.held = Some(parcel);
                Step::Rest(Place::Blocked)
            }
            Err(Undelivered::Closed) => {
                self.left(id);
                Step::Rest(Place::Idle)
            }
        }
    }

    fn count(&mut self, id: ClientId, parcel: &Parcel) {
        self.stats.packets.fetch_add(1, Ordering::Relaxed);
        if let Some(Seat { client, .. }) = self.seats.get(&id) {
            self.meters.packet(client.listener.transport());
        }
        if let Parcel::Changes(changes) = parcel {
            let skipped: u64 = changes.items.iter().map(|told| told.skipped).sum();
            let items = changes.items.len() as u64;
            self.stats.changes.fetch_add(items, Ordering::Relaxed);
            self.stats.conflated.fetch_add(skipped, Ordering::Relaxed);
            self.meters.changes.increment(items);
            self.meters.conflated.increment(skipped);
        }
    }
}
