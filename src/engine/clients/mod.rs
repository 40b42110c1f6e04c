//! The clients of this instance: their rooms, their calls, and what waits for each.
//!
//! Invariant: what waits for a client is bounded in keys and bytes, whatever its rooms do; calls of one client are
//! carried out one after the other, and the answer of one is handed over before the next begins.
//! Not here: what rooms show (`rooms`), reading (`broadcaster`).

pub mod member;
pub mod pace;
pub mod waiting;

use self::{
    member::{Member, Phase},
    pace::{Allowance, Pace},
};
use super::{
    live::{Call, Listener},
    packet::{Changes, Content, Reason, Snapshot, Told},
    rooms::{RoomId, Rooms, State, change::Change},
};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

/// Bounds of one client.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub waiting_keys_max: usize,
    pub waiting_bytes_max: usize,
    pub calls_max: usize,
}

pub struct Client {
    pub listener: Arc<dyn Listener>,
    pub rooms: FxHashMap<RoomId, Member>,
    pub pace: Pace,
    pub since: Instant,
    /// Rooms with something waiting, in the order it came.
    queue: VecDeque<RoomId>,
    calls: VecDeque<Call>,
    call_bytes: usize,
    bounds: Bounds,
    /// A heartbeat is due, behind what waits.
    pub heartbeat_due: bool,
    pub next_heartbeat: Instant,
}

/// What goes to a client next.
#[derive(Debug)]
pub enum Next {
    Changes(Changes),
    Resync(Snapshot, Reason),
    /// A change alone is larger than what may be handed over now.
    TooLarge,
    Nothing,
}

/// What a change did to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Nothing,
    Waits,
    /// More would wait than may: the room has to be sent anew.
    Overflow,
}

impl Client {
    pub fn new(listener: Arc<dyn Listener>, bounds: Bounds, now: Instant, next_heartbeat: Instant) -> Self {
        Client {
            listener,
            rooms: FxHashMap::default(),
            pace: Pace::new(now),
            since: now,
            queue: VecDeque::new(),
            calls: VecDeque::new(),
            call_bytes: 0,
            bounds,
            heartbeat_due: false,
            next_heartbeat,
        }
    }

    /// Puts a call behind the others; gives it back when there are too many.
    pub fn put_call(&mut self, call: Call) -> Result<(), Call> {
        let bytes = self.call_bytes + call.bytes();
        if self.calls.len() >= self.bounds.calls_max
            || bytes > self.bounds.waiting_bytes_max && !self.calls.is_empty()
        {
            return Err(call);
        }
        self.call_bytes = bytes;
        self.calls.push_back(call);
        Ok(())
    }

    pub fn take_call(&mut self) -> Option<Call> {
        let call = self.calls.pop_front()?;
        self.call_bytes -= call.bytes();
        Some(call)
    }

    /// The head of a room of one entity moved on.
    pub fn note_head(&mut self, room: RoomId, covers: u64) -> Noted {
        let Some(member) = self.rooms.get_mut(&room) else { return Noted::Nothing };
        if !member.note_head(covers) {
            return Noted::Nothing;
        }
        self.enqueue(room);
        Noted::Waits
    }

    /// A change of a stream's room.
    pub fn note_change(&mut self, room: RoomId, change: &Arc<Change>, covers: u64) -> Noted {
        let Some(member) = self.rooms.get_mut(&room) else { return Noted::Nothing };
        if !member.note_change(change, covers) {
            return Noted::Nothing;
        }
        let waiting = member.waiting();
        if waiting.len() > self.bounds.waiting_keys_max || waiting.bytes() > self.bounds.waiting_bytes_max {
            waiting.clear();
            return Noted::Overflow;
        }
        self.enqueue(room);
        Noted::Waits
    }

    /// A room of one entity has to be sent anew.
    pub fn void(&mut self, room: RoomId, reason: Reason) -> Noted {
        match self.rooms.get_mut(&room) {
            Some(member) if member.phase != Phase::Joining => member.void(reason),
            _ => return Noted::Nothing,
        }
        self.enqueue(room);
        Noted::Waits
    }

