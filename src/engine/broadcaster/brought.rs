//! What reads bring to rooms and to the calls that wait for it.
//!
//! Invariant: a read is offered to its room like any news, so whoever is in it hears of what is newer (semantics 13); a
//! call whose read failed is refused, unless the room is held in memory, which is then said to be stale.
//! Not here: beginning reads (`calls`, `reads`), making the answers (`answers`).

use super::{
    calls::Active,
    hub::Hub,
    reading::Brought,
    reads::{Job, KeysJob, PageJob, RoomJob, Ticket},
};
use crate::{
    document::Shown,
    engine::{
        api::{ListPage, Read, ReadError},
        live::{Refusal, Wrong, WrongKind},
        packet::Reason,
        rooms::{Room, RoomId, change::Change, one::Since},
    },
};
use tokio::time::Instant;

impl Hub {
    /// Takes in what a read brought.
    pub fn take_in_read(&mut self, job: Job, brought: Brought, now: Instant) {
        match (job, brought) {
            (Job::Keys(job), Brought::Keys(found)) => self.keys_read(&job, found),
            (Job::Merges(job), Brought::Keys(found)) => self.merges_read(&job, found, now),
            (Job::Room(job), Brought::Room(found)) => self.room_read(&job, found),
            (Job::Page(job), Brought::Page(found)) => self.page_read(job, found),
            (Job::Part(job), Brought::Page(found)) => self.part_read(&job, found),
            (Job::Gone(job), Brought::Gone(found)) => self.gone_read(&job, found),
            (_, _) => tracing::error!("a read brought something else"),
        }
    }

    /// Keys were read, from the view (each by itself) or from the store.
    fn keys_read(&mut self, job: &KeysJob, found: Vec<Result<Option<Read>, ReadError>>) {
        self.reads.ended();
        let mut found = found.into_iter();
        for (room, turn) in job.rooms.iter().zip(&job.turns) {
            let found =
                found.next().unwrap_or_else(|| Err(ReadError::Internal("a read without an answer".into())));
            self.one_read(*room, *turn, job.number, job.stored, found);
        }
    }

    /// An app's room was read.
    fn room_read(&mut self, job: &RoomJob, found: Result<Option<Read>, ReadError>) {
        self.reads.ended();
        self.one_read(job.room, job.turn, job.number, true, found);
    }

    fn one_read(
        &mut self,
        id: RoomId,
        turn: u64,
        number: u64,
        stored: bool,
        found: Result<Option<Read>, ReadError>,
    ) {
        let failed = match found {
            Ok(found) => {
                self.take_in(id, turn, found.map(|read| read.shown));
                None
            }
            Err(error) => Some(error),
        };
        for ticket in self.reads.served(id, number, stored) {
            self.serve(ticket, stored, failed.as_ref());
            self.finish_subscribe(ticket.client);
        }
    }

    fn take_in(&mut self, id: RoomId, turn: u64, shown: Option<Shown>) {
        match shown {
            Some(shown) => {
                let Some(room) = self.rooms.get(id) else { return };
                let stream = room.stream.clone();
                let slid = self.slides(id);
                let offer = self.rooms.offer(id, &shown, slid, || Change::of(&stream, &shown));
                self.note_offer(id, offer, 1);
            }
            // The head moved on while it was read: then it is there.
            None if self.rooms.get(id).and_then(Room::one).is_none_or(|one| one.turns() != turn) => {}
            None => {
                if self.rooms.absent(id) {
                    self.void(id, Reason::Forgotten);
                }
            }
        }
    }

    fn serve(&mut self, ticket: Ticket, stored: bool, failed: Option<&ReadError>) {
        let Some(joining) = self.joining(ticket) else { return };
        let (room, since) = (joining.room, joining.since.clone());
        let Some(one) = self.rooms.get(room).and_then(Room::one) else { return };
        if let Some(error) = failed {
            if !one.is_held() {
                self.refuse(ticket, refusal_of(error));
            }
            return self.read_ended(ticket);
        }
        let ahead = since.is_some_and(|since| one.since(&since) == Since::Ahead);
        match self.joining(ticket) {
            Some(joining) if ahead && !stored && !joining.asked_store => {
                joining.asked_store = true;
                self.read_for(ticket);
            }
            _ => self.read_ended(ticket),
        }
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        if let Some(seat) = self.seats.get_mut(&ticket.client)
            && let Some(Active::Subscribing(call)) = &mut seat.active
            && call.number == ticket.call
        {
            call.refusal.get_or_insert(refusal);
        }
    }

    /// A page was read.
    fn page_read(&mut self, job: PageJob, found: Result<ListPage, ReadError>) {
        self.reads.ended();
        if let Ok(found) = &found {
            self.note_item_bytes(&job.stream, &found.items);
            self.note_shown(job.room, &found.items);
        }
        let ticket = job.ticket;
        match self.seats.get(&ticket.client).and_then(|seat| seat.active.as_ref()) {
            Some(Active::Subscribing(call)) if call.number == ticket.call => {
                match found {
                    Ok(found) => {
                        let whole = job.found(found.items, found.next.is_some());
                        if let Some(joining) = self.joining(ticket) {
                            joining.found = Some((whole, job.position));
                        }
                    }
                    Err(error) => self.refuse(ticket, refusal_of(&error)),
                }
                self.read_ended(ticket);
                self.finish_subscribe(ticket.client);
            }
            Some(Active::Paging(call)) if call.number == ticket.call => self.finish_page(job, found),
            // The client or its call is gone.
            _ => {}
        }
    }

    pub(super) fn note_item_bytes(&mut self, stream: &str, items: &[Shown]) {
        if let Some(mean) = items.iter().map(Shown::size).sum::<usize>().checked_div(items.len()) {
            self.item_bytes.insert(stream.into(), mean);
        }
    }
}

/// Why a call whose read failed is not carried out.
pub(super) fn refusal_of(error: &ReadError) -> Refusal {
    match error {
        ReadError::Unavailable(_) => Refusal::StoreAway,
        ReadError::NoStream(stream) => Refusal::Invalid(vec![Wrong {
            field: "rooms".into(),
            detail: format!("there is no stream {stream:?}"),
            kind: WrongKind::Unknown,
        }]),
        ReadError::Query { field, detail } => Refusal::Invalid(vec![Wrong {
            field: (*field).into(),
            detail: detail.clone(),
            kind: WrongKind::Malformed,
        }]),
        ReadError::Internal(cause) => {
            tracing::error!(cause, "read for a room failed");
            Refusal::Internal
        }
    }
}
