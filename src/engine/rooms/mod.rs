//! All rooms of this instance: who is in them, what they show, and what they remember for whoever comes back.
//!
//! Invariant: a room is there while somebody is in it, and after that for as long as the bytes of history allow, oldest
//! first out; it is fed from the moment it opens, so what it remembers has no hole.
//! Not here: what waits for a client (`clients`), reading (`broadcaster`).

pub mod budget;
pub mod change;
pub mod follow;
pub mod interest;
pub mod many;
pub mod name;
pub mod one;
pub mod page;
pub mod room;

pub use budget::RoomId;
pub use room::{Feed, Label, Of, Room, State};

use self::{
    budget::{Budget, Charge, What},
    change::Change,
    interest::Interest,
    many::Many,
    name::Target,
    one::{Offer, One, PAST_BYTES},
};
use super::{api::StreamName, live::ClientId};
use crate::{
    document::{Positions, Shown},
    record::Key,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Bytes an empty room counts for beside what it shows.
const ROOM_BYTES: usize = 640;

#[derive(Debug, Default)]
struct InStream {
    stream: Option<RoomId>,
    keys: FxHashMap<Key, RoomId>,
    apps: FxHashMap<Arc<str>, RoomId>,
}

/// All rooms.
#[derive(Debug)]
pub struct Rooms {
    rooms: FxHashMap<RoomId, Room>,
    by_stream: FxHashMap<StreamName, InStream>,
    interest: Arc<Interest>,
    budget: Budget,
    past_max: usize,
    next_id: RoomId,
    leavings: u64,
    occupied: usize,
}

impl Rooms {
    /// `past_max`: positions that the room of one key remembers; `bytes_max`: bytes that all rooms remember together.
    pub fn new(past_max: usize, bytes_max: usize) -> Self {
        Rooms {
            rooms: FxHashMap::default(),
            by_stream: FxHashMap::default(),
            interest: Arc::default(),
            budget: Budget::new(bytes_max),
            past_max,
            next_id: 0,
            leavings: 0,
            occupied: 0,
        }
    }

    /// Tells in `interest`, from here on, which rooms are open. To be given before the first one is.
    pub fn tell_interest(&mut self, interest: Arc<Interest>) {
        self.interest = interest;
    }

    pub fn interest(&self) -> Arc<Interest> {
        self.interest.clone()
    }

    pub fn get(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub fn get_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.rooms.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (RoomId, &Room)> {
        self.rooms.iter().map(|(id, room)| (*id, room))
    }

    /// Rooms with somebody in them.
    pub fn occupied(&self) -> usize {
        self.occupied
    }

    pub fn remembered_bytes(&self) -> usize {
        self.budget.bytes()
    }

    pub fn key(&self, stream: &str, key: &str) -> Option<RoomId> {
        self.by_stream.get(stream)?.keys.get(key).copied()
    }

    pub fn stream(&self, stream: &str) -> Option<RoomId> {
        self.by_stream.get(stream)?.stream
    }

    pub fn app(&self, stream: &str, name: &str) -> Option<RoomId> {
        self.by_stream.get(stream)?.apps.get(name).copied()
    }

    /// The room of this name, opened if it is not there. `positions` are asked only for a stream's room that opens.
    pub fn open(&mut self, name: &str, target: &Target<'_>, positions: impl FnOnce() -> Positions) -> RoomId {
        let found = match target {
            Target::Stream { stream } => self.stream(stream),
            Target::Key { stream, key } => self.key(stream, key),
            Target::App { stream, name } => self.app(stream, name),
        };
        found.unwrap_or_else(|| self.add(name, target, positions))
    }

    fn add(&mut self, name: &str, target: &Target<'_>, positions: impl FnOnce() -> Positions) -> RoomId {
        let stream: StreamName = match self.by_stream.get_key_value(target.stream()) {
            Some((stream, _)) => stream.clone(),
            None => target.stream().into(),
        };
        self.next_id += 1;
        let id = self.next_id;
        let place = self.by_stream.entry(stream.clone()).or_default();
        let (of, state) = match target {
            Target::Stream { .. } => {
                place.stream = Some(id);
                (Of::Stream, State::Many(Many::new(positions())))
            }
            Target::Key { key, .. } => {
                let key: Key = (*key).into();
                place.keys.insert(key.clone(), id);
                (Of::Key(key), State::One(One::default()))
            }
            Target::App { name, .. } => {
                let name: Arc<str> = (*name).into();
                place.apps.insert(name.clone(), id);
                (Of::App(name), State::One(One::default()))
            }
        };
        let label = Label::new(stream.clone(), name);
        let room = Room {
            label,
            stream,
            of,
            feed: Feed::Local,
            follow: None,
            whole: true,
            state,
            members: Vec::new(),
            left: None,
            left_bytes: 0,
        };
        self.interest.opened(&room);
        self.rooms.insert(id, room);
        id
    }

    pub fn join(&mut self, id: RoomId, client: ClientId) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if room.members.contains(&client) {
            return;
        }
        if room.members.is_empty() {
            self.occupied += 1;
        }
        if room.left.take().is_some() {
            self.budget.release(1, room.left_bytes);
        }
        room.members.push(client);
    }

    pub fn leave(&mut self, id: RoomId, client: ClientId) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let Some(at) = room.members.iter().position(|member| *member == client) else { return };
        room.members.swap_remove(at);
        if room.members.is_empty() {
            self.occupied -= 1;
            self.leavings += 1;
            room.left = Some(self.leavings);
            room.left_bytes = ROOM_BYTES + room.one().and_then(One::head).map_or(0, |head| head.bytes());
            let charge = Charge { room: id, what: What::Left(self.leavings) };
            let bytes = room.left_bytes;
            self.budget.charge(charge, bytes);
            self.keep_within();
        }
    }

    /// Offers a state to a room of one entity.
    pub fn offer(
        &mut self,
        id: RoomId,
        shown: &Shown,
        slid: bool,
        encode: impl FnOnce() -> Arc<Change>,
    ) -> Offer {
        let Some(one) = self.one_mut(id) else { return Offer::Old };
        let before = one.past_len();
        let offer = one.offer(shown, slid, encode);
        match offer {
            Offer::Newer { remembered: Some(number) } => {
                self.budget.charge(Charge { room: id, what: What::Entry(number) }, PAST_BYTES);
                self.bound_past(id);
            }
            Offer::Anew => self.budget.release(before, before * PAST_BYTES),
            Offer::Newer { remembered: None } | Offer::Old => {}
        }
        self.keep_within();
        offer
    }

    /// The key is not there. `true`: members held something of it.
    pub fn absent(&mut self, id: RoomId) -> bool {
        let Some(one) = self.one_mut(id) else { return false };
        let (before, held) = (one.past_len(), one.absent());
        self.budget.release(before, before * PAST_BYTES);
        held
    }

    fn one_mut(&mut self, id: RoomId) -> Option<&mut One> {
        match &mut self.rooms.get_mut(&id)?.state {
            State::One(one) => Some(one),
            State::Many(_) => None,
        }
    }

    fn bound_past(&mut self, id: RoomId) {
        let past_max = self.past_max;
        let Some(one) = self.one_mut(id) else { return };
        if one.past_len() > past_max
            && let Some(oldest) = one.oldest()
            && one.evict(oldest)
        {
            self.budget.release(1, PAST_BYTES);
        }
    }

    /// Tells a change in a stream's room; `false`: it is no news there.
    pub fn tell(
        &mut self,
        id: RoomId,
        change: &Arc<Change>,
        partition: u32,
        covers: u64,
        read: bool,
    ) -> bool {
        let Some(Room { state: State::Many(many), .. }) = self.rooms.get_mut(&id) else { return false };
        if !many.is_news(change, partition, read) {
            return false;
        }
        let number = many.tell(change.clone(), partition, covers);
        let bytes = many.bytes_of(number).unwrap_or_default();
        self.budget.charge(Charge { room: id, what: What::Entry(number) }, bytes);
        self.keep_within();
        true
    }

    /// Something was left out of a stream's room: what it remembers is void.
    pub fn begin_anew(&mut self, id: RoomId, positions: Positions) {
        let Some(Room { state: State::Many(many), .. }) = self.rooms.get_mut(&id) else { return };
        let before = many.run_len();
        let bytes = many.begin_anew(positions);
        self.budget.release(before, bytes);
    }

    fn keep_within(&mut self) {
        while let Some(charge) = self.budget.oldest_over() {
            self.forget(charge);
        }
        if self.budget.is_littered() {
            let rooms = &self.rooms;
            self.budget.sweep(|charge| is_live(rooms, charge));
        }
    }

    fn forget(&mut self, charge: Charge) {
        let Some(room) = self.rooms.get_mut(&charge.room) else { return };
        match (charge.what, &mut room.state) {
            (What::Entry(number), State::One(one)) => {
                if one.evict(number) {
                    self.budget.release(1, PAST_BYTES);
                }
            }
            (What::Entry(number), State::Many(many)) => {
                if let Some(bytes) = many.evict(number) {
                    self.budget.release(1, bytes);
                }
            }
            (What::Left(leaving), _) => {
                if room.left == Some(leaving) {
                    self.close(charge.room);
                }
            }
        }
    }

    fn close(&mut self, id: RoomId) {
        let Some(mut room) = self.rooms.remove(&id) else { return };
        self.interest.closed(&room);
        let (charges, bytes) = match &mut room.state {
            State::One(one) => {
                let gone = one.clear_past();
                (gone, gone * PAST_BYTES)
            }
            State::Many(many) => (many.run_len(), many.begin_anew(Positions::default())),
        };
        self.budget.release(charges + 1, bytes + room.left_bytes);
        let Some(place) = self.by_stream.get_mut(&room.stream) else { return };
        match &room.of {
            Of::Stream => place.stream = None,
            Of::Key(key) => drop(place.keys.remove(key)),
            Of::App(name) => drop(place.apps.remove(name)),
        }
        if place.stream.is_none() && place.keys.is_empty() && place.apps.is_empty() {
            self.by_stream.remove(&room.stream);
        }
    }
}

fn is_live(rooms: &FxHashMap<RoomId, Room>, charge: &Charge) -> bool {
    let Some(room) = rooms.get(&charge.room) else { return false };
    match (charge.what, &room.state) {
        (What::Entry(number), State::One(one)) => one.is_remembered(number),
        (What::Entry(number), State::Many(many)) => many.is_remembered(number),
        (What::Left(leaving), _) => room.left == Some(leaving),
    }
}
