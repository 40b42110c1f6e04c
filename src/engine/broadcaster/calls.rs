//! Calls of clients: checked, joined, read, answered, one after the other.
//!
//! Invariant: a client joins first and is read for second; `subscribe` is all or nothing; the answer is made of what the
//! rooms are at that very moment, and from then on every change waits behind it.
//! Not here: reading (`brought` takes what reads bring), handing over (`flush`).

use super::{
    hub::{Hub, Own, Seat},
    reads::{PageJob, Ticket},
    summary,
};
use crate::{
    document::Positions,
    engine::{
        clients::member::{Member, Phase},
        live::{Call, ClientId, Refusal, Reply, Wanted, Wrong, WrongKind},
        packet::{Paged, Reason, Snapshot, Subscribed},
        rooms::{
            Feed, Of, RoomId, State,
            name::{self, Target},
            page::Found,
        },
    },
    record::Key,
};
use rustc_hash::FxHashSet;
use tokio::time::Instant;

/// A page is read again so often when the room outran it, before the client is asked to come back.
pub(super) const OUTRUN_MAX: u32 = 5;

/// The call that is being carried out.
pub(super) enum Active {
    Subscribing(Subscribing),
    Paging(Paging),
    /// Answered; waits for a place on the line.
    Answered(Answer),
}

pub(super) struct Subscribing {
    pub number: u64,
    pub rooms: Vec<Joining>,
    /// Rooms that are still being read.
    pub missing: usize,
    pub refusal: Option<Refusal>,
    pub reply: Reply<Subscribed>,
}

/// One room of a call of `subscribe`.
pub(super) struct Joining {
    pub room: RoomId,
    pub since: Option<Positions>,
    /// The client was not in it before this call.
    pub new: bool,
    /// The store itself was asked, since `since` is ahead of what is held.
    pub asked_store: bool,
    pub outrun: u32,
    /// What was read of a stream's room, with its position at the start.
    pub found: Option<(Found, Option<String>)>,
}

/// A page that a client asked for, that its transport sends by itself, or that begins a room anew.
pub(super) struct Paging {
    pub number: u64,
    pub room: RoomId,
    pub after: Option<Key>,
    pub outrun: u32,
    pub to: PageTo,
}

pub(super) enum PageTo {
    Call(Reply<Paged>),
    /// By itself, behind the page before.
    Next(Reply<Paged>),
    Resync(Reason),
}

pub(super) struct Answer {
    pub bytes: usize,
    pub give: Give,
}

pub(super) enum Give {
    Reply(Box<dyn FnOnce() -> usize + Send>),
    Resync(Snapshot, Reason),
}

/// What a checked room of a call is.
struct Checked<'a> {
    name: &'a str,
    target: Target<'a>,
    since: Option<Positions>,
}

impl Hub {
    /// Begins the client's calls until one has to wait.
    pub(super) fn start_calls(&mut self, id: ClientId, now: Instant) {
        while let Some(seat) = self.seats.get_mut(&id) {
            if seat.active.is_some() {
                break;
            }
            if let Some(own) = seat.own.pop_front() {
                self.start_own(id, own);
            } else if let Some(call) = seat.client.take_call() {
                self.start(id, call, now);
            } else {
                break;
            }
        }
    }

    fn start(&mut self, id: ClientId, call: Call, now: Instant) {
        match call {
            Call::Subscribe { wanted, reply } => self.start_subscribe(id, &wanted, reply, now),
            Call::Page { room, after, reply } => self.start_page(id, &room, after, reply),
            Call::Unsubscribe { rooms, reply } => {
                self.unsubscribe(id, &rooms);
                self.answer(id, 64, Give::Reply(Box::new(move || reply(Ok(())))));
            }
        }
    }

    fn start_own(&mut self, id: ClientId, own: Own) {
        match own {
            Own::Resync(room, reason) => self.begin_paging(id, room, None, PageTo::Resync(reason)),
            Own::NextPage(room) => {
                let Some(seat) = self.seats.get(&id) else { return };
                let Some(Phase::Paging { upto }) = seat.client.rooms.get(&room).map(|m| m.phase.clone())
                else {
                    return;
                };
                let Some(reply) = seat.client.listener.pages() else { return };
                self.begin_paging(id, room, Some(upto), PageTo::Next(reply));
            }
        }
    }

