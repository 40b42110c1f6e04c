//! The answers to calls, once everything they need is read.
//!
//! Invariant: an answer is made of rooms as they are at that moment, all of them at once; a call one of whose rooms cannot be
//! shown is refused whole, and a room that changed too much while it was read is read again.
//! Not here: what reads bring (`brought`), beginning them (`calls`), handing over (`flush`).

use super::{
    brought::refusal_of,
    calls::{Active, Give, Joining, OUTRUN_MAX, PageTo, Paging, Subscribing},
    hub::{Hub, Own},
    reads::{PageJob, Ticket},
    telling::send_anew,
};
use crate::{
    clock,
    engine::{
        api::{ListPage, ReadError},
        clients::Noted,
        live::{ClientId, Refusal},
        packet::{Content, Freshness, Joined, Paged, Reason, Snapshot, Subscribed},
        rooms::{
            Feed, Room, State,
            many::Missed,
            one::Since,
            page::{self, Page},
        },
    },
    metrics,
};
use std::sync::atomic::Ordering;

/// The first page of a stream's room with the room's position at its start; `None`: not of a stream, or resumed.
type FirstPage = Option<(Page, Option<String>)>;

impl Hub {
    fn freshness(&self) -> Freshness {
        Freshness { at_ms: clock::now_ms(), stale_s: self.engine.stale_s() }
    }

    /// Answers the call of `subscribe`, if every room of it is read.
    pub(super) fn finish_subscribe(&mut self, id: ClientId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(Active::Subscribing(mut call)) =
            seat.active.take_if(|a| matches!(a, Active::Subscribing(call) if call.missing == 0))
        else {
            return;
        };
        if let Some(refusal) = call.refusal {
            self.undo(id, &call.rooms);
            let reply = call.reply;
            return self.answer(id, 512, Give::Reply(Box::new(move || reply(Err(refusal)))));
        }
        let pages = match self.make_pages(&mut call) {
            Ok(pages) => pages,
            Err(again) => return self.read_again(id, call, &again),
        };
        let mut room_bytes = self.settings.live.unsent_bytes_max;
        let rooms: Vec<Joined> = call
            .rooms
            .iter()
            .zip(pages)
            .filter_map(|(joining, page)| self.joined(id, joining, page, &mut room_bytes))
            .collect();
        let answer = Subscribed { rooms, freshness: self.freshness() };
        let bytes = answer.rooms.iter().map(|joined| joined.snapshot.content.bytes() + 160).sum();
        let reply = call.reply;
        self.answer(id, bytes, Give::Reply(Box::new(move || reply(Ok(answer)))));
    }

    /// The pages of the call's rooms of streams; else which of its rooms have to be read again.
    fn make_pages(&self, call: &mut Subscribing) -> Result<Vec<FirstPage>, Vec<usize>> {
        let (mut pages, mut again) = (Vec::new(), Vec::new());
        for (index, joining) in call.rooms.iter_mut().enumerate() {
            let room = self.rooms.get(joining.room);
            let (Some(room), Some(many)) = (room, room.and_then(Room::many)) else {
                pages.push(None);
                continue;
            };
            let made = match joining.found.take() {
                Some((found, position)) => {
                    page::make(&room.stream, found, many, self.settings.live.page_bytes_max)
                        .map(|page| Some((page, position)))
                        .map_err(drop)
                }
                None if resumes(room, joining) => Ok(None),
                None => Err(()),
            };
            match made {
                Ok(page) => pages.push(page),
                Err(()) => again.push(index),
            }
        }
        if again.is_empty() { Ok(pages) } else { Err(again) }
    }