    pub fn enqueue(&mut self, room: RoomId) {
        let Some(member) = self.rooms.get_mut(&room) else { return };
        if !member.queued {
            member.queued = true;
            self.queue.push_back(room);
        }
    }

    pub fn leave(&mut self, room: RoomId) -> bool {
        let there = self.rooms.remove(&room).is_some();
        self.queue.retain(|queued| *queued != room);
        there
    }

    pub fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes out what goes next: all that changed, as far as it may be handed over now, or one room sent anew.
    pub fn next(&mut self, rooms: &Rooms, allowance: Allowance, bytes_max: usize) -> Next {
        let mut taking = Taking { items: Vec::new(), positions: Vec::new(), bytes: 0, allowance, bytes_max };
        while let Some(id) = self.queue.front().copied() {
            let (Some(member), Some(room)) = (self.rooms.get_mut(&id), rooms.get(id)) else {
                self.queue.pop_front();
                continue;
            };
            if let (Some(reason), State::One(one)) = (member.resync, &room.state) {
                if !taking.items.is_empty() {
                    break;
                }
                let content = Content::Entity(one.head().cloned());
                if !allowance.admits(content.bytes()) {
                    return Next::TooLarge;
                }
                member.resynced(one.head().map(|head| &**head));
                member.queued = false;
                self.queue.pop_front();
                return Next::Resync(
                    Snapshot { room: room.label.clone(), content, position: room.position() },
                    reason,
                );
            }
            let before = taking.items.len();
            let whole = match &room.state {
                State::One(one) => one.head().is_none_or(|head| taking.head(&room.label, member, head)),
                State::Many(_) => taking.items(&room.label, member),
            };
            if !whole {
                break;
            }
            let told = taking.items.len() > before;
            let has_position = room.whole && room.has_own_position() && member.phase == Phase::Live;
            if told
                && has_position
                && let Some(position) = room.position()
            {
                taking.positions.push((room.label.clone(), position));
            }
            member.queued = false;
            self.queue.pop_front();
        }
        match taking.items.is_empty() {
            false => Next::Changes(Changes::new(taking.items, taking.positions)),
            true if self.queue.is_empty() => Next::Nothing,
            true => Next::TooLarge,
        }
    }
}

/// A packet of changes in the making.
struct Taking {
    items: Vec<Told>,
    positions: Vec<(Arc<super::rooms::Label>, String)>,
    bytes: usize,
    allowance: Allowance,
    bytes_max: usize,
}

impl Taking {
    /// Whether a change of so many bytes still goes into this packet. The first goes however large, if the line is free.
    fn has_place(&mut self, bytes: usize) -> bool {
        let whole = self.bytes + bytes;
        let fits = match self.items.is_empty() {
            true => self.allowance.admits(whole),
            false => whole <= self.allowance.bytes.min(self.bytes_max),
        };
        if fits {
            self.bytes = whole;
        }
        fits
    }

    fn head(&mut self, label: &Arc<super::rooms::Label>, member: &mut Member, head: &Arc<Change>) -> bool {
        if !member.head_waits() {
            return true;
        }
        if !self.has_place(Told::bytes(label, head)) {
            return false;
        }
        if let Some(skipped) = member.take_head(head) {
            self.items.push(Told { room: label.clone(), change: head.clone(), skipped });
        }
        true
    }

    fn items(&mut self, label: &Arc<super::rooms::Label>, member: &mut Member) -> bool {
        while let Some(item) = member.waiting().first() {
            if !self.has_place(Told::bytes(label, &item.change)) {
                return false;
            }
            let Some(item) = member.waiting().take() else { break };
            let skipped = item.covers.saturating_sub(1);
            self.items.push(Told { room: label.clone(), change: item.change, skipped });
        }
        true
    }
}