    pub(super) fn answer(&mut self, id: ClientId, bytes: usize, give: Give) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.active = Some(Active::Answered(Answer { bytes, give }));
        }
        self.make_ready(id);
    }

    fn unsubscribe(&mut self, id: ClientId, names: &[String]) {
        for name in names {
            let Ok(target) = name::parse(name, usize::MAX) else { continue };
            let found = match target {
                Target::Stream { stream } => self.rooms.stream(stream),
                Target::Key { stream, key } => self.rooms.key(stream, key),
                Target::App { stream, name } => self.rooms.app(stream, name),
            };
            if let Some(room) = found {
                self.leave(id, room);
            }
        }
    }

    fn leave(&mut self, id: ClientId, room: RoomId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.client.leave(room) {
            seat.own.retain(|own| !matches!(own, Own::Resync(r, _) | Own::NextPage(r) if *r == room));
            self.rooms.leave(room, id);
        }
    }

    fn start_subscribe(&mut self, id: ClientId, wanted: &Wanted, reply: Reply<Subscribed>, now: Instant) {
        let checked = match self.check(id, wanted) {
            Ok(checked) => checked,
            Err(wrong) => {
                let give = Give::Reply(Box::new(move || reply(Err(Refusal::Invalid(wrong)))));
                return self.answer(id, 512, give);
            }
        };
        self.next_call += 1;
        let number = self.next_call;
        let rooms: Vec<Joining> = checked.into_iter().map(|room| self.join(id, room, now)).collect();
        let missing = rooms.len();
        let call = Subscribing { number, rooms, missing, refusal: None, reply };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.active = Some(Active::Subscribing(call));
        for index in 0..missing {
            self.read_for(Ticket { client: id, call: number, index });
        }
        self.finish_subscribe(id);
    }

    /// All that is wrong with a call, or its rooms, each once.
    fn check<'a>(&mut self, id: ClientId, wanted: &'a Wanted) -> Result<Vec<Checked<'a>>, Vec<Wrong>> {
        let (mut checked, mut wrong, mut seen) = (Vec::new(), Vec::new(), FxHashSet::default());
        for (index, name) in wanted.rooms.iter().enumerate() {
            if !seen.insert(name.as_str()) {
                continue;
            }
            let since = wanted.since.get(name).map(|since| since.parse::<Positions>()).transpose();
            if let Err(error) = &since {
                let detail = format!("{name:?}: {error}");
                wrong.push(Wrong { field: format!("since.{name}"), detail, kind: WrongKind::Malformed });
            }
            match self.target(name) {
                Ok(target) => checked.push(Checked { name, target, since: since.unwrap_or_default() }),
                Err((detail, kind)) => {
                    let detail = format!("{name:?}: {detail}");
                    wrong.push(Wrong { field: format!("rooms[{index}]"), detail, kind });
                }
            }
        }
        let held = self.seats.get(&id).map_or(0, |seat| {
            let again =
                |c: &&Checked<'_>| self.find(&c.target).is_some_and(|r| seat.client.rooms.contains_key(&r));
            seat.client.rooms.len() - checked.iter().filter(again).count()
        });
        let rooms_max = self.settings.live.rooms_per_client_max;
        if held + checked.len() > rooms_max {
            let detail = format!("a client is in {rooms_max} rooms at most");
            wrong.push(Wrong { field: "rooms".into(), detail, kind: WrongKind::Malformed });
        }
        if wrong.is_empty() { Ok(checked) } else { Err(wrong) }
    }

    fn target<'a>(&mut self, room: &'a str) -> Result<Target<'a>, (String, WrongKind)> {
        let target = name::parse(room, self.settings.key_bytes_max)
            .map_err(|error| (error.to_string(), WrongKind::Malformed))?;
        let stream = target.stream();
        if let Target::App { stream: summary::STREAM, name: summary::NAME } = target {
            self.known(stream);
            return Ok(target);
        }
        if let Target::App { name, .. } = target {
            let under = self.engine.rooms_under(stream);
            // `seller/42` is one of the rooms an app declares as `seller`.
            let declared = name.split('/').next().unwrap_or(name);
            let is = |room: &String| room == name || room == declared;
            if !under.is_some_and(|under| under.names.iter().any(is)) {
                return Err((format!("{stream:?} has no room {name:?}"), WrongKind::Unknown));
            }
        } else if self.engine.stream(stream).is_none() {
            return Err((format!("there is no stream {stream:?}"), WrongKind::Unknown));
        }
        self.known(stream);
        Ok(target)
    }

    fn find(&self, target: &Target<'_>) -> Option<RoomId> {
        match target {
            Target::Stream { stream } => self.rooms.stream(stream),
            Target::Key { stream, key } => self.rooms.key(stream, key),
            Target::App { stream, name } => self.rooms.app(stream, name),
        }
    }

    fn join(&mut self, id: ClientId, room: Checked<'_>, now: Instant) -> Joining {
        let engine = self.engine.clone();
        let target = room.target;
        let open = self.rooms.open(room.name, &target, || engine.stream_positions(target.stream()));
        if let Some(feed) = self.rooms.get(open).map(|room| self.feed_of(room)) {
            self.set_feed(open, feed);
        }
        self.rooms.join(open, id);
        let new = self.seats.get_mut(&id).is_some_and(|seat| !seat.client.rooms.contains_key(&open));
        if let (true, Some(seat)) = (new, self.seats.get_mut(&id)) {
            seat.client.rooms.insert(open, Member::default());
        }
        if target.stream() == summary::STREAM {
            self.summarize(now);
        }
        Joining { room: open, since: room.since, new, asked_store: false, outrun: 0, found: None }
    }

    /// Begins the read that one room of a call needs.
    pub(super) fn read_for(&mut self, ticket: Ticket) {
        let Some((room, since, stored)) =
            self.joining(ticket).map(|j| (j.room, j.since.clone(), j.asked_store))
        else {
            return;
        };
        let Some(open) = self.rooms.get(room) else { return };
        match &open.state {
            State::Many(many) => {
                let resumes = open.feed == Feed::Local && open.whole;
                if resumes && since.is_some_and(|since| many.since(&since).is_some()) {
                    return self.read_ended(ticket);
                }
                self.want_page(ticket, room, None);
            }
            State::One(_) if matches!(open.of, Of::App(_)) && &*open.stream == summary::STREAM => {
                self.read_ended(ticket);
            }
            State::One(_) => {
                // An app's room has no view of its own: every read of it will do.
                let stored = stored && matches!(open.of, Of::Key(_));
                self.reads.wait(room, ticket, stored);
                self.want(room, stored);
            }
        }
    }

    pub(super) fn want_page(&mut self, ticket: Ticket, room: RoomId, after: Option<Key>) {
        let Some(open) = self.rooms.get(room) else { return };
        let stream = open.stream.clone();
        let items_max = self.page_items(&stream);
        let (began, position) = (0, None);
        self.reads.want_page(PageJob { stream, room, ticket, after, items_max, began, position });
    }

    /// How many items a page of this stream is likely to hold: few at first, since entities may be large.
    fn page_items(&self, stream: &str) -> usize {
        let bytes = self.item_bytes.get(stream).copied().unwrap_or(4_096).max(64);
        (self.settings.live.page_bytes_max * 5 / 4 / bytes).clamp(8, self.settings.page_items_max.max(8))
    }

    pub(super) fn joining(&mut self, ticket: Ticket) -> Option<&mut Joining> {
        match self.seats.get_mut(&ticket.client)?.active.as_mut()? {
            Active::Subscribing(call) if call.number == ticket.call => call.rooms.get_mut(ticket.index),
            _ => None,
        }
    }

    /// One room of a call is read.
    pub(super) fn read_ended(&mut self, ticket: Ticket) {
        if let Some(Seat { active: Some(Active::Subscribing(call)), .. }) = self.seats.get_mut(&ticket.client)
            && call.number == ticket.call
        {
            call.missing = call.missing.saturating_sub(1);
        }
    }

    fn start_page(&mut self, id: ClientId, room: &str, after: Option<String>, reply: Reply<Paged>) {
        let found = match name::parse(room, usize::MAX) {
            Ok(target @ Target::Stream { .. }) => self.find(&target),
            _ => None,
        };
        let is_in = |seat: &Seat, room: &RoomId| seat.client.rooms.contains_key(room);
        match found.filter(|found| self.seats.get(&id).is_some_and(|seat| is_in(seat, found))) {
            Some(found) => self.begin_paging(id, found, after.map(Key::from), PageTo::Call(reply)),
            None => {
                let refusal = Refusal::NotIn(room.to_owned());
                self.answer(id, 512, Give::Reply(Box::new(move || reply(Err(refusal)))));
            }
        }
    }

    fn begin_paging(&mut self, id: ClientId, room: RoomId, after: Option<Key>, to: PageTo) {
        self.next_call += 1;
        let number = self.next_call;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.active = Some(Active::Paging(Paging { number, room, after: after.clone(), outrun: 0, to }));
        self.want_page(Ticket { client: id, call: number, index: 0 }, room, after);
    }

    /// The call took no effect: rooms it had joined are left again.
    pub(super) fn undo(&mut self, id: ClientId, rooms: &[Joining]) {
        for joining in rooms.iter().filter(|joining| joining.new) {
            self.leave(id, joining.room);
        }
    }
}