    /// Rooms changed faster than they could be read. Load never makes this endless.
    fn read_again(&mut self, id: ClientId, mut call: Subscribing, again: &[usize]) {
        // Pages that were made are thrown away with the rest: they would be older than the others.
        let (number, mut tickets) = (call.number, Vec::new());
        for (index, joining) in call.rooms.iter_mut().enumerate() {
            if self.rooms.get(joining.room).is_none_or(|room| room.many().is_none()) {
                continue;
            }
            joining.outrun += u32::from(again.contains(&index));
            tickets.push(Ticket { client: id, call: number, index });
        }
        if call.rooms.iter().any(|joining| joining.outrun > OUTRUN_MAX) {
            call.refusal = Some(Refusal::Outrun);
            call.missing = 0;
        } else {
            call.missing = tickets.len();
        }
        let refused = call.refusal.is_some();
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.active = Some(Active::Subscribing(call));
        }
        if !refused {
            tickets.into_iter().for_each(|ticket| self.read_for(ticket));
        }
        self.finish_subscribe(id);
    }

    /// One room of the answer; from here on the client is told of it.
    fn joined(
        &mut self,
        id: ClientId,
        joining: &Joining,
        page: FirstPage,
        bytes: &mut usize,
    ) -> Option<Joined> {
        // Only now that it has been read is it known in which partition the key is.
        let feed = self.feed_of(self.rooms.get(joining.room)?);
        self.rooms.get_mut(joining.room)?.feed = feed;
        let room = self.rooms.get(joining.room)?;
        let seat = self.seats.get_mut(&id)?;
        let member = seat.client.rooms.get_mut(&joining.room)?;
        let (label, from_store) = (room.label.clone(), feed == Feed::Store);
        let given = |content, position, resumed, follows| Joined {
            snapshot: Snapshot { room: label, content, position },
            resumed,
            from_store,
            follows,
        };
        let echoed = joining.since.as_ref().map(|since| since.to_string());
        match (&room.state, page) {
            (State::Many(_), Some((page, position))) => {
                member.begin_pages(&page);
                if page.upto.is_some() && seat.client.listener.pages().is_some() {
                    seat.own.push_back(Own::NextPage(joining.room));
                }
                let next = page.upto.as_ref().map(|upto| upto.to_string());
                Some(given(Content::Page { items: page.items, next }, position, false, false))
            }
            (State::Many(many), None) => {
                let missed = many.since(joining.since.as_ref()?)?;
                member.go_live(None);
                let mut note =
                    |missed: Missed| seat.client.note_change(joining.room, &missed.change, missed.covers);
                if missed.into_iter().any(|missed| note(missed) == Noted::Overflow) {
                    send_anew(seat, joining.room, Reason::Overflow);
                }
                Some(given(Content::Page { items: Vec::new(), next: None }, echoed, true, false))
            }
            (State::One(one), _) => {
                let head = one.head().cloned();
                let since = joining.since.as_ref().map(|since| one.since(since));
                match (since, head) {
                    (Some(Since::Current), head) => {
                        member.go_live(head.as_deref());
                        Some(given(Content::Entity(None), echoed, true, false))
                    }
                    (Some(Since::Behind { version }), Some(head)) => {
                        member.resume(version, &head);
                        seat.client.enqueue(joining.room);
                        Some(given(Content::Entity(None), echoed, true, false))
                    }
                    (_, Some(head))
                        if head.members.len() > *bytes && *bytes < self.settings.live.unsent_bytes_max =>
                    {
                        member.resume(head.version.saturating_sub(1), &head);
                        seat.client.enqueue(joining.room);
                        Some(given(Content::Entity(None), None, false, true))
                    }
                    (_, head) => {
                        *bytes = bytes.saturating_sub(head.as_ref().map_or(0, |head| head.members.len()));
                        member.go_live(head.as_deref());
                        let position = head.as_ref().map(|head| head.positions.to_string());
                        Some(given(Content::Entity(head), position, false, false))
                    }
                }
            }
        }
    }

    pub(super) fn finish_page(&mut self, job: PageJob, found: Result<ListPage, ReadError>) {
        let id = job.ticket.client;
        let Some(Active::Paging(call)) = self.seats.get_mut(&id).and_then(|seat| seat.active.take()) else {
            return;
        };
        let Some(room) = self.rooms.get(call.room) else { return };
        let (Some(many), label) = (room.many(), room.label.clone()) else { return };
        let made = match found {
            Err(error) => return self.page_failed(id, call, refusal_of(&error)),
            Ok(page) => {
                let found = job.found(page.items, page.next.is_some());
                page::make(&room.stream, found, many, self.settings.live.page_bytes_max)
            }
        };
        match made {
            Ok(page) => self.give_page(id, call, label, page, job.position),
            Err(page::Outrun) if call.outrun >= OUTRUN_MAX => self.page_failed(id, call, Refusal::Outrun),
            Err(page::Outrun) => self.page_again(id, call),
        }
    }

    fn page_again(&mut self, id: ClientId, call: Paging) {
        let ticket = Ticket { client: id, call: call.number, index: 0 };
        let (room, after) = (call.room, call.after.clone());
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.active = Some(Active::Paging(Paging { outrun: call.outrun + 1, ..call }));
        }
        self.want_page(ticket, room, after);
    }

    fn page_failed(&mut self, id: ClientId, call: Paging, refusal: Refusal) {
        match call.to {
            PageTo::Call(reply) => self.answer(id, 512, Give::Reply(Box::new(move || reply(Err(refusal))))),
            // Tried again on the next beat; until then the client is told nothing of what it has not been shown.
            PageTo::Resync(reason) => self.beats.postpone(id, Own::Resync(call.room, reason)),
            PageTo::Next(_) => self.beats.postpone(id, Own::NextPage(call.room)),
        }
    }

    fn give_page(
        &mut self,
        id: ClientId,
        call: Paging,
        room: std::sync::Arc<crate::engine::rooms::Label>,
        page: Page,
        position: Option<String>,
    ) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let by_itself = seat.client.listener.pages().is_some();
        if let Some(member) = seat.client.rooms.get_mut(&call.room) {
            match call.to {
                PageTo::Resync(_) => member.begin_pages(&page),
                PageTo::Call(_) | PageTo::Next(_) => member.show_page(call.after.as_ref(), &page),
            }
            if by_itself && page.upto.is_some() {
                seat.own.push_back(Own::NextPage(call.room));
            }
        }
        let next = page.upto.as_ref().map(|upto| upto.to_string());
        let content = Content::Page { items: page.items, next };
        let bytes = content.bytes() + 128;
        let give = match call.to {
            PageTo::Call(reply) | PageTo::Next(reply) => {
                let paged = Paged { room, content, freshness: self.freshness() };
                Give::Reply(Box::new(move || reply(Ok(paged))))
            }
            PageTo::Resync(reason) => {
                self.count_resync(reason);
                Give::Resync(Snapshot { room, content, position }, reason)
            }
        };
        self.answer(id, bytes, give);
    }

    pub(super) fn count_resync(&self, reason: Reason) {
        self.stats.resyncs.fetch_add(1, Ordering::Relaxed);
        metrics::RESYNCS.add(&[("reason", reason.code().into())], 1);
    }
}

fn resumes(room: &Room, joining: &Joining) -> bool {
    let Some(many) = room.many() else { return false };
    let since = joining.since.as_ref();
    room.feed == Feed::Local && room.whole && since.is_some_and(|since| many.since(since).is_some())
}
